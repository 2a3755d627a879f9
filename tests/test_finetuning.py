"""Fine-tuning: the vocabulary grows, the old tokens stay as they were, and what comes from the model is refused."""

import json
import tomllib

import numpy as np
import pytest
from click.testing import CliRunner

from charlm import checkpoint
from charlm.cli import main
from charlm.directory import Directory
from charlm.errors import MissingInputError, UsageError
from charlm.finetuning import finetuning_notes
from charlm.loading import load
from charlm.runs import open_run

LINES = "".join(f"{a}{b}{a}{c}\n" for a in "abcd" for b in "efgh" for c in "ijk") * 2
NEW = "axz\nzzy\nby\n" * 15 + "q\n"
TINY = {"hidden": 8, "embedding": 4, "batch_size": 4, "seq_len": 8, "lr": 0.01, "threads": 1, "steps": 2}
STILL = {"lr": 1e-30, "weight_decay": 0.0, "batch_size": 4, "seq_len": 8, "steps": 1, "threads": 1}
WORDS = {"tokenizer": "word", "min_count": 1, "sequences": "document"}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def train(where, resume=False, stop_at=None, force=False, **given):
    """Train in `where`, stopping after step `stop_at`; return the run."""
    with Directory(where, force) as directory:
        run = open_run(directory, given, resume)
        for _ in run.events(lambda: stop_at is not None and run.standing.step >= stop_at):
            pass
    return run


def based(tmp_path, text=LINES, **settings):
    """Train a base in tmp_path/base; return its tensors and its tokens."""
    train(tmp_path / "base", corpus=(write(tmp_path / "base.txt", text),), **TINY | settings)
    tensors, metadata = checkpoint.load(tmp_path / "base" / "model.safetensors")
    return tensors, json.loads(metadata["charlm.vocabulary"])["tokenizer"].get("tokens")


def tuned(tmp_path, text=NEW, **settings):
    """Fine-tune the base in tmp_path/tuned, without learning anything unless told otherwise."""
    given = STILL | {"init_from": str(tmp_path / "base")} | settings
    return train(tmp_path / "tuned", corpus=(write(tmp_path / "new.txt", text),), **given)


SHAPES = {
    "embedding": {},
    "one-hot": {"embedding": 0},
    "tied": {"embedding": 8, "tie": True},
    "words": WORDS,
    "normed": {"layers": 2, "cell": "lstm", "layer_norm": True, "residual": True},
}


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES)
def test_new_tokens_follow_the_old_ones_and_begin_as_their_mean(tmp_path, settings):
    words = settings is WORDS
    text, new = (LINES.replace("a", "a "), " zz".join(NEW.split("z"))) if words else (LINES, NEW)
    before, tokens = based(tmp_path, text, **settings)
    run = tuned(tmp_path, new, valid_fraction=0.0, **{"min_count": 1} if words else {})
    added = ["zz", "ax", "by", "zzy", "q"] if words else ["z", "y", "x", "q"]
    assert run.model.tokenizer.to_dict()["tokens"] == [*tokens, *added]
    size = 2 + len(tokens)
    axes = {"embed.weight": 0, "head.weight": 0, "head.bias": 0}
    if settings.get("embedding") == 0:
        axes["rnn.weight_ih_l0"] = 1
    for name, value in run.model.trained.tensors().items():
        axis = axes.get(name)
        kept = value if axis is None else np.take(value, range(size), axis)
        np.testing.assert_allclose(kept, before[name], rtol=0, atol=1e-20, err_msg=name)
        if axis is not None:
            assert value.shape[axis] == size + len(added)
            mean = np.take(before[name], range(2, size), axis).mean(axis)
            for k in range(len(added)):
                np.testing.assert_allclose(np.take(value, size + k, axis), mean, rtol=1e-4, atol=1e-7, err_msg=name)
    assert not run.corpus.train.unknown
    assert f"vocabulary: {len(added)} new {'words' if words else 'characters'} added to the model's {size}: " + (
        " ".join(added)
    ) in run.notes
    again = load(tmp_path / "tuned")
    assert again.tokenizer.to_dict() == run.model.tokenizer.to_dict()
    assert not again.score("ax zz by" if words else "axzby").unknown


def test_without_new_tokens_nothing_grows_and_nothing_is_said(tmp_path):
    before, tokens = based(tmp_path)
    run = tuned(tmp_path, "aeb\n" * 30)
    assert run.model.tokenizer.to_dict()["tokens"] == tokens
    for name, value in run.model.trained.tensors().items():
        np.testing.assert_allclose(value, before[name], rtol=0, atol=1e-20, err_msg=name)
    assert not [note for note in run.notes if note.startswith("vocabulary")]


def test_a_kept_vocabulary_tells_what_it_does_not_know(tmp_path):
    _, tokens = based(tmp_path)
    run = tuned(tmp_path, "az\n" * 30, keep_vocabulary=True, valid_fraction=0.0)
    assert run.model.tokenizer.to_dict()["tokens"] == tokens
    assert "vocabulary: kept as the model has it; 33.3 % of the training tokens are unknown to it" in run.notes
    with pytest.raises(UsageError, match="keep-vocabulary needs --init-from"):
        train(tmp_path / "m", corpus=(str(tmp_path / "new.txt"),), keep_vocabulary=True, **TINY)


def test_what_was_new_is_learnt(tmp_path):
    based(tmp_path, steps=20)
    run = tuned(tmp_path, "xyz\n" * 40, steps=150, lr=0.03, valid_fraction=0.2)
    assert run.model.perplexity("xyz") < 1.5


def test_the_sizes_of_a_vocabulary_limit_its_growth(tmp_path):
    """Counts: z 30, y 30, x 15, q 1; the base has 13 tokens."""
    based(tmp_path)
    for settings, added in (({"vocab_size": 15}, 2), ({"min_count": 10}, 3), ({"vocab_size": 13}, 0), ({}, 4)):
        run = tuned(tmp_path, valid_fraction=0.0, force=True, **settings)
        assert run.model.tokenizer.size == 13 + added
    with pytest.raises(UsageError, match="vocab-size 12 is less than the 13 tokens of the model"):
        tuned(tmp_path, vocab_size=12, force=True)
    with pytest.raises(UsageError, match="give keep-vocabulary or vocab-size, not both"):
        tuned(tmp_path, vocab_size=20, keep_vocabulary=True, force=True)


OTHER = [
    ({"tokenizer": "word"}, "--tokenizer word (the model has --tokenizer char)"),
    ({"lowercase": True}, "--lowercase (the model has --no-lowercase)"),
    ({"sequences": "document"}, "--sequences document (the model has --sequences line)"),
    ({"sequences": "paragraph"}, "--sequences paragraph (the model has --sequences line)"),
    ({"context": "stream"}, "--context stream (the model has --context sequence)"),
    ({"hidden": 64}, "--hidden 64 (the model has --hidden 8)"),
    ({"layers": 2}, "--layers 2 (the model has --layers 1)"),
    ({"cell": "lstm"}, "--cell lstm (the model has --cell gru)"),
    ({"embedding": 0}, "--embedding 0 (the model has --embedding 4)"),
    ({"tie": True}, "--tie (the model has --no-tie)"),
    ({"layer_norm": True}, "--layer-norm (the model has --no-layer-norm)"),
    ({"residual": True}, "--residual (the model has --no-residual)"),
]


def test_settings_that_differ_from_the_model_are_refused_by_name(tmp_path):
    based(tmp_path)
    for settings, message in OTHER:
        with pytest.raises(UsageError) as caught:
            tuned(tmp_path, **settings)
        assert message in str(caught.value)
    with pytest.raises(UsageError, match=r"--lowercase .*, --hidden 9"):
        tuned(tmp_path, hidden=9, lowercase=True)
    assert not (tmp_path / "tuned").exists()
    agreeing = {"tokenizer": "char", "lowercase": False, "hidden": 8, "layers": 1, "sequences": "auto", "tie": False}
    tuned(tmp_path, "a\n\nb\n\n" * 20, context="auto", dropout=0.5, **agreeing)


def test_punctuation_and_patterns_come_from_the_model(tmp_path):
    based(tmp_path, LINES.replace("a", "a, "), **WORDS, punctuation=False)
    with pytest.raises(UsageError, match=r"--punctuation \(the model has --no-punctuation\)"):
        tuned(tmp_path, punctuation=True)
    with pytest.raises(UsageError, match=r"--word-pattern \\S\+ \(the model has --no-word-pattern\)"):
        tuned(tmp_path, word_pattern=r"\S+")
    run = tuned(tmp_path, "new, words. new, words.\n" * 20)
    assert "," not in run.model.tokenizer.to_dict()["tokens"]
    assert run.settings.text.punctuation is False


@pytest.mark.parametrize("kept", [{}, {"keep_vocabulary": True}], ids=["grown", "kept"])
def test_the_settings_written_down_repeat_the_run(tmp_path, kept):
    """Also where the text alone would have led to other ones: blank lines make a document."""
    based(tmp_path, lowercase=True)
    first = tuned(tmp_path, "Axz\n\nzzy\n" * 20, steps=4, lr=0.01, **kept)
    given = tomllib.loads((tmp_path / "tuned" / "config.toml").read_text())
    given = {name.replace("-", "_"): value for name, value in given.items()}
    assert given["lowercase"] is True
    assert (given["sequences"], given["context"]) == ("line", "sequence")
    assert given["init_from"] == str(tmp_path / "base")
    second = train(tmp_path / "again", **given)
    for name, value in first.model.trained.tensors().items():
        np.testing.assert_array_equal(value, second.model.trained.tensors()[name], err_msg=name)
    assert second.model.language.to_dict() == first.model.language.to_dict()
    assert second.settings.flat() == first.settings.flat()


def test_a_stopped_fine_tuning_goes_on_without_its_base(tmp_path):
    based(tmp_path)
    whole = tuned(tmp_path, steps=6, lr=0.01).model.trained.tensors()
    tuned(tmp_path, steps=6, lr=0.01, stop_at=2, force=True)
    (tmp_path / "base" / "model.safetensors").unlink()
    run = tuned(tmp_path, steps=6, lr=0.01, resume=True)
    assert run.standing.step == 6
    for name, value in run.model.trained.tensors().items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)
    with pytest.raises(UsageError, match="init-from"):
        tuned(tmp_path, init_from=str(tmp_path / "other"), resume=True)


def test_bytes_are_all_known_already(tmp_path):
    based(tmp_path, tokenizer="byte")
    run = tuned(tmp_path, "жук\n" * 20)
    assert run.model.tokenizer.size == 258
    assert not [note for note in run.notes if note.startswith("vocabulary")]
    with pytest.raises(UsageError, match="keeps every byte"):
        tuned(tmp_path, min_count=2, force=True)


def test_a_document_that_begins_as_lines_do_or_does_not_keeps_that(tmp_path):
    text = "a line\nanother\n\nand more\n" * 10
    based(tmp_path, text, context="sequence")
    run = tuned(tmp_path, text.replace("e", "é"))
    assert run.model.language.context == "sequence"
    assert run.model.language.document


def test_a_run_that_replaces_its_own_base_says_that_its_settings_cannot_repeat_it(tmp_path):
    based(tmp_path)
    corpus, base = (write(tmp_path / "new.txt", NEW),), tmp_path / "base"
    for spelt in (base, base / "model.safetensors", tmp_path / "." / "base"):
        run = train(base, force=True, corpus=corpus, init_from=str(spelt), **STILL)
        assert any("config.toml can repeat the run only from a copy" in note for note in run.notes)
    assert not any("copy" in note for note in tuned(tmp_path).notes)


def test_what_is_new_is_shortened_and_cannot_drive_a_terminal(tmp_path):
    based(tmp_path)
    base = load(tmp_path / "base")
    run = tuned(tmp_path, "\x1b\x07 \n" * 20 + "".join(map(chr, range(0x430, 0x450))) * 9 + "\n", valid_fraction=0.0)
    sequences, note = finetuning_notes(base, run.corpus, kept=False)
    assert sequences == "sequences: line, as the model has them"
    assert note.isprintable()
    assert "35 new characters" in note
    assert r"'\x07' '\x1b' ' '" in note
    assert note.endswith("…")


@pytest.mark.parametrize("kind", ["nothing", "an empty directory", "text", "a damaged model"])
def test_a_base_that_cannot_be_opened_is_told_in_one_line(tmp_path, kind):
    based(tmp_path)
    path, code = tmp_path / "other", 66
    if kind == "an empty directory":
        path.mkdir()
    elif kind != "nothing":
        data = (tmp_path / "base" / "model.safetensors").read_bytes()
        path.write_bytes(b"no model, but text\n" * 9 if kind == "text" else data[:-3] + b"abc")
        code = 65
    corpus = write(tmp_path / "new.txt", NEW)
    result = CliRunner().invoke(main, ["train", corpus, "-m", str(tmp_path / "m"), "--init-from", str(path)])
    assert result.exit_code == code
    assert result.stderr.count("\n") == 1
    assert "--init-from" in result.stderr or code == 65
    assert not (tmp_path / "m").exists()
    with pytest.raises(MissingInputError, match="--init-from"):
        tuned(tmp_path, init_from=str(tmp_path / "nothing"))


def test_the_command_says_what_it_adds_and_refuses_what_differs(tmp_path):
    based(tmp_path)
    base, corpus = str(tmp_path / "base"), write(tmp_path / "new.txt", NEW)
    where = ["train", corpus, "-m", str(tmp_path / "m"), "--init-from", base]
    refused = CliRunner().invoke(main, [*where, "--hidden", "64"])
    assert refused.exit_code == 2
    assert "--hidden 64 (the model has --hidden 8)" in refused.stderr
    assert "weight" not in refused.stderr
    done = CliRunner().invoke(main, [*where, "--steps", "2", "--threads", "1"])
    assert done.exit_code == 0
    assert sum("new characters" in line for line in done.stderr.splitlines()) == 1
    kept = CliRunner().invoke(main, [*where, "--steps", "2", "--threads", "1", "--keep-vocabulary", "--force"])
    assert "unknown to it" in kept.stderr
