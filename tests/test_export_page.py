"""`charlm export FILE.html`: what the page says of the model in it, and what it leaves alone."""

import contextlib
import errno
import json
import os
import re

import pytest

from charlm.cli import export_page, outputs
from charlm.counts.pruning import pruned
from charlm.page import weights
from charlm.page.write import LARGE
from tests.test_commands import SMALL, assert_refused
from tests.test_commands import charlm as run
from tests.test_counts_model import with_counts
from tests.tiny import tiny_classifier, tiny_labelled, tiny_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory of a run of two steps with counts, its corpus beside it."""
    place = tmp_path_factory.mktemp("run")
    (place / "corpus.txt").write_text(
        "to be or not to be\nthat is the question\nwhether it is nobler\n" * 30
    )
    arguments = ["--valid-fraction", "0.2", "--counts", "3", *SMALL]
    assert run("train", place / "corpus.txt", "-m", place / "m", *arguments).exit_code == 0
    return place / "m"


def content(path):
    """Return the text of a page without its tags, and the data of its section."""
    page = path.read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data-write">(.*?)</script>', page)
    body = page[page.index("<body") : page.index("<script")]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split()), json.loads(data)


def test_a_run_is_measured_on_its_validation_part(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "COUNTS_BYTES", 500)
    result = run("export", "-m", trained, tmp_path / "a.html", "--weights", "int8")
    assert (result.exit_code, result.output) == (0, "")
    text, data = content(tmp_path / "a.html")
    assert "tokens of the validation part" in text
    rows = [
        f"{name} ([0-9.]+)"
        for name in ("as it was trained", "weights as int8", "fewer n-grams, as here")
    ]
    original, rounded, cut = (float(re.search(row, text)[1]) for row in rows)
    scored = run("score", "-m", trained, "--corpus", "valid", "--json").stdout
    figures = json.loads(scored)
    assert original == pytest.approx(-figures["logprob"] / figures["tokens"], abs=1e-4)
    assert abs(rounded - original) < 0.01 < cut - original
    assert data["weights"]["head.weight"]["dtype"] == "i1"
    assert "question" not in (tmp_path / "a.html").read_text("utf-8")
    assert os.listdir(tmp_path) == ["a.html"]


def test_a_file_alone_is_measured_on_the_text_that_is_given(trained, tmp_path):
    file = tmp_path / "names.safetensors"
    file.write_bytes((trained / "model.safetensors").read_bytes())
    assert run("export", "-m", file, tmp_path / "a.html").exit_code == 0
    assert "was not measured" in content(tmp_path / "a.html")[0]
    (tmp_path / "own.txt").write_text("to be\n")
    assert (
        run("export", "-m", file, tmp_path / "b.html", "--text", tmp_path / "own.txt").exit_code
        == 0
    )
    assert "Over 6 tokens of the text given" in content(tmp_path / "b.html")[0]


def test_a_corpus_that_is_gone_is_told(trained, tmp_path):
    corpus = trained.parent / "corpus.txt"
    before = corpus.read_bytes()
    corpus.write_bytes(b"another text\n" * 40)
    try:
        result = run("export", "-m", trained, tmp_path / "a.html")
    finally:
        corpus.write_bytes(before)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "is not measured" in result.stderr
    assert "changed since" in result.stderr
    assert "--text FILE" in result.stderr
    assert "was not measured" in content(tmp_path / "a.html")[0]


@contextlib.contextmanager
def full_disk(path):
    with outputs.writing(path) as file:
        file.write(b"<!doctype")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield file


def test_what_is_there_is_replaced_only_when_asked_and_then_whole(trained, tmp_path, monkeypatch):
    path = tmp_path / "a.html"
    path.write_text("mine")
    assert_refused(run("export", "-m", trained, path), 73, path, "is there already", "--force")
    with monkeypatch.context() as patch:
        patch.setattr(export_page, "writing", full_disk)
        assert_refused(run("export", "-m", trained, path, "--force"), 74, path, "No space left")
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.html"]
    assert run("export", "-m", trained, path, "--force").exit_code == 0
    assert path.read_bytes().startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["a.arpa", "--weights", "int8"], ["--weights", "is for a page", ".html"]),
        (["a.arpa", "--text", "b.txt"], ["--text", "is for a page"]),
        (["a.arpa", "--encoding", "utf-8"], ["--encoding", "is for a page"]),
        (["-", "--weights", "int8"], ["--weights", "is for a page"]),
        (["a.html", "--encoding", "latin-1"], ["--encoding", "--text FILE"]),
        (["a.html", "--weights", "float8"], ["float8"]),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, parts, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(run("export", "-m", trained, *arguments), 2, *parts)
    assert not os.listdir(tmp_path)


def test_a_model_that_writes_nothing_is_refused(tmp_path):
    tiny_classifier().save(tmp_path / "c.safetensors")
    result = run("export", "-m", tmp_path / "c.safetensors", tmp_path / "a.html")
    assert_refused(result, 2, "c.safetensors", "charlm predict")


def test_a_large_page_is_told(tmp_path):
    tiny_model(hidden=1200).save(tmp_path / "m.safetensors")
    result = run(
        "export", "-m", tmp_path / "m.safetensors", tmp_path / "a.html", "--weights", "float32"
    )
    assert result.exit_code == 0
    assert os.path.getsize(tmp_path / "a.html") > LARGE
    assert "much for a page: --weights int8 makes it smaller" in result.stderr


def test_counts_and_labels_are_in_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "COUNTS_BYTES", 2000)
    model = with_counts(tiny_model("abcdef"))
    model.save(tmp_path / "m.safetensors")
    assert run("export", "-m", tmp_path / "m.safetensors", tmp_path / "a.html").exit_code == 0
    text, data = content(tmp_path / "a.html")
    kept = pruned(model.counts, 150 - model.tokenizer.size).ngrams()
    assert data["counts"][0]["token"]["shape"] == [sum(kept)]
    assert f"{sum(kept):,} n-grams" in text
    tiny_labelled().save(tmp_path / "l.safetensors")
    assert run("export", "-m", tmp_path / "l.safetensors", tmp_path / "b.html").exit_code == 0
    text, data = content(tmp_path / "b.html")
    assert data["labels"] == ["no", "yes", "so"]
    assert "Label no yes so" in text


def test_a_report_has_the_model_unless_it_is_left_out(trained, tmp_path):
    tiny_labelled().save(tmp_path / "labelled.safetensors")
    tiny_classifier().save(tmp_path / "classes.safetensors")
    given = ["report", "-m", tmp_path / "classes.safetensors", "-m", trained]
    assert run(*given, "-o", tmp_path / "a.html", "--weights", "int8").exit_code == 0
    text, data = content(tmp_path / "a.html")
    assert "It is m that reads and writes here." in text
    assert "weights as int8" in text
    assert data["weights"]["head.weight"]["dtype"] == "i1"
    without = run(*given, "-o", "-", "--no-model").stdout
    assert "data-write" not in without
    assert "page.model" not in without
    assert_refused(run(*given, "--no-model", "--weights", "int8"), 2, "--no-model", "--weights")
    labels = run("report", "-m", tmp_path / "labelled.safetensors", "-o", "-").stdout
    assert "<option>yes</option>" in labels
    none = run("report", "-m", tmp_path / "classes.safetensors", "-o", "-").stdout
    assert "Only language models write" in none


def test_a_text_from_standard_input_is_read_once(trained):
    result = run("report", "-m", trained, "--text", "-", "-o", "-", stdin="to be or not\n")
    assert result.exit_code == 0
    assert "tokens of the validation part" in result.stdout
