"""Models of paragraphs: what they learn, score and write, and how they stand to models of lines and
of documents."""

import itertools
import json
import random
import re
import shutil
from collections import Counter

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.errors import DataError, UsageError
from charlm.language import Language
from charlm.model import Model, mix
from charlm.sampling import SamplingConfig
from charlm.text.allowed import Allowed
from charlm.text.sequences import LINE, PARAGRAPH
from charlm.text.tokenizers import EOS, UNK, ByteTokenizer
from tests.test_commands import assert_refused
from tests.test_commands import charlm as run
from tests.test_training import TINY, outcome, train
from tests.tiny import COMPANY, tiny_classifier, tiny_model

SHORT = {"steps": 25, "valid_fraction": 0.2, **TINY}
KINDS = ["char", "byte", "word"]


def verses(count=60, seed=0, lines=3):
    """Return paragraphs of words, drawn."""
    draw = random.Random(seed)
    return ["\n".join(" ".join(draw.choices(["ab", "é", "cd,"], k=3)) for _ in range(draw.randint(1, lines)))
            for _ in range(count)]  # fmt: skip


def written(path, of, end="\n\n \n"):
    path.write_text("".join(one + end for one in of))
    return str(path)


def settings(kind, **more):
    own = {"min_count": 1} if kind == "word" else {}
    return {**SHORT, "tokenizer": kind, "sequences": "paragraph", **own, **more}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a directory with a corpus and a model of each tokenizer, counts and all."""
    path = tmp_path_factory.mktemp("room")
    corpus = written(path / "corpus.txt", verses())
    for kind in KINDS:
        train(path / kind, {"corpus": (corpus,), **settings(kind)})
    return path


def objects(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def close(value):
    return pytest.approx(value, rel=max(1e-9, 10 * COMPANY), abs=1e-5)


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_paragraphs_of_a_file_add_up_to_the_corpus(room, tmp_path, kind):
    of, m = verses(20, seed=5), room / kind
    file = written(tmp_path / "f", of)
    every = objects(run("score", "-m", m, "--file", file, "--json"))
    assert [each["text"] for each in every] == of
    model = charlm.load(m)
    assert [each["logprob"] for each in every] == [close(float(model.score(text))) for text in of]
    (whole,) = objects(run("score", "-m", m, "--corpus", file, "--json"))
    for name in ("logprob", "tokens", "unknown"):
        assert whole[name] == close(sum(each[name] for each in every))
    assert whole["tokens"] == sum(len(model.tokenizer.encode(text)) + 1 for text in of)
    if kind != "word":
        units = sum(len(text) + 1 for text in of)
        assert whole["bits_per_char"] == close(-whole["logprob"] / np.log(2) / units)
    assert (
        objects(run("score", "-m", m, "-", "--json", stdin=(tmp_path / "f").read_bytes())) == every
    )
    assert objects(run("score", "-m", m, "--file", file, "--json", "--shard", "2/3")) == every[1::3]


def test_a_file_may_be_taken_by_lines_or_whole_all_the_same(room, tmp_path):
    file = written(tmp_path / "f", ["ab\ncd,", "é"], "\n\n")
    texts = {
        (): ["ab\ncd,", "é"],
        ("--lines",): ["ab", "cd,", "", "é", ""],
        ("--whole",): ["ab\ncd,\n\né\n\n"],
    }
    model = charlm.load(room / "char")
    for way, of in texts.items():
        found = objects(
            run("score", "-m", room / "char", "--file", file, "--json", "--per-token", *way)
        )
        assert [each["text"] for each in found] == of
        assert [each["logprob"] for each in found] == [
            close(float(model.score(text))) for text in of
        ]
        assert all(each["per_token"][-1]["token"] == "<eos>" for each in found)
    lists = "1\t-1\tab\n\n1\t-2\té\n"  # which stay lists of lines
    assert_refused(run("score", "-m", room / "char", "-", "--nbest", stdin=lists), 65, "line 2")


def test_training_validates_as_the_corpus_is_scored(room):
    for kind in KINDS:
        (found,) = objects(run("score", "-m", room / kind, "--corpus", "valid", "--json"))
        facts = charlm.load(room / kind).facts
        assert -found["logprob"] / found["tokens"] == close(facts["valid_nats"])


def test_carried_state_is_a_context_too(room, tmp_path):
    corpus = str(room / "corpus.txt")
    made = train(tmp_path / "m", {"corpus": (corpus,), **settings("char", context="stream")})
    assert (made.model.language.context, made.model.language.sequences) == ("stream", "paragraph")
    (found,) = objects(run("score", "-m", tmp_path / "m", "--corpus", "valid", "--json"))
    assert -found["logprob"] / found["tokens"] == close(made.model.facts["valid_nats"])
    with pytest.raises(UsageError, match="context newline needs a document"):
        train(tmp_path / "n", {"corpus": (corpus,), **settings("char", context="newline")})


def test_kenlms_format_has_a_paragraph_in_a_line(room, tmp_path):
    of = verses(3, seed=2)
    found = run(
        "score",
        "-m",
        room / "char",
        "--file",
        written(tmp_path / "f", of),
        "--format",
        "kenlm",
        "--per-token",
    )
    *lines, _, _, oov, tokens = found.stdout.splitlines()
    assert [line.count("\\n=") for line in lines] == [text.count("\n") for text in of]
    assert all("</s>=2 " in line for line in lines)
    assert (oov, tokens) == ("OOVs:\t0", f"Tokens:\t{sum(len(text) + 1 for text in of)}")


# --- lines, documents, and paragraphs of one line -------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_paragraphs_of_one_line_are_learnt_to_the_bit_as_lines(tmp_path, kind):
    corpus = written(tmp_path / "f", verses(lines=1))
    for sequences in ("line", "paragraph"):
        train(tmp_path / sequences, {"corpus": (corpus,), **settings(kind, sequences=sequences)})
    (ours, *_, log), (theirs, *_, other) = (
        outcome(tmp_path / name) for name in ("paragraph", "line")
    )
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    assert log == other
    scores = [objects(run("score", "-m", tmp_path / name, "--corpus", corpus, "--json"))
              for name in ("paragraph", "line")]  # fmt: skip
    assert scores[0] == scores[1]


def test_models_of_different_sequences_are_compared_by_lines(room, tmp_path):
    shared = {"tokens": "abc\n", "spread": 1.0}
    paths = {}
    for sequences in ("line", "paragraph", "document"):
        paths[sequences] = tmp_path / f"{sequences}.safetensors"
        tiny_model(sequences=sequences, **shared).save(paths[sequences])
    file = written(tmp_path / "f", ["ab\nca", "b"], "\n\n")
    two = ["score", "-m", paths["paragraph"], "-m"]
    *rows, _ = objects(run(*two, paths["line"], "--file", file, "--json"))
    assert [row["text"] for row in rows] == ["ab", "ca", "", "b", ""]
    *rows, _ = objects(run(*two, paths["paragraph"], "--file", file, "--json"))
    assert [row["text"] for row in rows] == ["ab\nca", "b"]
    (row,), last = (
        (found := objects(run(*two, paths["paragraph"], "--corpus", file, "--json")))[:-1],
        found[-1],
    )
    assert row["logprob"][0] == row["logprob"][1]
    assert (last["eos"], last["totals"][0]["tokens"]) == (True, 8)
    told = "some have paragraphs as their texts and some lines, which --corpus"
    assert_refused(run(*two, paths["line"], "--corpus", file), 2, told)
    mixed = run(*two, paths["document"], "--file", file, "--lines")
    assert "a model of documents: the ends of texts are not scored" in mixed.stderr
    assert_refused(run(*two, paths["line"], "--mix", "0.5,0.5", "a"), 2, "sequences")


def test_a_mixture_of_models_of_paragraphs_is_one():
    models = [tiny_model("ab\n", "paragraph", seed=seed) for seed in (1, 2)]
    both = mix(models, [0.25, 0.75])
    assert both.language.kind is PARAGRAPH
    p = sum(
        w * np.exp(float(model.score("\n"))) for w, model in zip((0.25, 0.75), models, strict=True)
    )
    first = [dict(model.next_tokens()) for model in models]
    assert both.next_tokens()["a"] == pytest.approx(0.25 * first[0]["a"] + 0.75 * first[1]["a"])
    assert np.exp(float(both.score("\n"))) != pytest.approx(p)  # tokens are mixed, not texts


# --- writing --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Return a model that has learnt two paragraphs: `ab` and then `ba` below, or the other way
    round."""
    path = tmp_path_factory.mktemp("learnt")
    corpus = written(path / "corpus.txt", ["ab\nba\nab", "ba\nab\nba"] * 40, "\n\n")
    tiny = {**TINY, "hidden": 16, "lr": 0.05, "steps": 250, "valid_fraction": 0.1}
    train(path / "m", {"corpus": (corpus,), "sequences": "paragraph", **tiny, "counts": 8})
    return path


def test_what_is_written_is_a_corpus_of_paragraphs(learnt):
    m = learnt / "m"
    texts = [
        sample["text"]
        for sample in objects(run("sample", "-m", m, "-n", 30, "--seed", 1, "--json"))
    ]
    assert len({"ab\nba\nab", "ba\nab\nba"} & set(texts)) == 2
    assert sum(text in ("ab\nba\nab", "ba\nab\nba") for text in texts) >= 27
    shown = run("sample", "-m", m, "-n", 30, "--seed", 1).stdout
    assert shown == "\n".join(f"{text}\n" for text in texts)
    assert PARAGRAPH.of(shown) == texts
    on_and_on = run("sample", "-m", m, "--length", 0, "--lines", 9, "--seed", 1).stdout
    assert PARAGRAPH.of(on_and_on) == texts[:3]
    once = run("sample", "-m", m, "--seed", 1).stdout
    assert once == f"{texts[0]}\n"
    assert run(
        "sample", "-m", m, "-n", 2, "--seed", 1, "--separator", "%\n"
    ).stdout == "\n%\n".join([texts[0], f"{texts[1]}\n"])


def test_a_paragraph_may_be_longer_than_other_texts_unless_a_length_is_given(tmp_path):
    """All of some hundred characters and EOS are as probable here."""
    tokens = [chr(code) for code in range(0x4E00, 0x4E00 + 300)] + ["\n"]
    tiny_model(tokens, "paragraph", spread=0).save(tmp_path / "paragraph")
    tiny_model(tokens[:-1], "line", spread=0).save(tmp_path / "line")

    def longest(kind, *more, env=None):
        options = ["sample", "-m", tmp_path / kind, "-n", 40, "--seed", 1, "--json", *more]
        return max(sample["tokens"] for sample in objects(run(*options, env=env)))

    assert 200 < longest("paragraph") <= 2000
    assert longest("paragraph", "--length", 200) == 200
    assert longest("paragraph", env={"CHARLM_SAMPLE_LENGTH": "200"}) == 200
    assert longest("line") == 200


def blank_so_far(text):
    return not text.split("\n")[-1].strip()


@pytest.mark.parametrize("prompt", ["", "a", "a\n", "a\n ", "a\n b"])
@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 3.0}, {"top_k": 2}, {"temperature": 0.0}], ids=str
)
def test_what_is_written_is_one_paragraph_whatever_the_model(prompt, settings):
    model = tiny_model("ab\n\t ", "paragraph", spread=0.5)
    drawn = list(model.samples(100, SamplingConfig(length=60, **settings), prompt, seed=5))
    ended = [sample.text for sample in drawn if sample.ended == "eos"]
    assert all(PARAGRAPH.of(text) == [text] for text in ended)
    assert all(len(PARAGRAPH.of(sample.text)) == 1 for sample in drawn)
    if not settings:
        assert sum("\n" in text.removeprefix(prompt) for text in ended) > 5
        assert [sample.text for sample in drawn[:3]] == [
            "".join(model.writer(prompt).stream(SamplingConfig(length=60), 5, number))
            for number in range(3)
        ]


def test_the_way_on_is_the_most_probable_that_is_a_paragraph():
    """Against all texts of up to four tokens, of which those with a blank line are none."""
    model = tiny_model("a \n", "paragraph", spread=0.7, seed=4)
    every = []
    for size in range(1, 5):
        for letters in itertools.product("a \n", repeat=size):
            text = "".join(letters)
            if PARAGRAPH.of(text) == [text]:
                every.append((float(model.score(text)), text))
    found = [(each.logprob, each.text) for each in model.beam(300, length=5) if each.ended == "eos"]
    best = [each for each in found if len(each[1]) <= 4]
    for (ours, text), (wanted, other) in zip(best, sorted(every, reverse=True), strict=False):
        assert text == other
        assert ours == close(wanted)
    assert len(best) == len(every)


def test_other_tokens_are_drawn_in_proportion():
    """What may not come is left out, as if it had been drawn again until something else came."""
    model = tiny_model("ab\n", "paragraph", spread=0.5)
    for prompt in ("", "a", "b\n"):
        drawn = Counter(
            sample.ids[0]
            for sample in model.samples(4000, SamplingConfig(length=1), prompt, seed=2)
        )
        p = np.exp(model.begin_state(prompt).logp)
        p[UNK] = 0
        if blank_so_far(prompt):
            p[[EOS, model.tokenizer.newline]] = 0
        p /= p.sum()
        assert [drawn[token] / 4000 for token in range(len(p))] == pytest.approx(p, abs=0.03)
        assert not any(drawn[token] for token in np.flatnonzero(p == 0).tolist())


def test_words_and_bytes_have_no_blank_line_either(room):
    for model in (
        tiny_model(["ab", "\n"], "paragraph", words=True, spread=0.5),
        charlm.load(room / "byte"),
    ):
        drawn = [
            sample
            for sample in model.samples(60, SamplingConfig(length=300), seed=1)
            if sample.ended == "eos"
        ]
        assert len(drawn) > 20
        assert all(PARAGRAPH.of(sample.text) == [sample.text] for sample in drawn)
    for tokens in ("\n", "\n "):  # which have nothing else to write
        drawn = list(
            tiny_model(tokens, "paragraph", spread=0.5).samples(
                20, SamplingConfig(length=9), seed=1
            )
        )
        assert {sample.ended for sample in drawn} == {"eos", "length"}
    may, blank = Allowed(ByteTokenizer(), PARAGRAPH), np.ones(1, np.bool_)
    still = [value for value in range(256) if may.after(blank, np.array([value + 2]))[0]]
    assert still == [value for value in range(256) if not chr(value).strip()]


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_what_a_text_was_drawn_with_is_its_score(room, kind):
    model = charlm.load(room / kind)
    drawn = list(model.samples(20, SamplingConfig(length=2000), seed=3))
    assert {sample.ended for sample in drawn} == {"eos"}
    assert sum("\n" in sample.text for sample in drawn) > 3
    scores = [float(model.score(sample.text)) for sample in drawn]
    assert [sample.logprob for sample in drawn] == [close(score) for score in scores]
    best = model.beam(4, length=60)
    ended = [text for text in best if text.ended == "eos"]
    assert [text.logprob for text in ended] == [
        close(float(model.score(text.text))) for text in ended
    ]


def test_a_prompt_may_have_newlines_but_no_blank_line(learnt, tmp_path):
    m, model = learnt / "m", charlm.load(learnt / "m")
    assert run("sample", "-m", m, "--prompt", "ab\nb", "--seed", 1).stdout == "ab\nba\nab\n"
    (tmp_path / "begun").write_text("ab\nba\n")
    assert (
        run("sample", "-m", m, "--prompt", f"@{tmp_path}/begun", "--seed", 1).stdout
        == "ab\nba\nab\n"
    )
    assert model.sample(prompt="ab\n", starts_with="ba\n", seed=1) == "ab\nba\nab"
    assert max(model.next_tokens("ab\nba"), key=model.next_tokens("ab\nba").get) == "\n"
    for prompt in ("ab\n\nba", "ab\n \t\nb", "\nab", " \nab", "ab\n\n"):
        assert_refused(
            run("sample", "-m", m, "--prompt", prompt),
            2,
            "the prompt has a blank line, but a paragraph",
        )
        with pytest.raises(UsageError, match="a paragraph has none inside"):
            model.next_tokens(prompt)
    for prompt, text in (("ab\n", "\nba"), ("", "\n"), ("", "a\n \nb")):
        with pytest.raises(UsageError, match="a paragraph has no blank line inside"):
            model.sample(prompt=prompt, starts_with=text)
    for option in ("--stop", "--contains"):
        assert_refused(
            run("sample", "-m", m, option, "\n\n"), 2, "a paragraph has no blank line inside"
        )
    assert model.sample(prompt="ab", stop="\nab", seed=1) == "ab\nba"
    assert model.sample(prompt="ab", lines=2, seed=1) == "ab\nba"
    assert_refused(
        run("sample", "-m", m, "--pattern", "a\n\nb"), 2, "a paragraph has no blank line inside"
    )


def test_novelty_goes_over_newlines_within_a_paragraph_and_no_further(learnt, tmp_path):
    options = ["-m", learnt / "m", "-n", 20, "--seed", 1, "--json"]
    for given in (["--novelty"], ["--novelty", learnt / "corpus.txt"]):
        found = objects(run("sample", *options, *given))
        assert [each["copied"] for each in found] == [
            each["text"] in ("ab\nba\nab", "ba\nab\nba") for each in found
        ]
        assert all(each["longest_copied_run"] == each["text"] for each in found if each["copied"])
    other = written(tmp_path / "other", ["ab\nba", "ab"], "\n\n")
    for each in objects(run("sample", *options, "--novelty", other)):
        if each["text"] == "ab\nba\nab":
            assert (each["copied"], each["longest_copied_run"]) == (False, "ab\nba")


# --- runs and files -------------------------------------------------------------------------------


def test_a_run_goes_on_to_the_same_bits_and_its_settings_repeat_it(room, tmp_path):
    given = {"corpus": (str(room / "corpus.txt"),), **settings("char")}
    train(tmp_path / "whole", given)
    train(tmp_path / "parts", given, stop_at=11)
    train(tmp_path / "parts", {}, resume=True)
    shutil.copy(tmp_path / "whole" / "config.toml", tmp_path / "c.toml")
    assert 'sequences = "paragraph"' in (tmp_path / "c.toml").read_text()
    assert (
        run("train", "--config", tmp_path / "c.toml", "-m", tmp_path / "again", "-q").exit_code == 0
    )
    whole, *others = (outcome(tmp_path / name)[0] for name in ("whole", "parts", "again"))
    for other in others:
        assert all((whole[name] == other[name]).all() for name in whole)


def test_a_model_tells_what_its_texts_are_to_older_charlms_by_its_format(room, tmp_path):
    path = room / "char" / "model.safetensors"
    tensors, metadata = checkpoint.load(path)
    assert metadata["charlm.format"] == "2"
    tiny_model("a\n", "paragraph").save(tmp_path / "m.safetensors")
    assert (
        checkpoint.metadata(tmp_path / "m.safetensors")["charlm.format"] == "2"
    )  # it has no counts
    tiny_model("a\n", "document").save(tmp_path / "m.safetensors")
    assert checkpoint.metadata(tmp_path / "m.safetensors")["charlm.format"] == "1"
    assert "sequences           paragraph" in run("info", "-m", path).stdout
    for value in ("paragraphs", None, ["paragraph"]):
        vocabulary = json.loads(metadata["charlm.vocabulary"]) | {"sequences": value}
        checkpoint.save(
            tmp_path / "m.safetensors",
            tensors,
            metadata | {"charlm.vocabulary": json.dumps(vocabulary)},
        )
        with pytest.raises(DataError, match="unknown sequences"):
            charlm.load(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="the context is newline"):
        Language.from_dict(Language(ByteTokenizer(), "paragraph", "newline").to_dict())


def test_what_a_text_is_comes_from_the_model_that_a_run_starts_from(room, tmp_path):
    corpus = written(tmp_path / "f", ["ab\nxy", "xy"])
    given = {
        "corpus": (corpus,),
        "steps": 2,
        "valid_fraction": 0.0,
        "init_from": str(room / "char"),
    }
    tuned = train(tmp_path / "m", given)
    assert "sequences: paragraph, as the model has them" in tuned.notes
    assert tuned.model.language.sequences == "paragraph"
    assert tuned.corpus.train.sequences == 2
    with pytest.raises(
        UsageError, match=r"--sequences line \(the model has --sequences paragraph\)"
    ):
        train(tmp_path / "n", given | {"sequences": "line"})


# --- classes --------------------------------------------------------------------------------------


def labelled(form, of):
    return "".join({"tab": f"{label}\t{text}\n \n", "prefix": f"__label__{label} {text}\n\n"}[form]
                   for label, text in of)  # fmt: skip


def two_kinds(count, seed=0):
    """Return texts that differ in their second lines alone."""
    draw = random.Random(seed)
    return [(label := draw.choice(["up", "down"]), f"{draw.choice('xyz')}\n{'ab' if label == 'up' else 'ba'}\n"
             + draw.choice("xyz")) for _ in range(count)]  # fmt: skip


@pytest.mark.parametrize("form", ["tab", "prefix"])
@pytest.mark.parametrize("kind", ["char", "word"])
def test_paragraphs_have_classes(tmp_path, form, kind):
    (tmp_path / "corpus").write_text(labelled(form, two_kinds(150)))
    (tmp_path / "gold").write_text(labelled(form, gold := two_kinds(40, 1)))
    plain = written(tmp_path / "plain", [text for _, text in gold])
    options = [
        "--hidden",
        16,
        "--embedding",
        8,
        "--steps",
        60,
        "--lr",
        0.02,
        "--tokenizer",
        kind,
        "-q",
    ]
    trained = run("train", tmp_path / "corpus", "-m", tmp_path / "m", "--task", "classify", "--sequences", "paragraph",
                  *options)  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    m = tmp_path / "m"
    (figures,) = objects(run("test", "-m", m, tmp_path / "gold", "--json"))
    assert (figures["texts"], figures["accuracy"]) == (40, 1.0)
    answers = objects(run("predict", "-m", m, "--file", plain, "--json"))
    assert [(each["label"], each["text"]) for each in answers] == gold
    assert (
        objects(run("predict", "-m", m, "-", "--json", stdin=(tmp_path / "plain").read_bytes()))
        == answers
    )
    assert (
        objects(run("predict", "-m", m, "--file", plain, "--json", "--shard", "2/2"))
        == answers[1::2]
    )
    scores = objects(run("score", "-m", m, "--file", tmp_path / "gold", "--json"))
    assert [(each["label"], each["text"]) for each in scores] == gold
    assert [np.exp(each["logprob"]) for each in scores] == pytest.approx(
        [each["probability"] for each in answers]
    )
    assert re.search(r"^sequences +paragraph$", run("info", "-m", m).stdout, re.MULTILINE)
    assert 'sequences = "paragraph"' in (m / "config.toml").read_text()
    (tmp_path / "gold").write_text("up\tx\n\n\nno\tlabel\n\n\nab\nup\tz\n")
    assert_refused(
        run("test", "-m", m, "--labels", "tab", tmp_path / "gold"), 65, "gold: line 7 has no tab"
    )


def test_a_classifier_of_lines_is_written_as_ever_and_stands_apart(tmp_path):
    lines = tiny_classifier("ab\n")
    of = {**vars(lines.classes), "sequences": "paragraph"}
    paragraphs = type(lines)(lines.trained, lines.config, type(lines.classes)(**of), lines.facts)
    for name, model in (("lines", lines), ("paragraphs", paragraphs)):
        model.save(tmp_path / name)
    assert "sequences" not in json.loads(checkpoint.metadata(tmp_path / "lines")["charlm.classes"])
    assert charlm.load(tmp_path / "paragraphs").classes.kind is PARAGRAPH
    assert charlm.load(tmp_path / "lines").classes.kind is LINE
    (tmp_path / "gold").write_text("yes\ta\nno\tb\n")
    both = run("test", "-m", tmp_path / "lines", "-m", tmp_path / "paragraphs", tmp_path / "gold")
    assert_refused(both, 2, "some of these models have lines as their texts and some paragraphs")
    (figures,) = objects(run("test", "-m", tmp_path / "paragraphs", tmp_path / "gold", "--json"))
    assert figures["texts"] == 1


def test_byte_models_part_at_blank_lines_of_bytes(tmp_path):
    config = tiny_model(list(map(chr, range(256)))).config
    engine = tiny_model(list(map(chr, range(256)))).engine
    Model(engine, config, Language(ByteTokenizer(), "paragraph", "sequence"), {"run": "test"}).save(
        tmp_path / "m"
    )
    data = "a\r\né\r\n \r\n\xff".encode("latin-1").replace(b"\xe9", "é".encode())
    found = objects(run("score", "-m", tmp_path / "m", "-", "--json", stdin=data))
    assert [each["text"] for each in found] == ["a\r\né\r", "\udcff"]
    (tmp_path / "f").write_bytes(data)
    (whole,) = objects(run("score", "-m", tmp_path / "m", "--corpus", tmp_path / "f", "--json"))
    assert whole["logprob"] == close(sum(each["logprob"] for each in found))
    assert (whole["tokens"], whole["bits_per_byte"]) == (
        9,
        close(-whole["logprob"] / np.log(2) / 9),
    )
