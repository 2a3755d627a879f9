"""`charlm report` and `charlm plot`: what they say of a run, and what they do to files."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from charlm import checkpoint
from charlm.loading import load
from charlm.page import curves, svg, what
from charlm.page.log import Log, log_of
from charlm.page.recipe import recipe_of
from charlm.page.report import plot, report, writing_section
from charlm.page.subject import subjects_of
from charlm.page.texts import readers_of, texts_for
from tests.test_commands import assert_refused, charlm
from tests.test_page import HOSTILE, read
from tests.test_training import train
from tests.tiny import tiny_classifier, tiny_converter, tiny_labelled, tiny_model, tiny_tagger

NAMES = "".join(f"{a}{b}{a}{c}\n" for a in "abcd" for b in "efgh" for c in "ijk") * 3
SMALL = {
    "hidden": 8,
    "embedding": 4,
    "threads": 1,
    "batch_size": 4,
    "seq_len": 8,
    "steps": 40,
    "eval_every": 4,
}
NONE = "There is none."  # of texts


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A corpus, two runs of language models on it, and one of a classifier."""
    path = tmp_path_factory.mktemp("room")
    (path / "names.txt").write_text(NAMES)
    (path / "classes.tsv").write_text(
        "".join(f"{line[0]}\t{line}\n" for line in NAMES.splitlines())
    )
    corpus = {"corpus": (str(path / "names.txt"),), "sequences": "line", "counts": 3, **SMALL}
    train(path / "one", {**corpus, "lr": 0.02, "dropout": 0.1})
    train(path / "two", {**corpus, "lr": 0.005, "cell": "lstm"})
    train(path / "classes", {"corpus": (str(path / "classes.tsv"),), "task": "classify", **SMALL})
    return path


def subject(path):
    (found,) = subjects_of([str(path)], 1)
    return found


def entries_of(path):
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def test_a_log_is_read_as_it_was_written(room):
    entries, log = entries_of(room / "one"), subject(room / "one").log
    for name in (
        "step",
        "tokens",
        "epoch",
        "train_nats",
        "valid_nats",
        "valid_nats_counts",
        "lr",
        "grad_norm",
    ):
        expected = [math.nan if entry[name] is None else entry[name] for entry in entries]
        np.testing.assert_array_equal(log[name], expected, err_msg=name)
    written = [(entry["step"], entry["sample"]) for entry in entries if entry["sample"] is not None]
    assert [(sample.step, sample.text) for sample in log.samples] == written
    assert [step for step, _ in written] == [4, 8, 16, 24, 32, 40]


def test_what_is_no_figure_of_a_log_is_left_out(room, tmp_path):
    """Torn lines, alien ones, figures that are none, and figures that only later lines have."""
    lines = [
        b"",
        b'{"step": 1, "tokens": 10, "train_nats": "high", "lr": true, "valid_nats": NaN, "epoch": 1e999}',
        b'{"step": -5}', b'{"step": 1.5}', b"[1]", b"3", b"\xff\xfe", b"[" * 100_000,
        b'{"step": 2, "tokens": ' + b"9" * 400 + b', "late": 7, "A b": 1, "sample": ["x"]}',
        b'{"step": 3, "tokens": 30, "sample": "' + b"y" * 5000 + b'"}',
        b'{"step": 4, "tok',
    ]  # fmt: skip
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    log = log_of(tmp_path, {})
    assert log["step"].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(log["tokens"], [10, math.nan, 30])
    np.testing.assert_array_equal(log["late"], [math.nan, 7, math.nan])
    for name in ("train_nats", "lr", "valid_nats", "epoch", "nothing"):
        assert not log.has(name)
    assert "A b" not in log.figures
    assert [(sample.step, len(sample.text)) for sample in log.samples] == [(3, 2000)]


def test_a_log_that_is_none_says_why(room, tmp_path):
    facts = load(room / "one").facts
    assert "there is no log.jsonl" in log_of(tmp_path, facts).why_not
    os.mkfifo(tmp_path / "log.jsonl")
    assert "is no file" in log_of(tmp_path, facts).why_not
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").write_bytes(b"stopped for lunch\n")
    assert "no line of a run" in log_of(tmp_path, facts).why_not
    (tmp_path / "log.jsonl").write_bytes((room / "two" / "log.jsonl").read_bytes())
    assert "of another run" in log_of(tmp_path, facts).why_not
    (tmp_path / "log.jsonl").write_bytes((room / "one" / "log.jsonl").read_bytes())
    assert not log_of(tmp_path, facts).why_not


def test_an_older_log_without_samples_and_epochs_is_drawn(room, tmp_path):
    for name in ("model.safetensors", "resume.safetensors"):
        (tmp_path / name).write_bytes((room / "one" / name).read_bytes())
    old = [
        {k: v for k, v in entry.items() if k not in ("epoch", "sample")}
        for entry in entries_of(room / "one")
    ]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in old))
    page = read(report([subject(tmp_path)], NONE))
    assert sum(attributes.get("class") == "chart broad" for _, attributes in page.tags) == 1
    assert "What it wrote" not in " ".join(page.texts.values())


def test_few_points_are_all_drawn_and_of_many_no_peak_is_lost():
    rng = np.random.default_rng(0)
    x, y = np.arange(5000.0), rng.standard_normal(5000)
    y[rng.integers(5000, size=50)] = math.nan
    y[1234], y[4321] = 9, -9
    thin_x, thin_y = svg.thinned(x, y, 600)
    assert len(thin_x) <= 602
    assert (thin_y.max(), thin_y.min()) == (9, -9)
    assert (np.diff(thin_x) > 0).all()
    np.testing.assert_array_equal(y[thin_x.astype(int)], thin_y)
    known = np.isfinite(y[:100])
    np.testing.assert_array_equal(svg.thinned(x[:100], y[:100])[0], x[:100][known])


@pytest.mark.parametrize("log", [False, True], ids=["linear", "logarithmic"])
def test_a_point_is_drawn_where_the_axes_say(log):
    """Read back through the tick labels: the drawing is checked without its own arithmetic."""
    x, y = np.array([0.0, 40, 100]), np.array([1.0, 30, 100])
    drawing = ElementTree.fromstring(
        str(svg.drawn(svg.Chart("t", "x", "y", [svg.Line("a", x, y)], log=log)))
    )
    inner = drawing.find("svg")
    points = [
        tuple(map(float, pair.split(","))) for pair in inner.find("polyline").get("points").split()
    ]
    ticks = {"end": [], "middle": []}  # of the axis upwards, and of the one across
    for word in drawing.findall("text"):
        if re.fullmatch(r"[\d.,]+", word.text):
            anchor = word.get("text-anchor")
            place = (
                float(word.get("y")) - 4 - float(inner.get("y"))
                if anchor == "end"
                else (float(word.get("x")) - float(inner.get("x")))
            )
            ticks[anchor].append((place, float(word.text.replace(",", ""))))
    across = np.polyfit(*zip(*ticks["middle"], strict=True), 1)
    upward = np.polyfit(
        *zip(*((p, math.log(v) if log else v) for p, v in ticks["end"]), strict=True), 1
    )
    assert len(ticks["middle"]) >= 3
    assert len(ticks["end"]) >= 2
    np.testing.assert_allclose(np.polyval(across, [p for p, _ in points]), x, atol=0.2)
    found = np.polyval(upward, [p for _, p in points])
    np.testing.assert_allclose(np.exp(found) if log else found, y, rtol=0.01, atol=0.3)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (2.3, 4.1), (-0.007, 0.001), (0, 425_000), (1e-5, 3e-5), (5, 5.0001)]
)
def test_ticks_are_few_round_and_within(low, high):
    ticks = svg._Axis(low, high, 0, 100).ticks()
    assert 2 <= len(ticks) <= 8
    assert low <= ticks[0] * (1 + 1e-9)
    assert ticks[-1] <= high * (1 + 1e-12)
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-6)


def test_the_loss_is_in_bits_and_the_best_step_is_the_model_s(room):
    its = subject(room / "one")
    chart = next(iter(curves.charts_of([its])))
    validated = [entry for entry in entries_of(room / "one") if entry["valid_nats"]]
    best = min(validated, key=lambda entry: (entry["valid_nats"], entry["valid_nats_network"]))
    (mark,) = chart.marks
    assert (mark.x, mark.y) == (best["tokens"], pytest.approx(best["valid_nats"] / math.log(2)))
    assert f"at step {best['step']}" in mark.label
    (level,) = chart.levels
    assert level.y == pytest.approx(its.model.facts["valid_nats_counts"] / math.log(2))
    assert [line.label for line in chart.lines] == [
        "training",
        "validation",
        "network alone, validation",
    ]


def test_models_are_laid_over_each_other_and_their_difference_is_drawn(room):
    first, second = subjects_of([str(room / "one"), str(room / "two")], 1)
    losses, difference, *_ = curves.charts_of([first, second])
    assert [line.label for line in losses.lines if line.label] == ["one", "two"]
    (line,) = difference.lines
    ours, theirs = ({e["tokens"]: e["valid_nats"] for e in entries_of(room / name) if e["valid_nats"]}
                    for name in ("one", "two"))  # fmt: skip
    assert sorted(ours) == sorted(theirs) == line.x.tolist()
    np.testing.assert_allclose(
        line.y, [(theirs[t] - ours[t]) / math.log(2) for t in line.x], atol=1e-12
    )


def test_what_was_validated_on_other_texts_has_no_difference(room, tmp_path):
    train(tmp_path / "other", {
        "corpus": (str(room / "names.txt"),), "sequences": "line", "counts": 0, "split_seed": 7, **SMALL,
    })  # fmt: skip
    charts = list(curves.charts_of(subjects_of([str(room / "one"), str(tmp_path / "other")], 1)))
    assert not [chart for chart in charts if "less that of" in chart.title]


def test_models_whose_figures_do_not_compare_have_charts_of_their_own(room):
    charts = list(curves.charts_of(subjects_of([str(room / "one"), str(room / "classes")], 1)))
    assert [chart.y_name for chart in charts if chart.wide] == [
        "bits per character",
        "nats per text",
        "accuracy, %",
    ]


def test_a_word_model_is_told_in_perplexity():
    model = tiny_model(["a", "bb"], words=True)
    model.facts |= {"valid_nats": 2.0}
    its = curves_subject(model)
    assert curves.unit_of(its).of(np.array([2.0])) == pytest.approx(math.e**2)
    assert dict(what.rows_of(its))["held-out text"] == "7.389 perplexity per word (2.0000 nats)"


def curves_subject(model, log=None):
    from charlm.page.subject import Subject

    return Subject(
        "its name", "nowhere", model, log or Log(why_not="nothing was logged"), None, 1000
    )


MODELS = {
    "language": tiny_model, "labelled": tiny_labelled, "classifier": tiny_classifier, "tagger": tiny_tagger,
    "converter": tiny_converter,
    "words": lambda: tiny_model(["a", "bb"], words=True, cell="lstm-peephole", layers=2),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_any_kind_without_a_run_has_a_page(name, tmp_path):
    """All that is known of it is in the file; what is not, is said to be unknown."""
    MODELS[name]().save(tmp_path / "model.safetensors")
    page = read(report([subject(tmp_path / "model.safetensors")], NONE))
    said = " ".join(page.texts.values())
    assert "there is no log.jsonl beside the model" in said
    assert "The run is not beside the model" in said


def test_the_recipe_repeats_the_model_to_the_bit(room, tmp_path):
    command, exactly = recipe_of(subject(room / "one"))
    assert "bit for bit" in exactly
    assert str(room) not in command
    (tmp_path / "names.txt").write_text(NAMES)
    charlm = f"{sys.executable} -m charlm"
    done = subprocess.run(
        command.replace("charlm train", f"{charlm} train", 1), shell=True, cwd=tmp_path, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (ours, _), (theirs, _) = (
        checkpoint.load(path / "model.safetensors") for path in (room / "one", tmp_path / "again")
    )
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_the_page_of_a_run_is_written_whole_and_not_over_another(room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = charlm("report", "-m", room / "one")
    assert (done.exit_code, done.output) == (0, "")
    page = (tmp_path / "report.html").read_bytes()
    assert page.startswith(b"<!doctype html>")
    assert charlm("report", "-m", room / "one", "-o", "-").stdout_bytes == page
    (tmp_path / "report.html").write_text("mine")
    assert_refused(
        charlm("report", "-m", room / "one"), 73, "report.html is there already", "--force"
    )
    assert (tmp_path / "report.html").read_text() == "mine"
    assert charlm("report", "-m", room / "one", "--force").exit_code == 0
    assert (tmp_path / "report.html").read_bytes() == page
    assert_refused(charlm("report", "-m", room / "one", "-o", "none/x.html"), 73, "cannot write to")
    assert_refused(charlm("report", "-m", room / "one", "-o", "/dev/full"), 74, "/dev/full")
    assert_refused(charlm("report", "-m", "none", "-o", "x.html"), 66, "no model at none")
    twice = charlm("report", "-m", room / "one", "-m", room / "one", "-o", "x.html")
    assert_refused(twice, 2, "is there twice")
    assert os.listdir(tmp_path) == ["report.html"]


def test_the_text_is_what_training_held_out(room):
    """Its score is the validation figure, and each of its lines stands in the corpus."""
    readers = readers_of(subjects_of([str(room / "one"), str(room / "classes")], 1))
    shown = texts_for(readers, None)
    (its,) = readers
    scores = list(its.model.scores(shown.texts))
    tokens = sum(score.tokens for score in scores)
    assert -sum(score.logprob for score in scores) / tokens == pytest.approx(
        its.model.facts["valid_nats"]
    )
    assert shown.name == "the validation part of names.txt, which was held out from training"
    assert set(shown.texts) <= set(NAMES.splitlines())
    assert not shown.cut


@pytest.mark.parametrize(
    ("kind", "sequences"),
    [("char", "line"), ("byte", "document"), ("word", "line"), ("word", "document")],
)
def test_a_long_validation_part_is_shown_as_far_as_a_page_goes(kind, sequences, tmp_path):
    """What is unknown stays unknown, and what is shown is the beginning, in whole lines or to a
    space."""
    lines = [f"ab {'cd' * (k % 7)} e{chr(233)}" for k in range(20_000)]
    (tmp_path / "train.txt").write_text("ab cdcd\n" * 50, encoding="utf-8")
    (tmp_path / "valid.txt").write_text("\n".join(lines), encoding="utf-8")
    own = {
        "tokenizer": kind,
        "sequences": sequences,
        "counts": 0,
        "valid_file": str(tmp_path / "valid.txt"),
    }
    kept = {"min_count": 1} if kind == "word" else {}
    train(
        tmp_path / "m",
        {"corpus": (str(tmp_path / "train.txt"),), **SMALL, **own, **kept, "steps": 1},
    )
    its = subject(tmp_path / "m")
    shown = texts_for([its], None)
    assert shown.name.startswith("the beginning of the validation part of train.txt")
    assert shown.cut == (sequences == "document")
    size = len("\n".join(shown.texts).encode("utf-8", "surrogateescape"))
    assert 190_000 < size <= 200_000
    scores = list(its.model.scores(shown.texts, eos=False))
    original = (
        lines[: len(shown.texts)]
        if sequences == "line"
        else ["\n".join(lines)[: len(shown.texts[0])]]
    )
    expected = list(its.model.scores(original, eos=False))
    if kind != "word" or sequences == "line":
        assert [s.unknown for s in scores] == [s.unknown for s in expected]
        assert [s.logprob for s in scores] == pytest.approx([s.logprob for s in expected])
    assert kind == "byte" or scores[0].unknown


def test_a_model_whose_validation_text_is_another_is_not_said_to_have_held_it_out(room, tmp_path):
    other = {
        "corpus": (str(room / "names.txt"),),
        "sequences": "line",
        "counts": 0,
        "split_seed": 7,
    }
    train(tmp_path / "other", {**other, **SMALL, "steps": 2})
    shown = texts_for(subjects_of([str(room / "one"), str(tmp_path / "other")], 1), None)
    assert shown.name.endswith("held out from training one (of the others this is not known)")


def test_a_text_is_given_left_out_or_missed_with_a_reason(room, tmp_path):
    (tmp_path / "text.txt").write_bytes("abac\nn\xe9e\n".encode("cp1252"))
    (tmp_path / "empty.txt").write_text("\n \n")
    given = ["report", "-m", room / "one", "-o", "-"]
    said = charlm(*given, "--text", tmp_path / "text.txt", "--encoding", "cp1252").stdout
    assert "What is read: text.txt" in said
    assert_refused(charlm(*given, "--text", tmp_path / "text.txt"), 65, "text.txt", "--encoding")
    assert_refused(charlm(*given, "--text", tmp_path / "none.txt"), 66, "none.txt")
    assert_refused(
        charlm(*given, "--text", tmp_path / "empty.txt"), 2, "no text to show", "--no-text"
    )
    assert_refused(charlm(*given, "--no-text", "--text", tmp_path / "text.txt"), 2, "--text")
    classes = charlm("report", "-m", room / "classes", "-o", "-", "--text", tmp_path / "text.txt")
    assert_refused(classes, 2, "Only language models")
    left_out = charlm(*given, "--no-text").stdout
    assert "as --no-text said" in left_out
    held_out = texts_for([subject(room / "one")], None).texts
    assert all(text in charlm(*given).stdout for text in held_out)
    tiny_model().save(tmp_path / "model.safetensors")
    alone = charlm("report", "-m", tmp_path / "model.safetensors", "-o", "-").stdout
    assert "There is no text to show" in alone
    assert "give --text FILE instead" in alone


def test_a_page_has_the_model_unless_it_is_left_out(room):
    given = ["report", "-m", room / "one", "-o", "-"]
    whole, rounded, without = (
        charlm(*given, *more).stdout for more in ([], ["--weights", "int8"], ["--no-model"])
    )
    assert "weights as float16" in whole
    assert "tokens of the validation part" in whole
    assert "weights as int8" in rounded
    assert "Write with it" not in without
    assert_refused(charlm(*given, "--no-model", "--weights", "int8"), 2, "--weights")
    classes = charlm("report", "-m", room / "classes", "-o", "-").stdout
    assert "Only language models write" in classes


def test_a_large_page_says_so(room, tmp_path, monkeypatch):
    monkeypatch.setattr("charlm.page.write.LARGE", 10_000)
    done = charlm("report", "-m", room / "one", "-o", tmp_path / "x.html")
    assert done.exit_code == 0
    assert re.search(
        r"x\.html has 0\.\d MB, much for a page: --weights int8 or --no-model or --no-text makes",
        done.stderr,
    )


def test_the_page_stays_small_before_its_data(room):
    """25 kB of script, 60 kB in all but data and what Python wrote of this model and its text."""
    its = subjects_of([str(room / "one")], 1)
    page = report(its, texts_for(readers_of(its), None), writing_section(its, "float16")).decode()
    (script,), (style,) = (
        re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL) for name in ("script", "style")
    )
    assert len(script.encode()) <= 25_000
    assert len((script + style).encode()) <= 40_000


def test_a_plot_is_a_drawing_of_the_same_curves(room, tmp_path):
    done = charlm("plot", "-m", room / "one", "-m", room / "two", "-o", tmp_path / "curves.svg")
    assert (done.exit_code, done.output) == (0, "")
    drawing = ElementTree.fromstring((tmp_path / "curves.svg").read_bytes())
    titles = [title.text for title in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "one, two"
    assert [word for word in ("Validation loss", "below 0", "Learning rate", "gradient", "Speed")
            if not any(word in title for title in titles)] == []  # fmt: skip
    tiny_model().save(tmp_path / "model.safetensors")
    refused = charlm("plot", "-m", tmp_path / "model.safetensors", "-o", tmp_path / "x.svg")
    assert_refused(refused, 2, "no curves to draw", "there is no log.jsonl")


def hostile_subject(hostile):
    names = ("no", hostile.replace("\0", "").replace("\n", "").replace("\r", "") or "x")
    model = tiny_classifier(names=names) if len(set(names)) == 2 else tiny_model()
    model.facts |= {"corpus": [hostile], "charlm": hostile, "step": 1, "seconds": 3.0}
    figures = {"step": np.array([1.0]), "tokens": np.array([5.0]), "train_nats": np.array([1.0])}
    log = Log(figures, (curves.LoggedSample(1, hostile),))
    its = curves_subject(model, log)
    object.__setattr__(its, "name", hostile)
    return its


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_hostile_names_samples_and_metadata_stay_text(hostile):
    its = hostile_subject(hostile)
    plain = read(report([hostile_subject("plain")], NONE))
    page = read(report([its], NONE))
    assert [name for name, _ in page.tags] == [name for name, _ in plain.tags]
    ElementTree.fromstring(plot([its]))


def test_the_page_in_a_browser(room, tmp_path, page_of):
    """No error, no request, nothing that shuts people out, in light and dark, wide and narrow."""
    path = tmp_path / "page.html"
    subjects = [
        dataclasses.replace(its, name=f"{its.name}, a model with a long name")
        for its in subjects_of([str(room / name) for name in ("one", "two", "classes")], 1)
    ]
    path.write_bytes(
        report(
            subjects, texts_for(readers_of(subjects), None), writing_section(subjects, "float16")
        )
    )
    for view in ({}, {"dark": True}, {"width": 360}):
        with page_of(path, **view) as page:
            assert page.axe() == []
            assert page.run("return document.documentElement.scrollWidth <= innerWidth")
            for summary in page.all("summary"):
                summary.click()
            assert page.axe() == []
    with page_of(path, script=False) as page:
        assert page.all("#curves .broad")[0].size["height"] > 100


def test_hostile_pages_in_a_browser(tmp_path, page_of):
    path = tmp_path / "page.html"
    path.write_bytes(report(list(map(hostile_subject, HOSTILE[:4] + HOSTILE[5:])), NONE))
    with page_of(path) as page:
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
        assert page.axe() == []
