"""Several models about the same texts: one rule for all of them, and no verdict where there is none to be had."""

import itertools
import json
import math

import pytest

import charlm
from charlm.comparison import FEWEST_TEXTS, Pair, compare
from charlm.engines.numpy import NumpyEngine
from charlm.language import Language
from charlm.model import Model
from charlm.scoring import Score
from charlm.text.corpus import prepare
from charlm.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer
from tests.test_commands import assert_refused
from tests.test_commands import charlm as run
from tests.tiny import tiny_model

TEXTS = ["abba", "cab", "b", "bbb", "ca", "acb", "cc", "abcabc", "a", "ba", "aaa", "bca"]


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a tiny model and returns its path."""

    def make(name, tokens="abc", **settings):
        path = tmp_path / f"{name}.safetensors"
        tiny_model(tokens, **settings).save(path)
        return path

    return make


def byte_model(path, sequences="line"):
    config = tiny_model(list(map(chr, range(256)))).config
    language = Language(ByteTokenizer(), sequences, "sequence")
    Model(NumpyEngine(config), config, language, {"run": "test"}).save(path)
    return path


def objects(result):
    """Return the objects of the texts, and the last one."""
    *texts, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert all("text" in each for each in texts)
    assert "text" not in last
    return texts, last


def compared(*paths, texts=TEXTS, options=()):
    models = [part for path in paths for part in ("-m", path)]
    return run("score", *models, *options, *(["--", *texts] if texts else []))


def test_the_last_object_says_what_the_line_says(save):
    paths = save("one"), save("other", seed=3)
    result = compared(*paths, options=["--json"])
    texts, last = objects(result)
    scores = [[charlm.load(path).score(text) for text in TEXTS] for path in paths]
    differences = [float(a) - float(b) for a, b in zip(*scores, strict=True)]
    total = math.fsum(differences)
    (found,) = last["comparisons"]
    assert (last["texts"], last["eos"]) == (len(TEXTS), True)
    assert [each["model"] for each in last["totals"]] == [found["first"], found["second"]] == list(map(str, paths))
    tokens = sum(score.tokens for score in scores[0])
    assert [each["tokens"] for each in last["totals"]] == [tokens, tokens]
    assert found["difference"] == pytest.approx(total)
    assert found["difference_per_text"] == pytest.approx(total / len(TEXTS))
    assert found["difference_per_token"] == found["difference_per_char"] == pytest.approx(total / tokens)
    assert found["ahead"] == sum(difference > 0 for difference in differences)
    assert found["better"] == str(paths[0] if total > 0 else paths[1])
    interval = compare(*([float(score) for score in each] for each in scores))
    assert found["interval"] == pytest.approx([interval.low, interval.high])
    assert [each["best"] for each in texts] == [str(paths[difference <= 0]) for difference in differences]
    table = compared(*paths)
    assert table.stdout.splitlines()[-1] == result.stderr.strip()
    for figure in (f"{total:+.4f} nats in total", f"{total / tokens:+.4f} a token", f"{interval.low:+.4f} to"):
        assert figure in result.stderr


@pytest.mark.parametrize("count", [1, FEWEST_TEXTS - 1, FEWEST_TEXTS])
def test_an_interval_needs_texts(save, count):
    result = compared(save("one"), save("other", seed=3), texts=TEXTS[:count], options=["--json"])
    (found,) = objects(result)[1]["comparisons"]
    enough = count >= FEWEST_TEXTS
    assert (found["interval"] is not None) == enough
    assert ("95 % interval" in result.stderr) == enough
    assert (f"no interval from fewer than {FEWEST_TEXTS} texts" in result.stderr) != enough


@pytest.mark.parametrize(("option", "eos"), [([], False), (["--no-eos"], False), (["--eos"], True)])
def test_lines_and_documents_are_scored_by_one_rule(save, tmp_path, option, eos):
    """The end of a text counts in both or in neither; a file is cut into lines for both."""
    line, document = save("line"), save("document", "abc\n", sequences="document", seed=1)
    file = tmp_path / "texts"
    file.write_text("".join(f"{text}\n" for text in TEXTS))
    either = [(line, document), (document, line)]
    for models, (texts, source) in itertools.product(either, ((TEXTS, []), ([], ["--file", file]))):
        result = compared(*models, texts=texts, options=["--json", *option, *source])
        rows, last = objects(result)
        assert [row["text"] for row in rows] == TEXTS
        for row in rows:
            expected = [charlm.load(path).score(row["text"], eos=eos).logprob for path in models]
            assert row["logprob"] == pytest.approx(expected)
        assert last["eos"] == eos
        assert len({each["tokens"] for each in last["totals"]}) == 1
        assert "document.safetensors is a model of documents: the ends of texts are" in result.stderr


def test_documents_are_compared_whole_unless_told_otherwise(save, tmp_path):
    paths = [save(f"{seed}", "abc\n", sequences="document", seed=seed) for seed in (1, 2)]
    file = tmp_path / "text"
    file.write_text("abba\ncab\n")
    rows, _ = objects(compared(*paths, texts=[], options=["--json", "--file", file]))
    assert [row["text"] for row in rows] == [str(file)]
    assert rows[0]["logprob"] == pytest.approx([float(charlm.load(path).score("abba\ncab\n")) for path in paths])
    stdin = run("score", "-m", paths[0], "-m", paths[1], "--json", "--whole", "-", stdin=b"abba\ncab\n")
    assert objects(stdin)[0][0]["logprob"] == rows[0]["logprob"], "stdin is read once for both"


def test_who_knows_fewer_tokens_is_not_ahead_for_it(save):
    knows, lacks = save("knows"), save("lacks", "ab", seed=2)
    full = [text for text in TEXTS if "c" not in text]
    unknown = sum(text.count("c") for text in TEXTS)
    result = compared(knows, lacks, options=["--json"])
    rows, last = objects(result)
    (found,) = last["comparisons"]
    assert (found["better"], found["why_no_verdict"]) == (None, "not all texts are known in full to both")
    assert "difference" not in found
    assert f"lacks.safetensors does not know {unknown} of " in result.stderr
    assert (
        f"no verdict, as not all texts are known in full to both; --known compares the {len(full)} of" in result.stderr
    )
    assert {row["text"] for row in rows if row["best"] is None} == set(TEXTS) - set(full)
    table = compared(knows, lacks)
    assert "ahead" not in table.stdout
    assert "no verdict" in table.stderr
    result = compared(knows, lacks, options=["--json", "--known"])
    (found,) = objects(result)[1]["comparisons"]
    scorers = [charlm.load(path) for path in (knows, lacks)]
    expected = sum(float(scorers[0].score(text)) - float(scorers[1].score(text)) for text in full)
    assert (found["texts"], found["difference"]) == (len(full), pytest.approx(expected))
    assert found["difference_per_token"] == pytest.approx(expected / sum(len(text) + 1 for text in full))
    assert f"of {len(full)} texts known in full to both, of {len(TEXTS)}" in result.stderr
    none = compared(knows, lacks, texts=["c"], options=["--known"])
    assert "no verdict, as no text is known in full to both\n" in none.stderr


def test_models_of_one_vocabulary_are_compared_with_what_neither_knows(save):
    result = compared(save("one"), save("other", seed=3), texts=["a?", "ab"], options=["--json"])
    assert objects(result)[1]["comparisons"][0]["texts"] == 2
    assert "does not know 1 of 6 tokens (16.7 %)" in result.stderr


@pytest.mark.parametrize(
    ("first", "second", "same_text", "same_units"),
    [
        (CharTokenizer(["a"]), CharTokenizer(["b"]), True, True),
        (CharTokenizer(["a"]), CharTokenizer(["a"], lowercase=True), False, False),
        (CharTokenizer(["a"], lowercase=True), CharTokenizer(["b"], lowercase=True), True, True),
        (CharTokenizer(["a"]), ByteTokenizer(), True, False),
        (CharTokenizer(["a"]), WordTokenizer(["a"]), True, False),
        (CharTokenizer(["a"]), WordTokenizer(["a"], punctuation=False), False, False),
        (WordTokenizer(["a"], punctuation=False), WordTokenizer(["b"], punctuation=False), True, True),
        (WordTokenizer(["a"], word_pattern=r"\S+"), WordTokenizer(["a"]), True, False),
    ],
)
def test_what_reads_a_text_otherwise_is_not_compared(first, second, same_text, same_units):
    pair = Pair(first, second)
    lossless = first.lossless, second.lossless
    comparable = pair.add(*(Score("a", -1.0, 1, 0, lossless=each) for each in lossless))
    assert (pair.same_text, pair.same_units, comparable) == (same_text, same_units, same_text)
    assert (pair.verdict() is None) == (not same_text)


def test_characters_and_words_are_compared_by_the_character(save):
    chars, words = save("chars", "ab "), save("words", ["a", "b", "ab"], words=True)
    result = compared(chars, words, texts=["a b ab", "b"], options=["--json"])
    (found,) = objects(result)[1]["comparisons"]
    assert found["difference_per_token"] is None
    assert found["difference_per_char"] == pytest.approx(found["difference"] / (6 + 1 + 1 + 1))
    assert "words.safetensors is a model of words: white space costs it nothing" in result.stderr
    assert " a character, ends of texts scored)" in result.stderr


def test_bytes_and_characters_read_the_same_lines(save, tmp_path):
    """BOM and CRLF are no part of the text where one of the models has no bytes."""
    chars, raw = save("chars"), byte_model(tmp_path / "raw.safetensors")
    file = tmp_path / "windows"
    file.write_bytes(b"\xef\xbb\xbfabba\r\ncab\r\n")
    rows, _ = objects(compared(raw, chars, texts=[], options=["--json", "--file", file, "--lines"]))
    assert [row["text"] for row in rows] == ["abba", "cab"]
    assert rows[0]["logprob"][0] == pytest.approx(float(charlm.load(raw).score("abba")))
    for source in (["--file", file, "--whole"], ["--corpus", file]):
        refused = compared(raw, chars, texts=[], options=source)
        assert_refused(refused, 2, "would not score the same text", "CRs that models of bytes keep")


SMALL = ["--hidden", 8, "--embedding", 4, "--batch-size", 4, "--seq-len", 8, "--steps", 3, "-q", "--threads", 1]


@pytest.fixture
def corpora(tmp_path):
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("".join(f"{a}{b}{c}\n" for a in "abcd" for b in "efgh" for c in "ij") * 3)
    other.write_text("".join(f"{c}{b}{a}\n" for a in "abcd" for b in "efgh" for c in "ij") * 3)
    return one, other


def trained(corpus, path, *options):
    assert run("train", corpus, "-m", path, *SMALL, *options).exit_code == 0
    return path


def test_parts_of_runs_are_compared_where_they_are_one_text(corpora, tmp_path, monkeypatch):
    chars = trained(corpora[0], tmp_path / "chars")
    again = trained(corpora[0], tmp_path / "again", "--seed", 5)
    words = trained(corpora[0], tmp_path / "words", "--tokenizer", "word", "--min-count", 1)
    for second in (again, words):
        rows, last = objects(compared(chars, second, texts=[], options=["--json", "--corpus", "valid"]))
        alone = [json.loads(run("score", "-m", m, "--corpus", "valid", "--json").stdout) for m in (chars, second)]
        assert rows[0]["logprob"] == [each["logprob"] for each in alone]
        assert len(last["comparisons"]) == 1
    for path, options in [
        (corpora[1], []),
        (corpora[0], ["--split-seed", 3]),
        (corpora[0], ["--valid-fraction", 0.3]),
    ]:
        other = trained(path, tmp_path / "other", "--force", *options)
        refused = compared(chars, other, texts=[], options=["--corpus", "valid"])
        assert_refused(refused, 2, "would not score the same text")
    read = []
    monkeypatch.setattr("charlm.inputs.prepare", lambda *all: read.append(1) or prepare(*all))
    assert compared(chars, again, texts=[], options=["--corpus", "valid"]).exit_code == 0
    assert read == [1], "one text of the same ids is read once"


def test_lines_and_documents_have_no_common_corpus(save, tmp_path):
    file = tmp_path / "text"
    file.write_text("abba\n")
    refused = compared(save("line"), save("document", "abc\n", sequences="document"), texts=[],
                       options=["--corpus", file])  # fmt: skip
    assert_refused(refused, 2, "--file FILE with --lines or --whole")


def test_a_mixture_scores_the_part_of_its_runs(corpora, tmp_path):
    one, two = (trained(corpora[0], tmp_path / f"m{seed}", "--seed", seed) for seed in (1, 2))
    mixed = json.loads(run("score", "-m", one, "-m", two, "--mix", "0.5,0.5", "--corpus", "valid", "--json").stdout)
    alone = [json.loads(run("score", "-m", m, "--corpus", "valid", "--json").stdout) for m in (one, two)]
    assert mixed["tokens"] == alone[0]["tokens"] == alone[1]["tokens"]
    assert mixed["logprob"] > sum(each["logprob"] for each in alone) / 2, "the logarithm is concave"
    other = trained(corpora[1], tmp_path / "m3", "--force")
    refused = run("score", "-m", one, "-m", other, "--mix", "0.5,0.5", "--corpus", "valid")
    assert_refused(refused, 2, "would not score the same text")


def test_no_texts_no_verdict(save):
    result = run("score", "-m", save("one"), "-m", save("other"), "--json", "-", stdin=b"")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
