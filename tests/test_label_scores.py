"""`charlm score` with a classifier: the log-probability of the label that a text is given."""

import json
import math
import subprocess

import pytest

import charlm
from charlm.text.tokenizers import ByteTokenizer
from tests.test_commands import assert_refused, started
from tests.test_commands import charlm as run
from tests.tiny import COMPANY, tiny_classifier, tiny_model

GOLD = "no\tab\nyes\tca\tb\n\nmaybe\t\nodd\tabc\n"
PAIRS = [("no", "ab"), ("yes", "ca\tb"), ("maybe", ""), ("odd", "abc")]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    path = tmp_path_factory.mktemp("room")
    tiny_classifier(longest=4).save(path / "tab")
    tiny_classifier(form="prefix").save(path / "prefix")
    tiny_classifier(form="file").save(path / "file")
    tiny_classifier(form="first-word", tokenizer=ByteTokenizer(), spread=1).save(path / "byte")
    tiny_model("abc").save(path / "language")
    (path / "gold.tsv").write_text(GOLD)
    (path / "no.txt").write_text("ab\ncab\n")
    return path


def objects(result):
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_log_probability_of_a_label_is_that_of_predict(room):
    for label in ("no", "yes", "maybe"):
        for values in objects(
            run("score", "-m", room / "tab", "--label", label, "--json", "ab", "", "c?" * 9)
        ):
            expected = charlm.load(room / "tab").probabilities(values["text"])[label]
            assert math.exp(values.pop("logprob")) == pytest.approx(expected, rel=COMPANY)
            assert values == {
                "text": values["text"], "label": label, "tokens": 1, "unknown": 0, "perplexity": None,
                "perplexity_known": None, "bits_per_char": None, "cut": len(values["text"]) > 4,
                "why_no_bits_per_char": "a label is scored, and no text",
            }  # fmt: skip


def test_lines_have_labels_of_their_own(room):
    """An unknown one has no probability; blank lines are no texts."""
    result = run("score", "-m", room / "tab", "--file", room / "gold.tsv", "--json")
    found = objects(result)
    assert [(one["label"], one["text"]) for one in found] == PAIRS
    assert [one["unknown"] for one in found] == [0, 0, 0, 1]
    assert found[3]["logprob"] is None
    alone = [
        objects(run("score", "-m", room / "tab", "--label", *pair, "--json"))[0]
        for pair in PAIRS[:3]
    ]
    logprobs = [one["logprob"] for one in found[:3]]
    assert [one.pop("logprob") for one in alone] == pytest.approx(logprobs, rel=COMPANY)
    assert alone == [
        {name: value for name, value in one.items() if name != "logprob"} for one in found[:3]
    ]
    total = sum(logprobs)
    assert result.stderr == f"total of 4 texts: {total:.4f} nats, 1 of their labels unknown\n"
    assert objects(run("score", "-m", room / "tab", "-", "--json", stdin=GOLD)) == found


def test_tsv_and_the_table_say_what_json_says(room):
    found = objects(run("score", "-m", room / "tab", "--file", room / "gold.tsv", "--json"))
    header, *rows = run(
        "score", "-m", room / "tab", "--file", room / "gold.tsv", "--tsv"
    ).stdout.splitlines()
    names = header.split("\t")
    assert names == [
        "logprob",
        "tokens",
        "unknown",
        "perplexity",
        "perplexity_known",
        "bits_per_char",
        "label",
        "text",
    ]
    for row, values in zip(rows, found, strict=True):
        fields = [
            "NA" if values[name] is None else str(values[name]).replace("\t", "\\t")
            for name in names
        ]
        assert row.split("\t") == fields
    header, *rows = run(
        "score", "-m", room / "tab", "--file", room / "gold.tsv"
    ).stdout.splitlines()
    assert header.split() == ["logprob", "probability", "label", "and", "text"]
    for row, values in zip(rows, found, strict=True):
        logprob = values["logprob"]
        shown = ["-", "-"] if logprob is None else [f"{logprob:.4f}", f"{math.exp(logprob):.4f}"]
        assert row.split()[:3] == [*shown, values["label"]]


def test_every_form_that_a_corpus_can_have(room):
    texts = [b"__label__no ab\n__label__yes ca\n", b"no ab\nyes \xe9\n"]
    for name, lines in zip(("prefix", "byte"), texts, strict=True):
        found = objects(run("score", "-m", room / name, "-", "--json", stdin=lines))
        assert [one["label"] for one in found] == ["no", "yes"]
    assert found[1]["text"] == "\udce9"
    by_name = objects(run("score", "-m", room / "file", "--file", room / "no.txt", "--json"))
    assert [(one["label"], one["text"]) for one in by_name] == [("no", "ab"), ("no", "cab")]
    assert_refused(
        run("score", "-m", room / "file", "-", stdin="ab\n"), 2, "names of files", "standard input"
    )
    wrong = run("score", "-m", room / "prefix", "--file", room / "gold.tsv", "--shard", "2/2")
    assert_refused(wrong, 65, "gold.tsv: line 2 does not begin with __label__")
    shards = [
        objects(run("score", "-m", room / "tab", "-", "--shard", f"{k}/2", "--json", stdin=GOLD))
        for k in (1, 2)
    ]
    assert [[one["label"] for one in part] for part in shards] == [["no", "odd"], ["yes", "maybe"]]


@pytest.mark.parametrize(("options", "words"), [
    (["ab"], ["--label"]),
    (["ab", "--label", "yess"], ["'yess'", "such as yes"]),
    (["ab", "--label", ""], ["''", "no, yes, maybe"]),
    (["-", "--label", "yes"], ["lines have labels of their own"]),
    (["--corpus", "valid", "--label", "yes"], ["label needs texts"]),
    (["ab", "--label", "yes", "--per-token"], ["--per-token"]),
    (["ab", "--label", "yes", "--no-eos"], ["--eos"]),
    (["--corpus", "valid"], ["--corpus"]),
    (["--corpus", "valid", "--dynamic"], ["--corpus"]),
    (["--corpus", "valid", "--cache"], ["--corpus"]),
    (["ab", "--label", "yes", "--count-cache"], ["--count-cache"]),
    (["-", "--nbest"], ["--nbest"]),
    (["-", "--whole"], ["--whole"]),
    (["-", "--lines"], ["--lines"]),
    (["ab", "--label", "yes", "--format", "kenlm"], ["kenlm"]),
    (["ab", "--label", "yes", "--engine", "torch"], ["engine torch", "leave --engine out"]),
    (["ab", "--label", "yes", "--mix", "1"], ["mix needs several"]),
])  # fmt: skip
def test_what_a_classifier_cannot_do_is_refused_by_name(room, options, words):
    assert_refused(run("score", "-m", room / "tab", *options), 2, *words)


def test_several_models_and_language_models(room):
    for others in (["tab"], ["language"], ["tab", "language"]):
        models = [word for name in ["prefix", *others] for word in ("-m", room / name)]
        assert_refused(run("score", *models, "ab", "--label", "no"), 2, "charlm test")
    assert_refused(
        run("score", "-m", room / "language", "--label", "no", "ab"), 2, "leave --label out"
    )
    mixed = ["-m", room / "prefix", "-m", room / "tab", "--mix", "0.5,0.5"]
    assert_refused(run("score", *mixed, "ab", "--label", "no"), 2, "charlm test")


def test_stdin_is_answered_as_it_pauses(room):
    with started("score", "-m", room / "tab", "-", "--json", stdin=subprocess.PIPE) as process:
        for text in (b"no\tab", b"yes\t"):
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["label"] == text.split(b"\t")[0].decode()
        process.stdin.close()
        assert process.stderr.read().startswith(b"total of 2 texts")
    assert process.returncode == 0
