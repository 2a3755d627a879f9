"""`score` and `sample` as tools among others: formats that scripts read, shards, lists, comparisons, searches."""

import csv
import io
import json
import math
import re
import signal
import subprocess
import sys

import pytest

import charlm
from charlm.cli.formats import PRINTERS
from tests.test_commands import assert_refused
from tests.test_commands import charlm as run
from tests.tiny import tiny_model

LINES = ["abba", "", "ca\tb", "bbb", "a?", "cab" * 20, "b"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "one.safetensors"
    tiny_model("abc\t", cell="lstm").save(path)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "other.safetensors"
    tiny_model("abc\t", seed=3).save(path)
    return path


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def objects(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- score ----------------------------------------------------------------------------------------------------------


def test_tsv_says_what_json_says(model, lines):
    expected = objects(run("score", "-m", model, "--file", lines, "--json"))
    rows = list(csv.DictReader(io.StringIO(run("score", "-m", model, "--file", lines, "--tsv").stdout), delimiter="\t"))
    assert [row["text"] for row in rows] == [line.replace("\t", "\\t") for line in LINES]
    for row, values in zip(rows, expected, strict=True):
        for name in ("logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char"):
            assert row[name] == ("NA" if values[name] is None else str(values[name]))


def test_tsv_of_tokens_adds_up_to_the_texts(model, lines):
    texts = objects(run("score", "-m", model, "--file", lines, "--json"))
    found = run("score", "-m", model, "--file", lines, "--tsv", "--per-token").stdout
    rows = list(csv.DictReader(io.StringIO(found), delimiter="\t", quoting=csv.QUOTE_NONE))
    for number, values in enumerate(texts, start=1):
        own = [row for row in rows if int(row["text_number"]) == number]
        assert len(own) == values["tokens"]
        assert math.fsum(float(row["logprob"]) for row in own) == pytest.approx(values["logprob"])
        assert math.fsum(float(row["bits"]) for row in own) == pytest.approx(-values["logprob"] / math.log(2))
        assert sum(int(row["unknown"]) for row in own) == values["unknown"]
        assert all(int(row["rank"]) >= 1 for row in own)


def read_kenlm(output):
    """Read what kenlm's `query` prints, as scripts made for it do: words and totals of sentences, and the summary."""
    sentences, summary = [], {}
    for line in output.splitlines():
        *words, end = line.split("\t")
        total = re.fullmatch(r"Total: (\S+) OOV: (\d+)", end)
        if total:
            parsed = [re.fullmatch(r"(.+)=(\d+) (\d+) (\S+)", word, re.DOTALL).groups() for word in words]
            sentences.append((float(total[1]), int(total[2]), parsed))
        else:
            name, value = line.split(":\t")
            summary[name] = float(value)
    return sentences, summary


@pytest.mark.parametrize("options", [[], ["--per-token"]], ids=["sentence", "word"])
def test_a_script_made_for_kenlm_goes_on_working(model, lines, options):
    result = run("score", "-m", model, "abba", "", "a?", "cab", "--format", "kenlm", *options)
    expected = [charlm.load(model).score(text) for text in ("abba", "", "a?", "cab")]
    sentences, summary = read_kenlm(result.stdout)
    for (total, oov, words), score in zip(sentences, expected, strict=True):
        assert total == pytest.approx(score.log10, rel=1e-6)
        assert oov == score.unknown
        if options:
            assert len(words) == score.tokens
            assert sum(float(logprob) for *_, logprob in words) == pytest.approx(total, rel=1e-5)
            assert words[-1][:2] == ("</s>", "2"), "the end has kenlm's number"
            assert sum(number == "0" for _, number, _, _ in words) == oov, "0 is the number of the unknown"
            assert [int(length) for _, _, length, _ in words] == list(range(2, len(words) + 2))
    total = sum(expected[1:], expected[0])
    assert summary["Tokens"] == total.tokens
    assert summary["OOVs"] == total.unknown
    assert summary["Perplexity including OOVs"] == pytest.approx(total.perplexity)
    assert summary["Perplexity excluding OOVs"] == pytest.approx(total.perplexity_known)


ONE = {"<unk>": "-1.2", "<s>": "0 -0.3", "</s>": "-0.9", "a": "-0.5 -0.25", "b": "-0.7 -0.4"}  # log10 p, back-off
TWO = {"<s> a": "-0.2", "a b": "-0.3", "b b": "-0.6", "b </s>": "-0.4"}


def arpa():
    """Return a bigram model in the ARPA format."""
    parts = ["\\data\\", f"ngram 1={len(ONE)}", f"ngram 2={len(TWO)}", ""]
    for order, grams in enumerate((ONE, TWO), start=1):
        parts.append(f"\\{order}-grams:")
        for words, figures in grams.items():
            logprob, *backoff = figures.split()
            parts.append("\t".join([logprob, words, *backoff]))
        parts.append("")
    return "\n".join([*parts, "\\end\\", ""])


def test_identities_hold_in_kenlm_as_they_do_here(tmp_path, model):
    """On an n-gram of our own: sum of parts, state by state, perplexity; the same names and the same relations."""
    kenlm = pytest.importorskip("kenlm")
    (tmp_path / "lm.arpa").write_text(arpa())
    theirs, ours = kenlm.Model(str(tmp_path / "lm.arpa")), charlm.load(model)
    for spaced in ("a b b", "b a", "c a"):
        text = spaced.replace(" ", "")
        state, after, total = kenlm.State(), kenlm.State(), 0.0
        theirs.BeginSentenceWrite(state)
        own_state, own_total = ours.begin_state(), 0.0
        for word in [*spaced.split(), "</s>"]:
            total += theirs.BaseScore(state, word, after)
            state, after = after, state
            part, own_state = ours.base_score(own_state, "<eos>" if word == "</s>" else word)
            own_total += part
        for whole, parts, steps, perplexity, tokens in [
            (theirs.score(spaced), [part for part, _, _ in theirs.full_scores(spaced)], total,
             theirs.perplexity(spaced), len(text) + 1),
            (ours.score(text).log10, [token.logprob / math.log(10) for token in ours.full_scores(text)],
             own_total / math.log(10), ours.perplexity(text), len(text) + 1),
        ]:  # fmt: skip
            assert math.fsum(parts) == pytest.approx(whole, rel=1e-5)
            assert steps == pytest.approx(whole, rel=1e-5)
            assert perplexity == pytest.approx(10 ** (-whole / tokens), rel=1e-5)
            assert len(parts) == tokens


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_shards_are_the_lines_shared_out(model, lines, count):
    whole = objects(run("score", "-m", model, "--file", lines, "--json"))
    shards = [objects(run("score", "-m", model, "--file", lines, "--json", "--shard", f"{k}/{count}"))
              for k in range(1, count + 1)]  # fmt: skip
    found = [None] * len(whole)
    for k, shard in enumerate(shards):
        found[k::count] = shard
    assert found == whole
    stdin = run("score", "-m", model, "-", "--json", "--shard", f"1/{count}", stdin=lines.read_bytes())
    assert objects(stdin) == shards[0]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_are_none_are_refused(model, lines, shard):
    assert_refused(run("score", "-m", model, "--file", lines, "--shard", shard), 2, "shard must be I/N")


def test_lists_are_ordered_by_both_scores(model):
    entries = [("u1", -3.0, "abba"), ("u1", -1.0, "ccc"), ("u1", -2.0, "b\tb"), ("u2", 0.0, "a"), ("u1", -5.0, "cab")]
    scorer = charlm.load(model)
    stdin = "".join(f"{name}\t{score}\t{text}\n" for name, score, text in entries).encode()
    for weight in (0.0, 0.5, 3.0):
        result = run("score", "-m", model, "--nbest", "-", "--weight", weight, stdin=stdin)
        rows = [line.split("\t", 4) for line in result.stdout.splitlines()]
        assert [row[0] for row in rows] == ["u1", "u1", "u1", "u2", "u1"], "a list is lines that follow each other"
        expected = sorted(entries[:3], key=lambda entry: -(entry[1] + weight * float(scorer.score(entry[2]))))
        assert [row[4] for row in rows[:3]] == [text for _, _, text in expected]
        for _, total, other, logprob, text in rows:
            assert float(logprob) == pytest.approx(float(scorer.score(text)), abs=1e-5)
            assert float(total) == pytest.approx(float(other) + weight * float(logprob), abs=1e-4)
    wrong = run("score", "-m", model, "--nbest", "-", stdin=b"a\tb\tc\n")
    assert_refused(wrong, 65, "line 1", "list, TAB, score, TAB, text")


def test_mixed_models_score_as_one(model, other):
    mixture = charlm.model.mix([charlm.load(model), charlm.load(other)], [0.25, 0.75])
    result = run("score", "-m", model, "-m", other, "--mix", "0.25,0.75", "abba", "--json")
    assert objects(result)[0]["logprob"] == mixture.score("abba").logprob
    assert_refused(run("score", "-m", model, "-m", other, "--mix", "1,x", "a"), 2, "mix must be numbers")
    assert_refused(run("score", "-m", model, "-m", other, "--mix", "0.5,0.6", "a"), 2, "add up to 1")


def test_every_format_prints_nothing_for_no_texts(model):
    for form in PRINTERS:
        result = run("score", "-m", model, "-", "--format", form, stdin=b"")
        assert result.exit_code == 0
        assert result.stdout.count("\n") <= 1, "a header at most"


# --- sample ---------------------------------------------------------------------------------------------------------


def test_a_prompt_from_a_file_or_stdin(model, tmp_path):
    expected = run("sample", "-m", model, "--prompt", "ab", "--seed", 3, "-n", 2).stdout
    (tmp_path / "prompt").write_text("ab\n")
    assert run("sample", "-m", model, "--prompt", f"@{tmp_path / 'prompt'}", "--seed", 3, "-n", 2).stdout == expected
    assert run("sample", "-m", model, "--prompt", "-", "--seed", 3, "-n", 2, stdin=b"ab").stdout == expected
    assert run("sample", "-m", model, "--prompt", "@@b", "--seed", 3).stdout.startswith("@b")
    assert_refused(run("sample", "-m", model, "--prompt", "@/none"), 66, "/none")


def test_the_prompt_can_be_left_out(model):
    whole = run("sample", "-m", model, "--prompt", "ab", "--seed", 3, "-n", 3).stdout.splitlines()
    alone = run("sample", "-m", model, "--prompt", "ab", "--seed", 3, "-n", 3, "--no-echo").stdout.splitlines()
    assert whole == [f"ab{text}" for text in alone]
    streamed = run("sample", "-m", model, "--prompt", "ab", "--seed", 3, "--no-echo").stdout
    assert streamed == alone[0] + "\n"


def test_texts_are_numbered_and_parted_as_asked(model):
    texts = run("sample", "-m", model, "-n", 3, "--seed", 3).stdout.splitlines()
    numbered = run("sample", "-m", model, "-n", 3, "--seed", 3, "--number").stdout.splitlines()
    assert numbered == [f"{k}\t{text}" for k, text in enumerate(texts, start=1)]
    parted = run("sample", "-m", model, "-n", 3, "--seed", 3, "--separator", "%%\n").stdout
    assert parted == "\n%%\n".join(texts) + "\n"


def test_searching_ends_with_what_was_found(model):
    result = run("sample", "-m", model, "-n", 2, "--contains", "ab", "--pattern", "[abc]*", "--seed", 1, "--length", 9)
    assert result.exit_code == 0
    assert all("ab" in text and set(text) <= set("abc") for text in result.stdout.splitlines())
    result = run("sample", "-m", model, "--pattern", "(abc){60}", "--tries", 50)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "only 0 of 1 texts matched in 50 tries" in result.stderr
    assert_refused(run("sample", "-m", model, "--pattern", "("), 2, "no regular expression")


def test_a_beam_prints_its_texts_best_first(model):
    found = objects(run("sample", "-m", model, "--beam", 5, "--length", 4, "--json"))
    assert [text["logprob"] for text in found] == sorted((text["logprob"] for text in found), reverse=True)
    assert found[0]["text"] == charlm.load(model).beam(5, length=4)[0].text
    assert_refused(run("sample", "-m", model, "--beam", 5, "-n", 2), 2, "--beam K gives K texts")


@pytest.mark.parametrize("options", [["-n", 2], ["--json"], ["--contains", "a"], ["--beam", 2]])
def test_a_text_without_end_is_written_alone(model, options):
    assert_refused(run("sample", "-m", model, "--length", 0, *options), 2, "without end")


@pytest.mark.parametrize("ending", ["pipe", "interrupt"])
def test_a_stream_without_end_ends_with_its_reader_or_with_ctrl_c(tmp_path, ending):
    """No word on stderr; 0 where the reader had enough, 130 where somebody pressed Ctrl-C."""
    endless = tiny_model("ab", sequences="document", spread=0.5)
    endless.engine.params["head.bias"][0] = -50  # no EOS
    endless.save(tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "charlm", "sample", "-m", str(tmp_path / "m.safetensors"), "--length", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert len(process.stdout.read(5000)) == 5000
        if ending == "interrupt":
            process.send_signal(signal.SIGINT)
        process.stdout.close()
        assert process.stderr.read().strip() == b""  # the terminal gets a newline after its ^C
        assert process.wait(60) == (130 if ending == "interrupt" else 0)


def test_novelty_marks_what_was_copied(model, tmp_path):
    texts = run("sample", "-m", model, "-n", 5, "--seed", 3).stdout.splitlines()
    (tmp_path / "known.txt").write_text(f"{texts[1]}\n{texts[4]}\n")
    options = ["-n", 5, "--seed", 3, "--novelty", tmp_path / "known.txt"]
    marked = run("sample", "-m", model, *options)
    assert [line.endswith("\t[copied]") for line in marked.stdout.splitlines()] == [
        text in (texts[1], texts[4]) for text in texts
    ]
    assert "of 5 copied from the training text" in marked.stderr
    found = objects(run("sample", "-m", model, *options, "--json"))
    assert [text["copied"] for text in found] == [text in (texts[1], texts[4]) for text in texts]
    assert_refused(run("sample", "-m", model, "--novelty"), 66, "give --novelty FILE instead")


def test_novelty_knows_the_training_part_of_the_run(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{a}{b}\n" for a in "ab" for b in "cd") * 25)
    small = ["--hidden", "8", "--embedding", "4", "--batch-size", "4", "--seq-len", "8", "--steps", "30", "-q"]
    assert run("train", corpus, "-m", tmp_path / "m", *small).exit_code == 0
    found = objects(run("sample", "-m", tmp_path / "m", "-n", 40, "--seed", 1, "--novelty", "--json"))
    for text in found:
        assert text["copied"] == (text["text"] in {"ac", "ad", "bc", "bd"})
        assert text["longest_copied_run"] in text["text"]
    assert {text["copied"] for text in found} == {True, False}


def test_the_workers_of_dask_score_what_the_whole_scores(model):
    """The README's example: one model sent to the workers, the lines in bags, the scores back in order."""
    bag = pytest.importorskip("dask.bag")
    scorer = charlm.load(model)
    lines = ["abba", "ca", "bbb"] * 5

    def score(part, scorer):
        return [float(one) for one in scorer.scores(part)]

    found = bag.from_sequence(lines, npartitions=4).map_partitions(score, scorer).compute(scheduler="processes")
    assert found == pytest.approx([float(one) for one in scorer.scores(lines)], rel=1e-6)
