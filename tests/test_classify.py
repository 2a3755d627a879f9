"""Runs that learn classes: what is learnt, what is kept, and all that a language model's run has too."""

import itertools
import json
import math
import pickle
import random

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.cells import CELLS
from charlm.classifier import Classes, Classifier
from charlm.directory import Directory
from charlm.errors import DataError, UsageError
from charlm.metrics import ClassFigures
from charlm.nn import kernel
from charlm.runs import open_run
from charlm.tasks.classify import _label_weights
from charlm.text.labelled import labelled_part
from charlm.text.packing import TextList
from charlm.training import Merit
from tests.test_commands import charlm as charlm_command
from tests.test_training import assert_same, train
from tests.tiny import COMPANY

TINY = {"hidden": 8, "embedding": 4, "batch_size": 8, "lr": 0.02, "threads": 2, "task": "classify"}
TINY["ngrams"] = 0  # their table is a thousand times as large as all the rest


def texts_of(seed=0, count=240):
    """Return labelled lines: vowels first is `a`, consonants first `b`, and now and then a long one is `c`."""
    rng = random.Random(seed)
    lines = []
    for _ in range(count):
        vowels, others = (
            "".join(rng.choices(letters, k=rng.randint(1, 6))) for letters in ("aeiou", "bcdfg")
        )
        label = rng.choices("abc", (4, 3, 1))[0]
        text = {"a": vowels + others, "b": others + vowels, "c": "z" * rng.randint(1, 4)}[label]
        lines.append(f"{label}\t{text}\n")
    return lines


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.tsv"
    path.write_text("".join(texts_of()), encoding="utf-8")
    return str(path)


def assert_resumes_to_the_bit(tmp_path, given, *stopped):
    """Check that a run which is stopped after these steps, and taken up each time, ends as one that
    is not."""
    train(tmp_path / "whole", given)
    whole = outcome(tmp_path / "whole")
    for stops in stopped:
        where = tmp_path / f"parts-{stops[0]}"
        for number, stop in enumerate([*stops, None]):
            train(where, given if number == 0 else {}, stop, resume=number > 0)
        assert_same(whole, outcome(where))


def outcome(where):
    """Return all that a run leaves, but for times."""
    tensors, metadata = checkpoint.load(where / "model.safetensors")
    state, more = checkpoint.load(where / "resume.safetensors")
    log = [json.loads(line) for line in (where / "log.jsonl").read_text().splitlines()]
    resume = json.loads(more["charlm.resume"])
    for record in (*log, resume["state"]):
        for name in ("seconds", "tokens_per_second"):
            record.pop(name, None)
    return tensors, state, metadata, resume, log


# --- what is learnt --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    {}, {"pool": "mean"}, {"pool": "max", "cell": "lstm"}, {"pool": "attention", "bidirectional": False},
    {"cell": "simple-gru", "head_layers": 1}, {"ngrams": 3}, {"tokenizer": "byte", "cell": "lstm-peephole"},
], ids=str)  # fmt: skip
def test_it_learns_what_a_text_is(tmp_path, corpus, settings):
    """The order of vowels and consonants, which no count of letters tells."""
    quick = TINY | {"lr": 0.05}
    run = train(tmp_path / "m", {"corpus": (corpus,), "epochs": 10, **quick, **settings})
    model = charlm.load(tmp_path / "m")
    assert isinstance(model, Classifier)
    figures = ClassFigures(model.tally(run.corpus.valid), model.classes.common)
    assert figures.accuracy > 0.9
    assert figures.accuracy == model.facts["valid_accuracy"]
    answers = [answer.label for answer in model.predict(["aeb", "bca", "zz"])]
    assert answers == ["a", "b", "c"]


def test_the_probabilities_of_a_text_add_up_and_are_those_of_its_labels(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "epochs": 2, **TINY})
    model = charlm.load(tmp_path / "m")
    p = model.probabilities("aebc")
    assert sum(p.values()) == pytest.approx(1, abs=1e-6)
    assert sorted(p) == ["a", "b", "c"]
    assert list(p.values()) == sorted(p.values(), reverse=True)
    scores = list(model.scores([("a", "aebc"), ("nothing", "aebc"), ("c", "aebc")]))
    assert [score.label for score in scores] == ["a", "nothing", "c"]
    assert math.exp(scores[0].logprob) == pytest.approx(p["a"], rel=COMPANY)
    assert scores[1].logprob is None
    (answer,) = model.predict(["aebc"], top=3, threshold=p["a"] if p["a"] > 0.5 else 0.5)
    assert all(probability >= 0.5 for _, probability in answer.labels)


@pytest.mark.skipif(kernel.missing is not None, reason="without compiled loops to rounding only")
def test_an_answer_does_not_depend_on_what_is_asked_beside_it(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "epochs": 2, **TINY})
    texts = [line.rstrip("\n").partition("\t")[2] for line in texts_of(7, 60)] + [
        "",
        "q" * 50,
        "aeb" * 90,
    ]
    alone = [next(charlm.load(tmp_path / "m", threads=1).predict([text], top=3)) for text in texts]
    for threads in (1, 2):
        model = charlm.load(tmp_path / "m", threads=threads)
        assert list(model.predict(texts, top=3)) == alone
        assert list(model.predict(texts[::-1], top=3)) == alone[::-1]


def test_balance_lets_rare_labels_count_as_much_as_common_ones():
    counts = np.array([6, 3, 1, 0])
    weights = _label_weights(counts)
    np.testing.assert_allclose(weights * counts, [10 / 3, 10 / 3, 10 / 3, 0], rtol=1e-6)
    assert float((weights * counts).sum()) == pytest.approx(counts.sum())


def test_with_balance_the_rare_label_is_said_more_often(tmp_path):
    """Texts that tell nothing: unweighted the answer is the share of each label, balanced it is even."""
    path = tmp_path / "c.tsv"
    path.write_text(
        "".join(f"{'rare' if k % 5 == 0 else 'common'}\t{'abcd'[k % 4]}\n" for k in range(400))
    )
    found = {}
    for balance in (False, True):
        given = {
            "corpus": (str(path),),
            "steps": 300,
            **TINY,
            "balance": balance,
            "valid_fraction": 0.0,
            "lr": 0.005,
        }
        train(tmp_path / f"m{balance}", given)
        found[balance] = charlm.load(tmp_path / f"m{balance}").probabilities("a")["rare"]
    assert found[False] == pytest.approx(0.2, abs=0.06)
    assert found[True] == pytest.approx(0.5, abs=0.08)


# --- which weights are kept ------------------------------------------------------------------------------------------


def test_a_ratio_goes_before_nats_and_equal_ratios_are_equal():
    assert Merit(9.0, 2, 3).beats(Merit(0.1, 1, 3))
    assert not Merit(0.1, 1, 3).beats(Merit(9.0, 2, 3))
    assert Merit(0.1, 1, 3).beats(Merit(0.2, 2, 6))
    assert not Merit(0.2, 2, 6).beats(Merit(0.1, 1, 3))
    assert not Merit(0.1, 1, 3).beats(Merit(0.1, 1, 3))
    assert not Merit(math.nan, 3, 3).beats(Merit(0.1, 1, 3))
    assert not Merit(math.inf, 3, 3).beats(Merit(0.1, 1, 3))


def test_the_best_weights_are_those_of_the_best_accuracy(tmp_path, corpus):
    given = {"corpus": (corpus,), "steps": 60, **TINY, "eval_every": 3, "lr": 0.05}
    run = train(tmp_path / "m", given)
    log = [json.loads(line) for line in (tmp_path / "m" / "log.jsonl").read_text().splitlines()]
    judged = [entry for entry in log if entry["valid_nats"] is not None]
    best = max(
        judged, key=lambda entry: (entry["valid_accuracy"], -entry["valid_nats"], -entry["step"])
    )
    facts = charlm.load(tmp_path / "m").facts
    assert facts["step"] == best["step"] == run.standing.best_step
    for name in ("valid_accuracy", "valid_macro_f1", "valid_nats", "valid_majority"):
        assert facts[name] == best[name]
    assert len({entry["valid_accuracy"] for entry in judged}) > 3


# --- a run -----------------------------------------------------------------------------------------------------------

RUNS = {
    "gru": {},
    "dropout, deep, residual": {
        "layers": 2,
        "residual": True,
        "dropout": 0.3,
        "head_layers": 1,
        "pool": "max",
    },
    "one direction, muon": {
        "bidirectional": False,
        "optimizer": "muon",
        "pool": "mean",
        "cell": "lstm",
    },
    "attention, balanced": {"pool": "attention", "balance": True, "layer_norm": True},
    "words and pairs": {"tokenizer": "word", "min_count": 1, "ngrams": 2, "steps": 30},
    "patience": {"eval_every": 3, "patience": 2, "lr": 0.3},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_stopped_and_resumed_ends_with_the_same_bits(tmp_path, corpus, settings):
    given = {"corpus": (corpus,), "steps": 34, "test_fraction": 0.1, **TINY, **settings}
    assert_resumes_to_the_bit(tmp_path, given, [1], [5, 26, 27])


def test_equal_runs_write_equal_files_and_other_seeds_do_not(tmp_path, corpus):
    files = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        train(
            tmp_path / name,
            {"corpus": (corpus,), "steps": 12, **TINY, "seed": seed, "dropout": 0.2},
        )
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("options", [
    ["--pool", "max", "--head-layers", "1", "--balance"], ["--no-bidirectional", "--ngrams", "0", "--no-balance"],
], ids=["told", "declined"])  # fmt: skip
def test_the_settings_that_a_run_writes_repeat_it(tmp_path, corpus, options):
    given = [
        "train",
        corpus,
        "--task",
        "classify",
        "--hidden",
        "8",
        "--embedding",
        "4",
        "--epochs",
        "2",
    ]
    charlm_command(*given, "-m", tmp_path / "one", *options, "--threads", "1")
    result = charlm_command(
        "train", "--config", tmp_path / "one" / "config.toml", "-m", tmp_path / "two"
    )
    assert result.exit_code == 0, result.stderr
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert (tmp_path / "one" / "config.toml").read_text() == (
        tmp_path / "two" / "config.toml"
    ).read_text()


def test_the_test_part_is_read_once_with_the_best_weights(tmp_path, corpus):
    given = {"corpus": (corpus,), "steps": 40, **TINY, "test_fraction": 0.2, "eval_every": 5}
    run = train(tmp_path / "m", given)
    model = charlm.load(tmp_path / "m")
    figures = ClassFigures(model.tally(run.corpus.test), model.classes.common)
    assert model.facts["test_accuracy"] == figures.accuracy
    assert model.facts["test_nats"] == figures.nats
    assert model.facts["test_macro_f1"] == figures.macro_f1
    assert run.test.count == len(run.corpus.test)


def test_what_a_run_says_before_it_begins(tmp_path, corpus):
    with Directory(tmp_path / "m") as directory:
        run = open_run(directory, {"corpus": (corpus,), "task": "classify"})
        told = "\n".join([*run.notes, *run.course.about()])
    counts = run.corpus.train.counts
    share = 100 * counts.max() / counts.sum()
    assert (
        f"3, the rarest (c) {counts.min()} times; always a would be right in {share:.1f} %" in told
    )
    assert "labels: tab, because each of 240 lines has a tab" in told
    assert "plan: " in told


def test_a_text_is_cut_alike_in_training_predicting_and_testing(tmp_path):
    """What comes after the first eight tokens makes no difference, anywhere."""
    lines = [line.rstrip("\n") for line in texts_of(3)]
    long = [line + ("zz" if k % 2 else "") + "q" * 20 for k, line in enumerate(lines)]
    outcomes = []
    for name, tail in (("x", "bcd"), ("y", "dcb")):
        path = tmp_path / f"{name}.tsv"
        path.write_text(
            "".join(line[:10].ljust(10, "f") + tail * k + "\n" for k, line in enumerate(long))
        )
        given = {
            "corpus": (str(path),),
            "steps": 10,
            **TINY,
            "max_length": 8,
            "valid_fraction": 0.0,
        }
        run = train(tmp_path / name, given)
        outcomes.append(charlm.load(tmp_path / name).trained.tensors())
        assert any("longer than 8 tokens and are cut there" in note for note in run.notes)
    for key, value in outcomes[0].items():
        np.testing.assert_array_equal(value, outcomes[1][key])
    model = charlm.load(tmp_path / "x")
    short, cut = model.predict(["aebcdfga", "aebcdfga" + "i" * 9], top=3)
    assert short.labels == cut.labels
    assert (short.cut, cut.cut) == (False, True)
    gold = tmp_path / "gold.tsv"
    gold.write_text("a\taebcdfga\na\taebcdfgaiiiiiiiiii\n")
    part, notes = labelled_part([str(gold)], model.tokenizer, model.labels, "tab", 8)
    tally = model.tally(part)
    assert part.cut == 1
    assert tally.nats == pytest.approx(
        -2 * math.log(model.probabilities("aebcdfga")["a"]), rel=COMPANY
    )
    assert "cut" in notes[-1]


def test_gold_labels_that_training_has_not_are_wrong_and_have_no_nats(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "epochs": 25, **TINY})
    model = charlm.load(tmp_path / "m")
    texts = TextList([model.tokenizer.encode(text) for text in ("aeb", "bca", "aeb")], [0, 1, -1])
    figures = ClassFigures(model.tally(texts), model.classes.common, unseen_labels=1)
    assert (figures.right, figures.texts) == (2, 3)
    assert figures.tally.count == 2
    assert figures.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_what_is_shown_of_labels_that_training_has_not_is_what_is_kept(tmp_path, corpus):
    """Each of them is a label with an F1 of nothing, on the screen as in the file."""
    gold = tmp_path / "gold.tsv"
    gold.write_text("a\taeb\nb\tbca\nnew\taeb\nother\tbca\n")
    settings = {"valid_file": str(gold), "test_file": str(gold), "epochs": 25}
    run = train(tmp_path / "m", {"corpus": (corpus,), **TINY, **settings})
    kept = charlm.load(tmp_path / "m").facts
    for part, tally in (
        ("valid", run.lesson.evaluate(run.model.trained, lambda: False)),
        ("test", run.test),
    ):
        figures = run.lesson.class_figures(part, tally)
        assert figures.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 4)
        assert f"macro F1 {figures.macro_f1:.3f}" in run.course.shown(part, tally)
        assert kept[f"{part}_macro_f1"] == pytest.approx(figures.macro_f1)


# --- from a language model -------------------------------------------------------------------------------------------


@pytest.fixture
def language_model(tmp_path, corpus):
    """A language model of the texts alone, two layers deep."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(line.partition("\t")[2] for line in texts_of(1)))
    settings = {
        "hidden": 8,
        "embedding": 4,
        "layers": 2,
        "steps": 5,
        "threads": 1,
        "batch_size": 4,
        "seq_len": 8,
    }
    with Directory(tmp_path / "lm") as directory:
        for _ in open_run(directory, {"corpus": (str(path),), **settings}).events():
            pass
    return str(tmp_path / "lm")


@pytest.mark.parametrize(
    ("settings", "layers"), [({}, [0]), ({"bidirectional": False, "layers": 2}, [0, 1])], ids=str
)
def test_a_classifier_starts_from_a_language_model(tmp_path, language_model, settings, layers):
    path = tmp_path / "more.tsv"
    path.write_text("".join(texts_of()) + "b\tüaü\n" * 30, encoding="utf-8")
    base = charlm.load(language_model).trained.tensors()
    given = {"corpus": (str(path),), "init_from": language_model, "task": "classify", "steps": 1, "lr": 1e-30,
             "optimizer": "sgd", "threads": 1, **settings}  # fmt: skip
    run = train(tmp_path / "m", given)
    found = charlm.load(tmp_path / "m").trained.tensors()
    assert "ü" in charlm.load(tmp_path / "m").tokenizer.to_dict()["tokens"]
    size = len(base["embed.weight"])
    np.testing.assert_allclose(found["embed.weight"][:size], base["embed.weight"], atol=1e-6)
    for layer, part in itertools.product(
        range(2), ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ):
        name = f"rnn.{part}_l{layer}"
        if name in found and found[name].shape == base[name].shape:
            assert np.allclose(found[name], base[name], atol=1e-6) == (layer in layers), name
    (note,) = [note for note in run.notes if note.startswith("from gru 2x8 came ")]
    assert "rnn.weight_hh_l0" in note
    assert ("rnn.weight_hh_l1" in note) == (1 in layers)


def test_what_comes_from_the_language_model_is_not_given_again(tmp_path, corpus, language_model):
    for wrong in ({"hidden": 16}, {"cell": "lstm"}, {"tokenizer": "word"}, {"embedding": 8}):
        given = {"corpus": (corpus,), "init_from": language_model, "task": "classify", **wrong}
        with (
            Directory(tmp_path / "m") as directory,
            pytest.raises(UsageError, match="come from the model"),
        ):
            open_run(directory, given)


def test_a_classifier_starts_no_language_model(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 1, **TINY})
    for task in ({}, {"task": "classify"}):
        with (
            Directory(tmp_path / "n") as directory,
            pytest.raises(UsageError, match="no language model"),
        ):
            open_run(directory, {"corpus": (corpus,), "init_from": str(tmp_path / "m"), **task})


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "told"), [
    ({"engine": "torch"}, "engine torch does not know task classify"),
    ({"tie": True}, "tie does not go with classes"),
    ({"context": "stream"}, "context stream does not go with classes"),
    ({"sequences": "document"}, "sequences document does not go with labels"),
    ({"pool": "sum"}, "pool must be one of"),
    ({"labels": "xml"}, "labels must be one of"),
    ({"max_length": 0}, "max-length must be"),
    ({"task": "guess"}, "task must be one of"),
    ({"task": "lm"}, "do not go with task lm, so leave them out: pool"),
    ({"task": "lm", "pool": None, "bidirectional": True}, "bidirectional does not go with a language model"),
])  # fmt: skip
def test_what_does_not_go_with_classes_is_refused_before_the_corpus_is_read(
    tmp_path, monkeypatch, settings, told
):
    path = tmp_path / "c.tsv"
    path.write_text("a\tb\nb\tc\n")
    for reader in ("charlm.tasks.classify.prepare_labelled", "charlm.tasks.lm.prepare"):
        if "document" not in told:
            monkeypatch.setattr(reader, lambda *_, **__: pytest.fail("the corpus was read"))
    given = {"corpus": (str(path),), "task": "classify", "pool": "max"} | settings
    with Directory(tmp_path / "m") as directory, pytest.raises(UsageError, match=told):
        open_run(directory, {name: value for name, value in given.items() if value is not None})
    assert not (tmp_path / "m").exists()


def test_an_option_that_does_nothing_is_refused_on_the_command_line(tmp_path, corpus):
    result = charlm_command(
        "train", corpus, "--task", "classify", "--seq-len", 9, "-m", tmp_path / "m"
    )
    assert result.exit_code == 2
    assert "texts are read whole: leave --seq-len out" in result.stderr


def test_engine_torch_is_refused_on_resume_too(tmp_path, corpus, monkeypatch):
    given = {"corpus": (corpus,), "steps": 4, **TINY}
    train(tmp_path / "m", given, stop_at=2)
    monkeypatch.setattr(
        "charlm.tasks.classify.prepare_labelled", lambda *_, **__: pytest.fail("it was read")
    )
    with (
        Directory(tmp_path / "m") as directory,
        pytest.raises(UsageError, match="engine torch does not know task"),
    ):
        open_run(directory, {"engine": "torch"}, resume=True)


def test_settings_of_the_task_may_not_change_on_resume(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 4, **TINY}, stop_at=2)
    for name, value in {
        "pool": "mean",
        "balance": True,
        "max_length": 5,
        "labels": "prefix",
        "task": "lm",
    }.items():
        with (
            Directory(tmp_path / "m") as directory,
            pytest.raises(UsageError, match="keeps its settings"),
        ):
            open_run(directory, {name: value}, resume=True)


def test_what_a_run_does_without_may_be_said_again_on_resume(tmp_path, corpus):
    without = {"bidirectional": False, "head_layers": 0, "ngrams": 0}
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 4, **TINY, **without}, stop_at=2)
    assert train(tmp_path / "m", without, resume=True).standing.step == 4


def test_another_corpus_is_refused_on_resume(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 4, **TINY}, stop_at=2)
    other = tmp_path / "other.tsv"
    other.write_text("".join(texts_of()).replace("a\t", "b\t", 1))
    with (
        Directory(tmp_path / "m") as directory,
        pytest.raises(UsageError, match="the corpus is not the one"),
    ):
        open_run(directory, {"corpus": (str(other),)}, resume=True)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def model_file(tmp_path, corpus):
    train(tmp_path / "m", {"corpus": (corpus,), "steps": 2, **TINY})
    return tmp_path / "m" / "model.safetensors"


def test_an_older_charlm_would_refuse_it_by_its_format(model_file):
    _, metadata = checkpoint.load(model_file)
    assert metadata["charlm.format"] == "2"
    assert metadata["charlm.task"] == "classify"


WRONG = {
    "names": [["a"], ["a", "a", "b"], ["a", "b", ""], ["a", "b", 5], "abc", None, ["a", "b", "c", "d"],
              ["a", "b", "\x1b[2J"], ["a", "b", "c\nd"], ["a", "b", " "], ["a", "b", "\ud800"]],
    "counts": [[1, 2], [1, 2, -1], [1, 2, "3"], [1, 2, True], None, 5, [1.0, 2.0, 3.0], [1, 2, 10**4000]],
    "labels": ["xml", None, 5], "pool": ["sum", None, 5], "max_length": [0, -1, 1.5, None, "8", True],
    "ngrams": [1, 9, -1, 2**40, None, True], "balance": [1, None, "no"], "more": [1],
    "sequences": ["line", "document", None, ["paragraph"]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in WRONG.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)
def test_what_a_file_says_of_its_labels_is_not_believed_unless_it_fits(model_file, name, value):
    tensors, metadata = checkpoint.load(model_file)
    classes = json.loads(metadata["charlm.classes"]) | {name: value}
    checkpoint.save(model_file, tensors, metadata | {"charlm.classes": json.dumps(classes)})
    with pytest.raises(DataError, match=r"model\.safetensors: "):
        charlm.load(model_file)


@pytest.mark.parametrize(
    "key", ["charlm.classes", "charlm.vocabulary", "charlm.model", "charlm.training"]
)
def test_a_file_without_an_entry_is_refused(model_file, key):
    tensors, metadata = checkpoint.load(model_file)
    del metadata[key]
    checkpoint.save(model_file, tensors, metadata)
    with pytest.raises(DataError, match=r"model\.safetensors: "):
        charlm.load(model_file)


def test_a_task_of_the_future_is_refused_politely(model_file):
    tensors, metadata = checkpoint.load(model_file)
    checkpoint.save(model_file, tensors, metadata | {"charlm.task": "divine"})
    with pytest.raises(DataError, match="'divine', which this charlm does not know: update charlm"):
        charlm.load(model_file)


def test_a_classifier_says_what_it_is_and_travels(model_file):
    model = charlm.load(model_file)
    assert repr(model) == "<Classifier of 3 labels: a, b, c>"
    twin = pickle.loads(pickle.dumps(model))
    assert list(twin.predict(["aeb"])) == list(model.predict(["aeb"]))
    assert Classes.of_file(model.metadata()).to_dict() == model.classes.to_dict()


def test_every_cell_can_classify_in_both_directions(tmp_path, corpus):
    for cell in CELLS:
        given = {"corpus": (corpus,), "steps": 2, **TINY, "cell": cell, "bidirectional": True}
        train(tmp_path / cell, given)
        assert next(charlm.load(tmp_path / cell).predict(["aeb"])).label in "abc"


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_texts(tmp_path, monkeypatch):
    """Of twenty times the texts, no more are held at a time."""
    from charlm.text import labelled_part, packing

    held = {}
    for name, count in (("small", 2000), ("large", 40_000)):
        path, most = tmp_path / f"{name}.tsv", [0]
        path.write_text("".join(f"{'ab'[k % 2]}\ttext number {k}\n" for k in range(count)))
        plain = labelled_part.LabelledPart.texts

        def noted(part, numbers, plain=plain, most=most):
            most[0] = max(most[0], len(numbers))
            return plain(part, numbers)

        monkeypatch.setattr(labelled_part.LabelledPart, "texts", noted)
        train(
            tmp_path / name,
            {"corpus": (str(path),), "steps": 3, **TINY, "eval_every": 3, "valid_fraction": 0.5},
        )
        monkeypatch.setattr(labelled_part.LabelledPart, "texts", plain)
        held[name] = most[0]
    assert 0 < held["large"] <= packing._WINDOW
