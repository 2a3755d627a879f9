"""Writing model files: what is refused, and disks that fail at any operation and leave the old file whole."""

import io
import itertools
import math
import os
import stat

import numpy as np
import pytest

from charlm import checkpoint
from charlm.errors import DivergedError, OutputError, StorageError

NEW = {"a": np.arange(10_000), "b": np.arange(3, dtype=np.float32)}  # more than one buffer's worth


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_never_reaches_a_file(tmp_path, dtype, value):
    tensors = {"good": np.ones(3), "head.weight": np.array([[0, 1], [value, 2]], dtype)}
    with pytest.raises(DivergedError, match=r"tensor head\.weight is not finite, so nothing was saved"):
        checkpoint.save(tmp_path / "absent" / "m", tensors, {})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("place", ["absent/m", "file/m", "directory", "x" * 300], ids=lambda place: place[:9])
def test_a_file_that_cannot_be_created(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*; choose another place"):
        checkpoint.save(tmp_path / place, NEW, {})
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        checkpoint.save(tmp_path / "m", NEW, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "m").st_mode) == 0o640


@pytest.mark.parametrize("data", [b"", b"lr = 0.002\n", "é\U0001f600\r\n".encode(), b"caf\xe9"], ids=ascii)
def test_text_keeps_its_bytes(tmp_path, data):
    checkpoint.write_text(tmp_path / "config.toml", "what was there before, and longer")
    checkpoint.write_text(tmp_path / "config.toml", data.decode("utf-8", "surrogateescape"))
    assert (tmp_path / "config.toml").read_bytes() == data
    assert os.listdir(tmp_path) == ["config.toml"]


class Disk:
    """Stands between the module and the system, notes each operation, and raises an error at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, fails_at: int = 0, error: BaseException | None = None):
        self.done: list[str] = []
        self._fails_at, self._error = fails_at, error
        write = self._watched("write", io.FileIO.write)
        raw = self._watched("create", type("Raw", (io.FileIO,), {"write": write}))
        patch.setattr(checkpoint, "open", lambda *args: io.BufferedWriter(raw(*args)), raising=False)
        for name in ("open", "fsync", "replace"):
            patch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name, operation):
        def call(*args):
            self.done.append(name)
            if len(self.done) == self._fails_at:
                raise self._error
            return operation(*args)

        return call


WRITERS = {
    "save": lambda path: checkpoint.save(path, NEW, {}),
    "write_text": lambda path: checkpoint.write_text(path, "new"),
}
FAILURES = {
    "full": (OSError(28, "No space left"), StorageError, r"writing .* failed: No space left; free some"),
    "broken": (OSError(5, "Input/output error"), StorageError, r"writing .* failed: Input/output error"),
    "read-only": (OSError(30, "Read-only"), OutputError, r"cannot write .*: Read-only; choose another place"),
    "interrupted": (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
}


@pytest.mark.parametrize(("error", "raised", "message"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_each_operation_failing_leaves_one_whole_file(tmp_path, monkeypatch, write, error, raised, message):
    path = tmp_path / "m"
    with monkeypatch.context() as patch:
        operations = Disk(patch).done
        write(path)
    order = " ".join(name for name, _ in itertools.groupby(operations))
    assert order == "create write fsync replace open fsync"
    new = path.read_bytes()
    for fails_at, operation in enumerate(operations, start=1):
        path.write_bytes(b"old")
        with monkeypatch.context() as patch:
            Disk(patch, fails_at, error)
            with pytest.raises(raised, match=message):
                write(path)
        replaced = fails_at > operations.index("replace") + 1
        assert path.read_bytes() == (new if replaced else b"old"), operation
        assert os.listdir(tmp_path) == ["m"], operation


def test_a_system_that_really_refuses_to_write_more(tmp_path):
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of a file")
    (tmp_path / "m").write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(StorageError, match=r"writing .* failed: File too large"):
            checkpoint.save(tmp_path / "m", NEW, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "m").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m"]
