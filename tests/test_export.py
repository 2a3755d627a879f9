"""`charlm export`: what it writes and where, and what it leaves alone."""

import bz2
import gzip
import lzma
import os
import threading

import pytest

import charlm
from charlm import loading
from charlm.counts.names import arpa_names
from tests.arpa_files import Plain, table_of_kind, written
from tests.test_commands import assert_refused
from tests.test_commands import charlm as run
from tests.tiny import tiny_model


@pytest.fixture(params=["char lines", "byte documents"])
def exported(request, monkeypatch):
    """Put a model with counts in the place of any that is opened, and return what its file should hold."""
    tokenizer, _, counts = table_of_kind(request.param, 3)
    opened = type("Opened", (), {"tokenizer": tokenizer, "counts": counts})
    monkeypatch.setattr(loading, "load", lambda path, threads: opened)
    return written(counts, tokenizer)


def test_a_file_and_standard_output_hold_the_same(exported, tmp_path):
    result = run("export", "-m", "any", tmp_path / "counts.arpa", env={"LC_ALL": "C"})
    assert (result.exit_code, result.output) == (0, "")
    assert (tmp_path / "counts.arpa").read_bytes() == exported
    assert os.listdir(tmp_path) == ["counts.arpa"]
    assert run("export", "-m", "any", "-").stdout_bytes == exported
    assert Plain(exported).grams["<s>",][0] == -99


@pytest.mark.parametrize(("name", "unpack"), [("a.gz", gzip), ("b.bz2", bz2), ("c.ARPA.XZ", lzma)])
def test_a_name_says_how_to_pack(name, unpack, exported, tmp_path):
    assert run("export", tmp_path / name).exit_code == 0
    packed = (tmp_path / name).read_bytes()
    assert unpack.decompress(packed) == exported
    assert unpack is not gzip or packed[4:8] == bytes(4), "no time of the day"
    assert run("export", tmp_path / name, "--force").exit_code == 0
    assert (tmp_path / name).read_bytes() == packed


def test_what_is_there_is_replaced_only_when_asked(exported, tmp_path):
    path = tmp_path / "counts.arpa"
    path.write_text("mine")
    assert_refused(run("export", path), 73, path, "is there already", "--force")
    assert path.read_text() == "mine"
    assert run("export", path, "--force").exit_code == 0
    assert path.read_bytes() == exported


def test_models_and_directories_are_never_replaced(exported, tmp_path):
    tiny_model().save(tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    for more in ([], ["--force"]):
        assert_refused(
            run("export", tmp_path / "model.safetensors", *more), 73, "is a model of charlm's"
        )
        assert_refused(run("export", tmp_path, *more), 73, "is a directory")
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert_refused(run("export", tmp_path / "none" / "counts.arpa"), 73, "cannot write to")


def test_a_pipe_is_written_into_and_stays(exported, tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run("export", pipe).exit_code == 0
    reader.join(timeout=20)
    assert found == [exported]
    assert pipe.is_fifo()


def test_a_model_without_counts_says_so(tmp_path):
    tiny_model().save(tmp_path / "model.safetensors")
    result = run("export", "-m", tmp_path / "model.safetensors", tmp_path / "counts.arpa")
    assert_refused(result, 2, "model.safetensors", "has no counts to export")
    assert not (tmp_path / "counts.arpa").exists()


def test_no_model_and_no_file_are_told(tmp_path):
    assert_refused(
        run("export", "-m", tmp_path / "none", tmp_path / "counts.arpa"), 66, "no model at"
    )
    assert run("export").exit_code == 2


@pytest.mark.parametrize("sequences", ["line", "paragraph", "document"])
def test_kenlm_scores_as_the_trained_counts_do(sequences, tmp_path):
    kenlm = pytest.importorskip("kenlm")
    (tmp_path / "corpus.txt").write_text("Whose are these?\nTo be, or not\nto be\n" * 40)
    more = ["--layers", "0", "--counts", "5", "--sequences", sequences]
    assert run("train", tmp_path / "corpus.txt", "-m", tmp_path / "m", *more).exit_code == 0
    assert run("export", "-m", tmp_path / "m", tmp_path / "counts.arpa").exit_code == 0
    ours, theirs = charlm.load(tmp_path / "m"), kenlm.Model(str(tmp_path / "counts.arpa"))
    names = arpa_names(ours.tokenizer)
    for text in (
        "To be",
        "",
        "q?! é",
        "these are not",
        "be to" if sequences == "line" else "be\nto be",
    ):
        spelled = " ".join(names[token] for token in ours.tokenizer.encode(text))
        assert theirs.score(spelled, eos=sequences != "document") == pytest.approx(
            ours.score(text).log10, abs=1e-4
        )
