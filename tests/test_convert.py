"""Runs that learn to convert: what is learnt, which weights are kept, and all that other runs have
too."""

import json
import random

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.convert_evaluation import Sources, evaluate
from charlm.convert_metrics import ConvertFigures
from charlm.converter import Converter
from charlm.errors import DataError, UsageError
from charlm.nn import names
from charlm.tasks import convert
from charlm.text.pair_part import PairPartBuilder
from charlm.text.pairs import pair_part
from charlm.text.tokenizers import ByteTokenizer
from tests.test_classify import assert_resumes_to_the_bit
from tests.test_commands import charlm as charlm_command
from tests.test_training import train

TINY = {"task": "convert", "hidden": 12, "embedding": 6, "batch_size": 8, "threads": 2, "dropout": 0.0, "lr": 0.02,
        "target_pattern": r"\S+"}  # fmt: skip
SPELT = {"a": "X Y1", "b": "Z", "c": "Y1"}


def pairs_of(seed=0, count=200):
    """Return (source, target): each letter becomes one word or two."""
    rng = random.Random(seed)
    sources = ["".join(rng.choices("abc", k=rng.randint(0, 3))) for _ in range(count)]
    return [(source, " ".join(SPELT[letter] for letter in source)) for source in sources]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs_of()))
    return str(path)


def log_of(where):
    return [json.loads(line) for line in (where / "log.jsonl").read_text().splitlines()]


# --- what is learnt -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"attention": False}, {"bidirectional": False, "cell": "lstm"}],
    ids=str,
)
def test_it_learns_what_a_text_becomes(tmp_path, corpus, settings):
    given = {**TINY, "hidden": 24, "lr": 0.03, "corpus": (corpus,), "epochs": 20, **settings}
    train(tmp_path / "m", given)
    model = charlm.load(tmp_path / "m")
    assert isinstance(model, Converter)
    assert model.facts["valid_exact_match"] > 0.7
    unseen = pairs_of(seed=9, count=40)
    answers = model.predict([source for source, _ in unseen], beam=2)
    right = sum(
        answer.targets[0].text == target
        for answer, (_, target) in zip(answers, unseen, strict=True)
    )
    assert right > 35


def test_a_source_is_counted_once_and_any_of_its_targets_is_right():
    tokenizer = ByteTokenizer()
    builder = PairPartBuilder(tokenizer, tokenizer, None)
    sources, targets = ["a", "b", "a", "c", "b", "a", "d"], ["1", "2", "33", "4", "2", "5", ""]
    hashes = np.array([7, 3, 7, 9, 3, 7, 1], np.uint64)
    builder.add(sources, targets, hashes)
    part = builder.part()
    every = Sources.of(part)
    assert every.numbers.tolist() == [0, 2, 5, 1, 4, 3, 6]
    assert every.ends.tolist() == [3, 5, 6, 7]
    assert every.tokens == part.tokens == 7 * 3 + 7
    some = Sources.of(part, 2)  # spread over all of them
    assert (some.numbers.tolist(), some.ends.tolist()) == ([0, 2, 5, 3], [3, 4])
    assert some.tokens == 4 * 4 + 1
    assert len(Sources.of(PairPartBuilder(tokenizer, tokenizer, None).part())) == 0


def test_figures_are_those_of_each_pair_by_itself(tmp_path, corpus):
    run = train(tmp_path / "m", {**TINY, "corpus": (corpus,), "steps": 40, "test_fraction": 0.3})
    model = charlm.load(tmp_path / "m")
    figures, part = ConvertFigures(model.tally(run.corpus.test)), run.corpus.test
    pairs = [
        (model.conversion.source.decode(source), model.conversion.target.decode(target))
        for source, target in part.pairs(np.arange(len(part)))
    ]
    total = sum(model.scores(pairs), start=model.score(*pairs[0]))
    nats = -(total.logprob - model.score(*pairs[0]).logprob) / (
        total.tokens - model.score(*pairs[0]).tokens
    )
    gold = {source: {t for s, t in pairs if s == source} for source, _ in pairs}
    answers = model.predict(list(gold))
    right = sum(answer.targets[0].text in gold[answer.source] for answer in answers)
    assert (figures.right, figures.sources) == (right, len(gold))
    assert figures.nats == pytest.approx(nats, rel=1e-5)
    for name in ("exact_match", "word_error_rate", "symbol_error_rate", "nats"):
        assert model.facts[f"test_{name}"] == getattr(figures, name)
    assert run.test.count == model.facts["test_targets_scored"]


def test_tokens_that_training_has_not_are_wrong_and_have_no_nats(tmp_path, corpus):
    train(tmp_path / "m", {**TINY, "corpus": (corpus,), "steps": 2})
    model = charlm.load(tmp_path / "m")
    gold = tmp_path / "gold.tsv"
    gold.write_text("ab\tX NEW Z\nb\tZ\n")
    both, known = model.conversion.source, model.conversion.target
    tally = model.tally(pair_part([str(gold)], both, known)[0])
    tokens = model.score("ab", "X NEW Z", per_token=True).per_token
    nats = -sum(token.logprob for token in tokens if not token.unknown)
    assert tally.count == 3 + 2
    assert tally.nats == pytest.approx(nats - float(model.score("b", "Z")), rel=1e-5)
    assert ConvertFigures(tally).unseen == 1
    (said,) = next(model.predict(["b"])).targets
    gold.write_text(f"b\tX X Z\nb\t{said.text}\nb\t\n")  # any of several is right
    figures = ConvertFigures(model.tally(pair_part([str(gold)], both, known)[0]))
    assert (figures.right, figures.sources) == (1, 1)


# --- which weights are kept -----------------------------------------------------------------------


def test_the_best_weights_are_those_of_the_best_exact_match(tmp_path, corpus):
    given = {**TINY, "corpus": (corpus,), "steps": 120, "eval_every": 6, "valid_fraction": 0.3}
    run = train(tmp_path / "m", given)
    judged = [entry for entry in log_of(tmp_path / "m") if entry["valid_nats"] is not None]

    def merit(entry):
        return entry["valid_exact_match"], -entry["valid_nats"], -entry["step"]

    best = max(judged, key=merit)
    facts = charlm.load(tmp_path / "m").facts
    assert facts["step"] == best["step"] == run.standing.best_step
    assert len({entry["valid_exact_match"] for entry in judged}) > 3
    assert run.valid is None
    for name in ("exact_match", "word_error_rate", "symbol_error_rate", "nats"):
        assert facts[f"valid_{name}"] == best[f"valid_{name}"]


def test_evaluations_read_a_share_and_the_last_report_all(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr(convert, "_EVALUATED", 5)
    given = {**TINY, "corpus": (corpus,), "steps": 30, "eval_every": 10, "valid_fraction": 0.3}
    run = train(tmp_path / "m", given)
    model = charlm.load(tmp_path / "m")
    assert run.standing.best_of == len(run.lesson.chosen) == 5
    figures = ConvertFigures(model.tally(run.corpus.valid))
    assert model.facts["valid_exact_match"] == figures.exact_match
    assert figures.sources > 5
    some = ConvertFigures(evaluate(model.trained, run.lesson.chosen, model.conversion))
    best = next(entry for entry in log_of(tmp_path / "m") if entry["step"] == model.facts["step"])
    assert best["valid_nats"] == pytest.approx(some.nats)
    assert best["valid_nats"] != pytest.approx(figures.nats)
    assert run.lesson.test_tokens == 3 * run.corpus.valid.tokens
    assert any("validation: 5 sources until the end" in line for line in run.course.about())


def test_an_evaluation_can_be_stopped(tmp_path, corpus):
    run = train(tmp_path / "m", {**TINY, "corpus": (corpus,), "steps": 1})
    assert run.lesson.evaluate(run.model.trained, lambda: True) is None
    assert run.model.tally(run.corpus.valid, lambda: True) is None


# --- a run ----------------------------------------------------------------------------------------

RUNS = {
    "attention": {"dropout": 0.2},
    "none": {"attention": False, "layers": 2, "residual": True, "optimizer": "adam"},
    "bytes": {"target_pattern": None, "target_tokenizer": "byte", "max_length": 6},
    "patience": {"eval_every": 3, "patience": 2, "lr": 0.3},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, corpus, settings):
    given = {**TINY, "corpus": (corpus,), "steps": 30, "test_fraction": 0.1, **settings}
    given = {name: value for name, value in given.items() if value is not None}
    assert_resumes_to_the_bit(tmp_path, given, [1], [5, 6, 23])


def test_equal_runs_write_equal_files_and_other_seeds_do_not(tmp_path, corpus):
    files = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        train(tmp_path / name, {**TINY, "corpus": (corpus,), "steps": 6, "seed": seed})
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("options", [
    ["--no-attention", "--target-pattern", r"\S+"], ["--source-tokenizer", "byte", "--max-length", "4"],
    ["--tokenizer", "word", "--source-pattern", ".", "--lowercase"],
], ids=["state", "bytes", "words"])  # fmt: skip
def test_the_settings_that_a_run_writes_repeat_it(tmp_path, corpus, options):
    shape = ["--hidden", "8", "--embedding", "4", "--steps", "3", "--threads", "1"]
    result = charlm_command(
        "train", corpus, "--task", "convert", *shape, "-m", tmp_path / "one", *options
    )
    assert result.exit_code == 0, result.stderr
    result = charlm_command(
        "train", "--config", tmp_path / "one" / "config.toml", "-m", tmp_path / "two"
    )
    assert result.exit_code == 0, result.stderr
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(("settings", "told"), [
    ({"layers": 0}, "layers 0 does not go with task convert"),
    ({"tie": True}, "tie does not go with task convert"),
    ({"context": "stream"}, "context stream does not go with task convert"),
    ({"engine": "torch"}, "engine torch does not know task convert"),
    ({"source_tokenizer": "char", "source_pattern": "x"}, "source-pattern needs source-tokenizer word"),
    ({"target_tokenizer": "letters"}, "target-tokenizer must be one of"),
    ({"max_length": 0}, "max-length must be"),
    ({"lowercase": True, "source_tokenizer": "byte"}, "lowercase does not go with sources of bytes"),
    ({"crf": True}, "do not go with task convert, so leave them out: crf"),
], ids=str)  # fmt: skip
def test_what_does_not_go_with_pairs_is_refused_before_the_corpus_is_read(tmp_path, settings, told):
    given = {**TINY, "corpus": (str(tmp_path / "none.tsv"),), "steps": 1, **settings}
    (tmp_path / "none.tsv").write_text("no pair\n")
    with pytest.raises(UsageError, match=told):
        train(tmp_path / "m", given)


def test_settings_of_the_task_may_not_change_on_resume(tmp_path, corpus):
    train(tmp_path / "m", {**TINY, "corpus": (corpus,), "steps": 4}, 2)
    for change in ({"attention": False}, {"target_pattern": "x"}, {"source_tokenizer": "byte"}):
        with pytest.raises(UsageError, match="a resumed run keeps its settings"):
            train(tmp_path / "m", change, resume=True)


def test_a_run_without_validation(tmp_path, corpus):
    run = train(tmp_path / "m", {**TINY, "corpus": (corpus,), "steps": 4, "valid_fraction": 0.0})
    assert run.lesson.valid_tokens == 0
    assert charlm.load(tmp_path / "m").facts["step"] == 4


def test_files_of_other_shapes_are_refused(tmp_path, corpus):
    train(tmp_path / "m", {**TINY, "corpus": (corpus,), "steps": 1})
    file = tmp_path / "m" / "model.safetensors"
    tensors, metadata = checkpoint.load(file)
    shape = json.loads(metadata["charlm.model"])
    for change in ({"hidden": 11}, {"layers": 0}, {"tie": True}, {"vocab_size": 3}, {"cell": "x"}):
        checkpoint.save(file, tensors, metadata | {"charlm.model": json.dumps(shape | change)})
        with pytest.raises(DataError):
            charlm.load(tmp_path / "m")
    checkpoint.save(file, tensors, metadata)
    with pytest.raises(UsageError, match="does not know converters"):
        charlm.load(tmp_path / "m", engine="torch")


# --- from a language model ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """Return the directory of a language model of sources."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "text.txt").write_text("".join(f"{source}\n" for source, _ in pairs_of() if source))
    given = {"corpus": (str(folder / "text.txt"),), "steps": 2, "hidden": 12, "embedding": 6}
    train(folder / "lm", {**given, "layers": 2, "threads": 1, "counts": 0})
    return str(folder / "lm")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_encoder_starts_from_a_language_model(tmp_path, corpus, language, bidirectional):
    own = {"task": "convert", "corpus": (corpus,), "target_pattern": r"\S+", "layers": 2,
           "bidirectional": bidirectional, "init_from": language, "steps": 1, "lr": 1e-9}  # fmt: skip
    run = train(tmp_path / "m", own)
    base, found = charlm.load(language).trained.tensors(), run.model.trained.tensors()
    taken = [
        name
        for name in base
        if names.ENCODER + name in found
        and found[names.ENCODER + name].shape == base[name].shape
        and np.allclose(found[names.ENCODER + name], base[name], atol=1e-6)
    ]
    layers = (0,) if bidirectional else (0, 1)
    assert taken == [n for n in base if n == names.EMBED or names.layer_of(n) in layers]
    assert any(note.startswith("from gru 2x12 came embed.weight") for note in run.notes)
    for wrong in ({"hidden": 9}, {"source_tokenizer": "byte"}):
        with pytest.raises(UsageError, match="come from the model of --init-from"):
            train(tmp_path / "n", own | wrong)
