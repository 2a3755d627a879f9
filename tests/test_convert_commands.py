"""The commands with converters: `predict` in every form, the figures of `test` counted here anew,
`score`, `sample` and `info`."""

import csv
import io
import json
import subprocess
import sys
import types

import numpy as np
import pytest

import charlm
from charlm.comparison import compare_right
from charlm.sampling import SamplingConfig
from charlm.text.tokenizers import EOS, ByteTokenizer
from tests.test_commands import ROOT, assert_refused, started
from tests.test_commands import charlm as run
from tests.test_tag_commands import objects
from tests.tiny import sounds, tiny_classifier, tiny_converter, tiny_model, tiny_tagger

SOURCES = ["abc", "ca b", "", "b", "cacaba"]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a directory with converters, a classifier, a tagger and a language model."""
    path = tmp_path_factory.mktemp("room")
    tiny_converter(target=sounds("K", "AE1", "T"), longest=5).save(path / "sounds")
    tiny_converter(seed=1).save(path / "letters")
    endless = tiny_converter(longest=5)
    endless.trained.params["head.bias"][EOS] = -4
    endless.save(path / "endless")
    tiny_converter(targets="ab", seed=2, attention=False).save(path / "state")
    tiny_converter(source=ByteTokenizer(), target=ByteTokenizer(), seed=3).save(path / "bytes")
    tiny_classifier().save(path / "classes")
    tiny_tagger().save(path / "tagger")
    tiny_model("abc").save(path / "language")
    (path / "lines.txt").write_text("".join(f"{source}\n" for source in SOURCES))
    return path


@pytest.fixture(scope="module")
def gold(room):
    """Return a file of random pairs, some sources with several references, one with a symbol that
    training has not; and what is in it."""
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(40)]
    said = [answer.targets[0].text for answer in charlm.load(room / "letters").predict(words)]
    pairs = [
        (word, best if rng.random() < 0.4 else "".join(rng.choice(list("xyz"), rng.integers(1, 5))))
        for word, best in zip(words, said, strict=True)
    ]
    pairs += [(word, "xy") for word in words[::5]] + [("abcabc", "q"), ("ccc?", "xx")]
    path = room / "gold.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    return path, pairs


def edits(ours, theirs):
    """Return the Levenshtein distance of two lists."""
    row = list(range(len(theirs) + 1))
    for i, token in enumerate(ours, 1):
        last, row = row, [i]
        for j, other in enumerate(theirs, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (token != other)))
    return row[-1]


def by_hand(said, pairs, tokens=list):
    """Return exact match, word and symbol error rate of targets by their sources."""
    references = {}
    for source, target in pairs:
        references.setdefault(source, []).append(tokens(target))
    right = sum(tokens(said[source]) in some for source, some in references.items())
    near = [
        min((edits(tokens(said[source]), one), len(one)) for one in some)
        for source, some in references.items()
    ]
    symbols = sum(edit for edit, _ in near) / sum(length for _, length in near)
    return right / len(references), 1 - right / len(references), symbols


# --- predict --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sounds", "letters", "state"])
def test_a_line_has_its_target(room, name):
    """From arguments, a file and stdin alike, an empty line too."""
    expected = [answer.targets[0].text for answer in charlm.load(room / name).predict(SOURCES)]
    lines = room / "lines.txt"
    assert run("predict", "-m", room / name, "--file", lines).stdout.splitlines() == expected
    stdin = lines.read_bytes()
    assert run("predict", "-m", room / name, "-", stdin=stdin).stdout.splitlines() == expected
    assert run("predict", "-m", room / name, "--", *SOURCES).stdout.splitlines() == expected
    crlf = stdin.replace(b"\n", b"\r\n")
    assert run("predict", "-m", room / name, "-", stdin=crlf).stdout.splitlines() == expected


def test_top_gives_log_probabilities(room):
    """Of a beam as wide as they are, or as --beam says; where there are fewer, - and NA."""
    answers = list(charlm.load(room / "letters").predict(SOURCES, 4, 3))
    lines = run("predict", "-m", room / "letters", "--beam", 4, "--top", 3, "--", *SOURCES).stdout
    assert [line.split("\t") for line in lines.splitlines()] == [
        [field for target in answer.targets for field in (target.text, f"{target.logprob:.4f}")]
        for answer in answers
    ]
    best = run("predict", "-m", room / "letters", "--beam", 4, "--", *SOURCES).stdout.splitlines()
    assert best == [answer.targets[0].text for answer in answers]
    two, three = (
        run("predict", "-m", room / "letters", *given, "--top", 2, "--", *SOURCES).stdout
        for given in ((), ("--beam", 2))
    )
    assert two == three
    one = run("predict", "-m", room / "letters", "--top", 1, "abc").stdout
    (greedy,) = charlm.load(room / "letters").predict(["abc"])
    assert one == f"{greedy.targets[0].text}\t{greedy.targets[0].logprob:.4f}\n"


def test_json_and_tsv_have_what_python_has(room):
    answers = list(charlm.load(room / "sounds").predict(SOURCES, 5, 2))
    options = ["-m", room / "sounds", "--file", room / "lines.txt", "--beam", 5, "--top", 2]
    found = objects(run("predict", *options, "--json"))
    for values, answer in zip(found, answers, strict=True):
        targets = [
            {
                "target": target.text, "logprob": target.logprob,
                "ended": "eos" if target.ended else "length",
            } for target in answer.targets
        ]  # fmt: skip
        assert values == {
            "source": answer.source, **targets[0], "targets": targets, "unknown": answer.unknown,
        }  # fmt: skip
    assert [values["unknown"] for values in found] == [0, 1, 0, 0, 0]
    text = run("predict", *options, "--tsv").stdout
    header, *rows = csv.reader(io.StringIO(text), delimiter="\t")
    assert header == ["target", "logprob", "target_2", "logprob_2", "source"]
    assert rows == [
        [str(field) for each in values["targets"] for field in (each["target"], each["logprob"])]
        + [values["source"]]
        for values in found
    ]


def test_what_went_astray_is_told(room):
    """Unknown tokens, a tab, a source that is cut and a target without an end: counted on
    stderr."""
    sources = ["abc", "a?c?", "ab\tc", "abcabcabc", "caca"]
    answers = list(charlm.load(room / "endless").predict(sources))
    limited = sum(not answer.targets[0].ended for answer in answers)
    assert limited
    told = run("predict", "-m", room / "endless", "-", stdin="\n".join(sources)).stderr.splitlines()
    assert told == [
        "charlm: 2 of 5 sources with 3 tokens that training has not",
        "charlm: 1 of 5 sources with a tab: predict takes sources alone (cut -f 1), "
        "charlm test pairs",
        "charlm: 1 of 5 texts was longer than 5 tokens and was cut there",
        f"charlm: {limited:,} targets stopped at the length limit, before an end was found",
    ]


def test_a_source_with_unknown_tokens_may_be_copied(room):
    options = ["-m", room / "letters", "--unknown", "copy", "a?", "ab"]
    (answer,) = charlm.load(room / "letters").predict(["ab"])
    assert run("predict", *options).stdout == f"a?\n{answer.targets[0].text}\n"
    assert run("predict", *options, "--top", 1).stdout.startswith("a?\t-\n")
    assert run("predict", *options, "--tsv").stdout.splitlines()[1] == "a?\tNA\ta?"
    copied, other = objects(run("predict", *options, "--json", "--align"))
    assert (copied["target"], copied["logprob"], copied["ended"]) == ("a?", None, "copied")
    assert "alignment" not in copied
    assert "alignment" in other
    assert run("predict", *options, "--align").stdout.startswith("a?\n")


def test_an_alignment_says_what_was_looked_at(room):
    model = charlm.load(room / "sounds")
    (values,) = objects(run("predict", "-m", room / "sounds", "--align", "--json", "ab"))
    expected = model.align("ab", values["target"])
    assert values["alignment"]["source_tokens"] == ["a", "b", ""]
    assert values["alignment"]["target_tokens"] == [*values["target"].split(), ""]
    assert np.allclose(values["alignment"]["shares"], expected.shares, atol=1e-6)
    text = run("predict", "-m", room / "sounds", "--align", "ab").stdout
    assert text.endswith("\n\n")
    target, *rows = text.rstrip("\n").split("\n")
    assert target == values["target"]
    tokens = [*target.split(), "<eos>"]
    for row, token, shares in zip(rows, tokens, expected.shares.tolist(), strict=True):
        name, *seen = row.split()
        assert name == token
        shown = dict(zip(seen[::2], seen[1::2], strict=True))
        names = ["1:a", "2:b", "3:<eos>"]
        order = sorted(range(3), key=lambda k: -shares[k])
        expect = {names[k]: f"{shares[k]:.2f}" for k in order if shares[k] >= 0.05 or k == order[0]}
        assert shown == expect
        assert list(shown) == list(expect)


def test_beams_and_alignments_that_cannot_be_are_refused(room):
    letters = ["predict", "-m", room / "letters", "abc"]
    assert_refused(run(*letters, "--beam", 2, "--top", 3), 2, "--beam", "--top")
    assert_refused(run(*letters, "--align", "--tsv"), 2, "--align", "--tsv")
    assert_refused(run("predict", "-m", room / "state", "abc", "--align"), 2, "attention")
    for option, *value in (["--threshold", "0.5"], ["--prior", "uniform"], ["--columns"]):
        assert_refused(run(*letters, option, *value), 2, option)
    for name in ("classes", "tagger"):
        for option in (["--beam", "2"], ["--align"], ["--unknown", "copy"]):
            assert_refused(run("predict", "-m", room / name, "abc", *option), 2, option[0])


def test_targets_of_bytes_come_out_as_they_are(room):
    """Whatever bytes they have, in one line a source; what is no text is no source."""
    sources = ["caf\u00e9", "ab", ""]
    answers = charlm.load(room / "bytes").predict(sources)
    best = [answer.targets[0].text.encode("utf-8", "surrogateescape") for answer in answers]
    with started("predict", "-m", room / "bytes", "-", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate("".join(f"{source}\n" for source in sources).encode())
    assert out.count(b"\n") == 3
    for line, target in zip(out.split(b"\n"), best, strict=False):
        assert line == target or b"\n" in target
    refused = run("predict", "-m", room / "letters", "-", stdin=b"ab\n\xff\n")
    assert refused.exit_code == 65
    assert "standard input" in refused.stderr
    assert "--encoding" in refused.stderr
    letters = ["predict", "-m", room / "letters", "--encoding", "cp1252", "-"]
    assert run(*letters, stdin=b"a\xffb\n").stdout == run(*letters, stdin=b"a?b\n").stdout


def test_a_source_is_answered_as_the_input_pauses(room):
    (answer,) = charlm.load(room / "letters").predict(["ab"])
    with started("predict", "-m", room / "letters", "-", stdin=subprocess.PIPE) as process:
        for _ in range(2):
            process.stdin.write(b"ab\n")
            process.stdin.flush()
            assert process.stdout.readline().decode() == answer.targets[0].text + "\n"
        process.stdin.close()
        process.stderr.read()
    assert process.returncode == 0


def test_shards_are_of_lines(room):
    whole = run("predict", "-m", room / "letters", "--file", room / "lines.txt").stdout
    parts = [
        run("predict", "-m", room / "letters", "--file", room / "lines.txt", "--shard", f"{k}/2")
        .stdout.splitlines()
        for k in (1, 2)
    ]  # fmt: skip
    assert [part.pop(0) for k in range(len(SOURCES)) for part in [parts[k % 2]]] == (
        whole.splitlines()
    )


# --- test -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beam", [1, 3])
def test_figures_are_those_of_counting(room, gold, beam):
    path, pairs = gold
    model = charlm.load(room / "letters")
    (values,) = objects(run("test", "-m", room / "letters", path, "--json", "--beam", beam))
    sources = list(dict.fromkeys(source for source, _ in pairs))
    names = ("exact_match", "word_error_rate", "symbol_error_rate")
    for width in dict.fromkeys([1, beam]):
        answers = list(model.predict(sources, width))
        said = {answer.source: answer.targets[0].text for answer in answers}
        figures = values if width == beam else values["greedy"]
        assert [figures[name] for name in names] == pytest.approx(by_hand(said, pairs))
    assert 0 < (values["greedy"] if beam > 1 else values)["exact_match"] < 1
    scores = list(model.scores(pairs))
    nats = -sum(score.logprob - score.unknown_logprob for score in scores)
    known = sum(score.tokens - score.unknown for score in scores)
    assert known < sum(score.tokens for score in scores)
    assert values["nats"] == pytest.approx(nats / known)
    common = max({target for _, target in pairs}, key=[target for _, target in pairs].count)
    for name, text in (("majority", lambda _: common), ("copied", str)):
        expected = by_hand({source: text(source) for source in sources}, pairs)
        assert values[name] == pytest.approx(expected[0])
    assert values["majority"] > 0
    assert (values["sources"], values["references"], values["beam"]) == (
        len(sources), len(pairs), beam,
    )  # fmt: skip
    assert (values["unseen"], values["unknown"]) == (1, 1)
    assert values["limited"] == sum(not answer.targets[0].ended for answer in answers)
    assert ("greedy" in values) == (beam > 1)
    worst = values["worst"]
    assert [one["edits"] for one in worst] == sorted((one["edits"] for one in worst), reverse=True)
    for one in worst:
        assert one["said"] == said[one["source"]]
        assert one["edits"] == edits(one["said"], one["gold"])
        assert one["edits"] == min(
            edits(one["said"], target) for source, target in pairs if source == one["source"]
        )
    near = [
        min(((edits(said[one], target), len(target)) for source, target in pairs if source == one))[
            1
        ]
        for one in sources
    ]
    short = [2 * len(said[one]) < size for one, size in zip(sources, near, strict=True)]
    assert values["short"] == sum(short)


def test_figures_for_people_say_what_json_says(room, gold):
    path, _ = gold
    (values,) = objects(run("test", "-m", room / "letters", path, "--json", "--beam", 2))
    lines = run("test", "-m", room / "letters", path, "--beam", 2).stdout.splitlines()
    told = {line[:14].strip(): line[16:] for line in lines[: lines.index("")]}
    assert list(told)[:3] == ["majority", "copied", "greedy"]
    assert told["exact match"].startswith(f"{100 * values['exact_match']:.2f} %")
    assert told["word errors"].startswith(f"{100 * values['word_error_rate']:.2f} %")
    assert told["symbol errors"].startswith(f"{100 * values['symbol_error_rate']:.2f} %")
    assert f"{100 * values['greedy']['symbol_error_rate']:.2f} %" in told["greedy"]
    assert told["majority"].startswith(f"exact match {100 * values['majority']:.2f} %")
    assert told["copied"].startswith(f"exact match {100 * values['copied']:.2f} %")
    assert told["unseen"].startswith("1 source ")
    assert told["unknown"].startswith("1 of ")
    worst = values["worst"][0]
    assert lines[lines.index("") + 2].split(None, 1) == [
        str(worst["edits"]), f"{worst['source']}: {worst['gold']} -> {worst['said']}",
    ]  # fmt: skip


def test_words_are_the_symbols_where_targets_have_words(room):
    model = charlm.load(room / "sounds")
    sources = ["abc", "ca", "b"]
    said = {answer.source: answer.targets[0].text for answer in model.predict(sources)}
    pairs = [("abc", "K AE1"), ("ca", said["ca"]), ("b", "T")]
    stdin = "".join(f"{source}\t{target}\n" for source, target in pairs)
    (values,) = objects(run("test", "-m", room / "sounds", "-", "--json", stdin=stdin))
    assert values["symbol_error_rate"] == pytest.approx(by_hand(said, pairs, str.split)[2])


def test_two_converters_are_compared(room, gold):
    path, pairs = gold
    models = ["-m", room / "letters", "-m", room / "state"]
    (values,) = objects(run("test", *models, path, "--json"))
    sources = list(dict.fromkeys(source for source, _ in pairs))
    right = []
    for name in ("letters", "state"):
        answers = charlm.load(room / name).predict(sources)
        right.append([(answer.source, answer.targets[0].text) in pairs for answer in answers])
        (alone,) = objects(run("test", "-m", room / name, path, "--json"))
        assert {"model": str(room / name)} | alone in values["models"]
    ahead, behind = (
        sum(a and not b for a, b in zip(*some, strict=True)) for some in (right, right[::-1])
    )
    (pair,) = values["comparisons"]
    expected = compare_right(ahead, behind, len(sources))
    assert (pair["ahead"], pair["behind"]) == (ahead, behind)
    assert pair["difference"] == expected.mean
    assert pair["interval"] == [expected.low, expected.high]
    assert pair["better"] == str(room / "letters")
    assert ahead > behind
    text = run("test", *models, path).stdout.splitlines()
    assert text[0].startswith("majority ")
    assert f"{100 * expected.mean:+.2f} points of exact match" in text[-1]
    assert f"it alone has {ahead:,} right, the other {behind:,}" in text[-1]


def test_chrf_is_sacrebleus(room, gold, monkeypatch):
    """Where it is not installed, that is told before anything is read."""
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert_refused(run("test", "-m", room / "letters", "missing", "--chrf"), 2, "sacrebleu")
    seen = []

    class CHRF:
        def corpus_score(self, said, references):
            seen.append((said, references))
            return types.SimpleNamespace(score=12.5)

    metrics = types.ModuleType("sacrebleu.metrics")
    metrics.CHRF = CHRF
    monkeypatch.setitem(sys.modules, "sacrebleu", types.ModuleType("sacrebleu"))
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", metrics)
    path, pairs = gold
    (values,) = objects(run("test", "-m", room / "letters", path, "--chrf", "--json"))
    assert values["chrf"] == 12.5
    said, references = seen[0]
    sources = list(dict.fromkeys(source for source, _ in pairs))
    best = [answer.targets[0].text for answer in charlm.load(room / "letters").predict(sources)]
    assert said == best
    every = [[target for source, target in pairs if source == one] for one in sources]
    assert [
        [one for one in some if one is not None] for some in zip(*references, strict=True)
    ] == every
    assert "chrF            12.50" in run("test", "-m", room / "letters", path, "--chrf").stdout


def test_gold_that_is_none_is_refused(room, gold):
    letters = ["test", "-m", room / "letters"]
    assert_refused(run(*letters, "-", stdin="ab\tx\nab x\n"), 65, "standard input", "2", "tab")
    assert_refused(run(*letters, "-", stdin=""), 65, "-")
    assert_refused(run(*letters, room / "nothing.tsv"), 66, "nothing.tsv")
    assert_refused(run(*letters, gold[0], "--labels", "tab"), 2, "--labels")
    mixed = ["-m", room / "letters", "-m", room / "classes"]
    assert_refused(run("test", *mixed, gold[0]), 2, "one by one")
    for name in ("classes", "tagger"):
        assert_refused(run("test", "-m", room / name, gold[0], "--beam", 2), 2, "--beam")
        assert_refused(run("test", "-m", room / name, gold[0], "--chrf"), 2, "--chrf")


# --- score ----------------------------------------------------------------------------------------


def test_a_target_is_scored_given_its_source(room):
    model = charlm.load(room / "sounds")
    pairs = [("ab", "K AE1"), ("ab", "T")]
    found = objects(run("score", "-m", room / "sounds", "--source", "ab", "K AE1", "T", "--json"))
    for values, pair in zip(found, pairs, strict=True):
        score = model.score(*pair)
        assert (values["source"], values["text"]) == pair
        assert values["logprob"] == pytest.approx(score.logprob)
        assert values["tokens"] == score.tokens
    stdin = "ab\tK AE1\nab\tT\n"
    assert objects(run("score", "-m", room / "sounds", "-", "--json", stdin=stdin)) == found
    (room / "pairs.tsv").write_text(stdin)
    alone = run("score", "-m", room / "sounds", "--source", "ab", "--json", "-", stdin="K AE1\nT\n")
    assert objects(alone) == found
    several = "ab\tT\nca\tT\n\tT\n"
    sources = objects(run("score", "-m", room / "sounds", "-", "--json", stdin=several))
    assert [values["source"] for values in sources] == ["ab", "ca", ""]
    second = ["--file", room / "pairs.tsv", "--shard", "2/2", "--json"]
    assert objects(run("score", "-m", room / "sounds", *second)) == found[1:]


def test_every_token_of_a_target_can_be_scored(room):
    score = charlm.load(room / "sounds").score("ab", "K Q", per_token=True)
    options = ["-m", room / "sounds", "--source", "ab", "--per-token", "K Q"]
    (values,) = objects(run("score", *options, "--json"))
    assert [(one["token"], one["logprob"]) for one in values["per_token"]] == [
        (one.token, pytest.approx(one.logprob)) for one in score.per_token
    ]
    assert [one["unknown"] for one in values["per_token"]] == [False, True, False]
    rows = run("score", *options, "--tsv").stdout.splitlines()
    assert [row.split("\t")[1] for row in rows[1:]] == ["K", "Q", "<eos>"]
    assert "K" in run("score", *options).stdout


def test_options_of_texts_are_refused_for_targets(room):
    letters = ["score", "-m", room / "letters", "--source", "ab", "x"]
    for option in (
        ["--no-eos"],
        ["--label", "x"],
        ["--format", "kenlm"],
        ["--no-counts"],
        ["--html", "-"],
        ["--color"],
    ):
        assert_refused(run(*letters, *option), 2, option[0].removeprefix("--no-"))
    lines = ["score", "-m", room / "letters", "--file", room / "pairs.tsv"]
    for option in (["--nbest"], ["--lines"], ["--whole"], ["--nbest", "--weight", "2"]):
        assert_refused(run(*lines, *option), 2, "leave --")
    for option in (["--dynamic"], ["--cache"], ["--count-cache"], []):
        corpus = ["score", "-m", room / "letters", "--corpus", room / "pairs.tsv"]
        assert_refused(run(*corpus, *option), 2, "leave --corpus out")
    assert_refused(run(*letters, "-m", room / "state"), 2, "charlm test")
    assert_refused(run("score", "-m", room / "letters", "x"), 2, "--source")
    assert_refused(run("score", "-m", room / "language", "--source", "ab", "x"), 2, "--source")
    assert_refused(run("score", "-m", room / "classes", "--source", "ab", "x"), 2, "--source")
    assert_refused(run("score", "-m", room / "letters", "-", stdin="ab x\n"), 65, "1", "tab")


# --- sample and info ------------------------------------------------------------------------------


def test_targets_are_drawn_and_found(room):
    model = charlm.load(room / "sounds")
    options = ["-m", room / "sounds", "--source", "ab"]
    found = objects(run("sample", *options, "-n", 4, "--seed", 3, "--json"))
    drawn = list(model.samples("ab", 4, seed=3))
    assert [values["text"] for values in found] == [sample.text for sample in drawn]
    assert len({values["text"] for values in found}) > 1
    assert run("sample", *options, "--seed", 3).stdout == model.sample("ab", seed=3) + "\n"
    best = run("sample", *options, "--beam", 3).stdout.splitlines()
    (answer,) = model.predict(["ab"], 3, 3)
    assert best == [target.text for target in answer.targets]
    filters = {
        "temperature": 0.5,
        "top_k": 2,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.5,
    }
    given = [f"--{name.replace('_', '-')}={value}" for name, value in filters.items()]
    config = SamplingConfig(7, **filters)
    expected = [sample.text for sample in model.samples("ab", 5, config, 1)]
    written = run("sample", *options, "-n", 5, "--seed", 1, "--length", 7, *given).stdout
    assert written.splitlines() == expected
    begun = run("sample", *options, "-n", 3, "--starts-with", "T").stdout.splitlines()
    assert all(text.split()[0] == "T" for text in begun)
    prompted = run("sample", *options, "--prompt", "T K", "--seed", 2).stdout
    assert prompted.startswith("T K")
    matching = run("sample", *options, "-n", 2, "--pattern", "K.*", "--seed", 1).stdout.splitlines()
    assert all(text.startswith("K") for text in matching)


def test_a_drawn_target_ends_where_its_source_lets_it(room):
    """Unless a length is given, at most as long as `predict` may make it."""
    most = charlm.load(room / "endless").most_tokens("ab")
    options = ["-m", room / "endless", "--source", "ab", "-n", 20, "--seed", 1, "--json"]
    assert max(values["tokens"] for values in objects(run("sample", *options))) == most < 200


def test_sources_are_wanted_of_a_converter_alone(room):
    assert_refused(run("sample", "-m", room / "letters"), 2, "--source")
    assert_refused(run("sample", "-m", room / "language", "--source", "a"), 2, "--source")
    letters = ["sample", "-m", room / "letters", "--source", "ab"]
    for option in (["--label", "x"], ["--lines", 2], ["--no-counts"], ["--novelty"]):
        assert_refused(run(*letters, *option), 2, option[0])
    unknown = run("sample", "-m", room / "letters", "--source", "a?!?")
    assert (
        unknown.stderr == "charlm: the model does not know '!', '?' of the source: read as <unk>\n"
    )


def test_info_says_what_a_converter_is(room):
    facts = json.loads(run("info", "-m", room / "sounds", "--json").stdout)
    assert (facts["task"], facts["attention"], facts["directions"]) == ("convert", True, 2)
    assert (facts["source_tokenizer"], facts["target_tokenizer"]) == ("char", "word")
    assert (facts["source_vocabulary"], facts["target_vocabulary"]) == (5, 5)
    tensors = charlm.load(room / "sounds").trained.tensors()
    assert facts["parameters"] == sum(value.size for value in tensors.values())
    shown = run("info", "-m", room / "state").stdout
    assert "characters to characters" in shown
    assert json.loads(run("info", "-m", room / "state", "--json").stdout)["attention"] is False


# --- the README -----------------------------------------------------------------------------------

SECTION = (
    (ROOT / "README.md").read_text(encoding="utf-8").split("### Pairs: ")[1].split("\n### ")[0]
)
SHELL = f'set -e; charlm() {{ {sys.executable} -m charlm "$@"; }}; python() {{ {sys.executable} "$@"; }}\n'


def test_the_readmes_commands_run(tmp_path):
    """As they stand there, but for two steps of training."""
    commands = [line[2:] for line in SECTION.splitlines() if line.startswith("$ ")]
    used = ["train", "predict", "predict", "predict", "test", "score", "sample"]
    assert [command.split()[1] for command in commands[1:]] == used
    (tmp_path / "data").symlink_to(ROOT / "data")
    script = SHELL + "\n".join(commands).replace("--epochs 6", "--steps 2")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"\nmajority " in done.stdout
    code = SECTION.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_the_readme_names_the_keys(room, gold):
    (tested,) = objects(run("test", "-m", room / "letters", gold[0], "--json", "--beam", 2))
    (found,) = objects(run("predict", "-m", room / "letters", "ab", "--json", "--align"))
    for name in (*tested, *found, *found["alignment"]):
        assert f"`{name}`" in SECTION, name


def test_python_names():
    model = tiny_converter()
    assert isinstance(model, charlm.Converter)
    (answer,) = model.predict(["ab"])
    assert isinstance(answer, charlm.Converted)
    assert isinstance(answer.targets[0], charlm.Target)
    assert isinstance(model.align("ab"), charlm.Alignment)


def test_the_first_answers_of_many_do_not_wait_for_all():
    """The wider the beam, the fewer sources are answered together."""
    model, taken = tiny_converter(), []

    def sources():
        for number in range(5000):
            taken.append(number)
            yield "ab"

    for beam, most in ((1, 4096), (64, 64)):
        taken.clear()
        next(model.predict(sources(), beam))
        assert len(taken) == most
