"""`charlm test`: the figures of a classifier on gold texts, counted here anew, and models compared."""

import json
from collections import Counter

import numpy as np
import pytest

import charlm
from charlm import gold
from charlm.classifier import evaluate
from charlm.comparison import compare, compare_right
from charlm.text.labelled import labelled_part
from charlm.text.tokenizers import ByteTokenizer
from tests.test_commands import assert_refused
from tests.test_commands import charlm as run
from tests.tiny import tiny_classifier, tiny_model

NAMES = ("no", "yes", "maybe", "never")
TEXTS = [
    "".join("abc"[(k * j + k // 3) % 3] for j in range(1, k % 9 + 2)) + "?" * (k % 7 == 0)
    for k in range(60)
]
LABELS = [(*NAMES[:3], "odd")[(k * k + k // 5) % 4 if k % 4 else k % 3] for k in range(60)]
PAIRS = list(zip(LABELS, TEXTS, strict=True))


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Return a directory with classifiers, a language model and gold files."""
    path = tmp_path_factory.mktemp("room")
    tiny_classifier(names=NAMES, longest=8).save(path / "one")
    tiny_classifier(names=NAMES, seed=4, counts=(1, 5, 2, 1)).save(path / "other")
    tiny_classifier(names=NAMES, form="prefix", tokenizer=ByteTokenizer(), spread=1).save(
        path / "byte"
    )
    tiny_classifier(names=("no", "yes"), form="file").save(path / "file")
    tiny_model("abc").save(path / "language")
    lines = [f"{label}\t{text}\n" for label, text in PAIRS]
    (path / "gold.tsv").write_text("".join(lines))
    (path / "a.tsv").write_text("".join(lines[:20]) + "\n \n")
    (path / "b.tsv").write_text("".join(lines[20:]))
    (path / "gold.prefix").write_text(
        "".join(f"__label__{label} {text}\n" for label, text in PAIRS)
    )
    (path / "no.txt").write_text("ab\nyes\tab\n")
    (path / "yes.txt").write_text("abc\n")
    return path


def figures_of(*arguments, **options):
    result = run("test", *arguments, "--json", **options)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def said_by(model):
    return [answer.label for answer in model.predict(TEXTS)]


def f1_by_hand(said):
    """Return precision, recall and F1 by label, by sets of places."""
    found = {}
    for name in {*LABELS, *said}:
        of_gold, of_said = (
            {k for k, label in enumerate(labels) if label == name} for labels in (LABELS, said)
        )
        hits = len(of_gold & of_said)
        precision = hits / len(of_said) if of_said else None
        recall = hits / len(of_gold) if of_gold else None
        found[name] = (precision, recall, 2 * hits / (len(of_gold) + len(of_said)))
    return found


def test_the_figures_are_those_counted_here(room):
    model = charlm.load(room / "one")
    said, found = said_by(model), figures_of("-m", room / "one", room / "gold.tsv")
    by_hand = f1_by_hand(said)
    assert found["accuracy"] == sum(a == b for a, b in zip(LABELS, said, strict=True)) / 60
    assert found["macro_f1"] == pytest.approx(
        np.mean([f1 for _, _, f1 in by_hand.values()]), abs=1e-12
    )
    assert found["majority"] == LABELS.count("no") / 60
    logprobs = [score.logprob for score in model.scores(PAIRS)]
    assert found["nats"] == pytest.approx(
        -np.mean([one for one in logprobs if one is not None]), abs=1e-12
    )
    assert (found["texts"], found["unseen"]) == (60, LABELS.count("odd"))
    table = {one["label"]: (one["precision"], one["recall"], one["f1"]) for one in found["labels"]}
    assert table == by_hand
    assert {one["label"]: one["texts"] for one in found["labels"]} == {
        name: LABELS.count(name) for name in by_hand
    }
    wrong = Counter(pair for pair in zip(LABELS, said, strict=True) if pair[0] != pair[1])
    assert {(one["gold"], one["said"]): one["texts"] for one in found["confusions"]} == dict(
        wrong.most_common(10)
    )
    counts = [one["texts"] for one in found["confusions"]]
    assert counts == sorted(counts, reverse=True)
    ids = [model.tokenizer.encode(text)[:8] for text in TEXTS]
    assert found["cut"] == sum(len(text) > 8 for text in TEXTS) > 0
    assert (found["tokens"], found["unknown"]) == (
        sum(map(len, ids)),
        sum(int((one == 1).sum()) for one in ids),
    )


def test_the_figures_are_those_of_sklearn(room):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    said, found = (
        said_by(charlm.load(room / "one")),
        figures_of("-m", room / "one", room / "gold.tsv"),
    )
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(LABELS, said), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(
        metrics.f1_score(LABELS, said, average="macro"), abs=1e-12
    )
    names = [one["label"] for one in found["labels"]]
    rows = metrics.precision_recall_fscore_support(LABELS, said, labels=names, zero_division=0)
    for one, precision, recall, f1, texts in zip(found["labels"], *rows, strict=True):
        assert (one["precision"] or 0, one["recall"] or 0, one["f1"]) == pytest.approx(
            (precision, recall, f1)
        )
        assert one["texts"] == texts


def test_the_figures_are_those_of_training(room):
    """As a run's own test part is judged."""
    model = charlm.load(room / "one", threads=1)
    part, _ = labelled_part([str(room / "gold.tsv")], model.tokenizer, model.labels, "tab", 8)
    tally, found = evaluate(model.trained, part), figures_of("-m", room / "one", room / "gold.tsv")
    assert (found["nats"], found["unseen"], found["cut"]) == (
        pytest.approx(tally.mean, rel=1e-12), tally.sums["unseen"], part.cut,
    )  # fmt: skip


def test_the_same_from_several_files_stdin_and_in_small_pieces(room, monkeypatch):
    found = figures_of("-m", room / "one", room / "gold.tsv")
    assert figures_of("-m", room / "one", room / "a.tsv", room / "b.tsv") == found
    assert figures_of("-m", room / "one", "-", stdin=(room / "gold.tsv").read_bytes()) == found
    assert figures_of("-m", room / "one", "--threads", 2, room / "gold.tsv") == found
    assert figures_of("-m", room / "one", "--labels", "prefix", room / "gold.prefix") == found
    monkeypatch.setattr(gold, "_TEXTS", 7)
    in_pieces = figures_of("-m", room / "one", room / "gold.tsv")
    assert in_pieces.pop("nats") == pytest.approx(found.pop("nats"), rel=1e-12)
    assert in_pieces == found
    monkeypatch.setattr("charlm.text.windows._TEXTS", 3)
    assert figures_of("-m", room / "one", room / "gold.tsv")["confusions"] == found["confusions"]


def test_labels_that_the_names_of_files_give(room):
    found = figures_of("-m", room / "file", room / "no.txt", room / "yes.txt")
    assert {one["label"]: one["texts"] for one in found["labels"]} == {"no": 1, "yes": 2}
    assert_refused(
        run("test", "-m", room / "file", "-", stdin=b"a\n"), 2, "labels file", "standard input"
    )
    assert_refused(
        run("test", "-m", room / "one", "--labels", "file", "-", stdin=b"a\n"), 2, "labels file"
    )


def test_the_majority_stands_first_and_the_rest_below(room):
    told = run("test", "-m", room / "one", room / "gold.tsv").stdout
    values = figures_of("-m", room / "one", room / "gold.tsv")
    lines = told.splitlines()
    assert lines[0] == f"majority        {100 * values['majority']:.2f} % if it were always no"
    right = round(60 * values["accuracy"])
    assert lines[1] == f"accuracy        {100 * values['accuracy']:.2f} % ({right} of 60 texts)"
    assert f"unseen labels   {LABELS.count('odd')} texts, counted as wrong: odd\n" in told
    assert f"cut             {values['cut']} texts of more than 8 tokens\n" in told
    assert [line.split()[-1] for line in lines if line.startswith("  ") and "." in line] == [
        one["label"] for one in values["labels"]
    ]
    first = values["confusions"][0]
    assert f"{first['texts']:>9}  {first['gold']} -> {first['said']}\n" in told


def test_models_are_compared_text_by_text(room):
    models = ["-m", room / "one", "-m", room / "other", "-m", room / "byte"]
    found = figures_of(*models, "--labels", "tab", room / "gold.tsv")
    right = [
        np.equal(said_by(charlm.load(room / name)), LABELS) for name in ("one", "other", "byte")
    ]
    assert [one["accuracy"] for one in found["models"]] == [each.mean() for each in right]
    assert found["models"][1] == {"model": str(room / "other")} | figures_of(
        "-m", room / "other", room / "gold.tsv"
    )
    for pair, each in zip(found["comparisons"], right[1:], strict=True):
        assert pair["difference"] == pytest.approx(right[0].mean() - each.mean())
        assert (pair["ahead"], pair["behind"]) == (
            (right[0] & ~each).sum(),
            (each & ~right[0]).sum(),
        )
        assert pair["interval"][0] <= pair["difference"] <= pair["interval"][1]
    told = run("test", "-m", room / "one", "-m", room / "other", room / "gold.tsv")
    assert told.stdout.splitlines()[0].startswith(f"{room / 'one'}: majority ")
    assert (
        f"against {room / 'other'}: {100 * found['comparisons'][0]['difference']:+.2f} points"
        in told.stdout
    )
    assert f"{room / 'one'}: unseen labels: " in told.stderr
    few = run("test", "-m", room / "one", "-m", room / "other", "-", stdin=b"no\tab\n").stdout
    assert "no interval from fewer than 10 texts" in few


@pytest.mark.parametrize(("ahead", "behind", "texts"), [(30, 10, 400), (0, 0, 50), (5, 0, 50)])
def test_an_interval_by_counts_is_that_by_texts(ahead, behind, texts):
    """Another draw of the same distribution: ends within a fifth of the interval."""
    first = np.r_[np.ones(ahead), np.zeros(texts - ahead)]
    second = np.r_[np.zeros(texts - behind), np.ones(behind)]
    by_texts, by_counts = compare(first, second), compare_right(ahead, behind, texts)
    assert (by_counts.better, by_counts.total, by_counts.mean) == (
        ahead,
        ahead - behind,
        pytest.approx(by_texts.mean),
    )
    width = by_texts.high - by_texts.low
    assert by_counts.low == pytest.approx(by_texts.low, abs=0.2 * width + 1e-12)
    assert by_counts.high == pytest.approx(by_texts.high, abs=0.2 * width + 1e-12)


def test_what_cannot_be_tested(room, tmp_path):
    assert_refused(run("test", "-m", room / "one"), 2, "give gold files")
    assert_refused(run("test", "-m", room / "one", tmp_path / "none"), 66, "none")
    assert_refused(run("test", "-m", room / "one", room / "gold.prefix"), 65, "line 1 has no tab")
    assert_refused(run("test", "-m", room / "one", "-", stdin=b"\n \n"), 65, "no text")
    assert_refused(
        run("test", "-m", room / "one", "-m", room / "byte", room / "gold.tsv"), 2, "--labels"
    )
    assert_refused(
        run("test", "-m", room / "language", room / "gold.tsv"), 2, "charlm score --corpus"
    )
    assert_refused(
        run("test", "-m", room / "byte", "--encoding", "cp1252", room / "gold.prefix"),
        2,
        "--encoding",
    )
    assert_refused(run("test", "-m", room / "one", "--threads", 0, room / "gold.tsv"), 2, "threads")
    assert_refused(
        run("test", "-m", room / "one", "--labels", "there", room / "gold.tsv"), 2, "labels"
    )


def test_gold_in_another_encoding(room):
    coded = "no\tab\u00e4\n".encode("utf-16")
    assert figures_of("-m", room / "one", "--encoding", "utf-16", "-", stdin=coded)["tokens"] == 3
