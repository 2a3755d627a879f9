"""File systems as they are: without locks, without fsync, full, failing; and errors told by their own cause."""

import contextlib
import errno
import os
import stat

import pytest

from charlm import lock as locking
from charlm.directory import Directory
from charlm.errors import BusyError, StorageError
from charlm.lock import Lock
from charlm.ownership import FILES
from tests.test_commands import LINES, SMALL, assert_refused, charlm

fcntl = pytest.importorskip("fcntl", reason="locks are those of POSIX")

NO_LOCKS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO, errno.EPERM, errno.EACCES]
NO_FSYNC = [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR]


def refusing(number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    return refuse


def fsync_of_files_only(number):
    fsync = os.fsync

    def call(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refusing(number)()
        fsync(descriptor)

    return call


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(LINES)
    return path


def all_ways(corpus, where):
    """Begin, replace, go on; yield each result."""
    yield charlm("train", corpus, "-m", where, *SMALL)
    yield charlm("train", corpus, "-m", where, *SMALL, "--force")
    yield charlm("train", "-m", where, "--resume", "--steps", 8)
    yield charlm("train", corpus, "-m", where, *SMALL, "--force", "-q")


def notes(result):
    assert result.exit_code == 0, result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("note: the file system")]


@pytest.mark.parametrize("number", NO_LOCKS, ids=errno.errorcode.get)
def test_without_locks_training_works_and_one_note_says_so(tmp_path, monkeypatch, corpus, number):
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    *loud, quiet = all_ways(corpus, tmp_path / "m")
    for result in loud:
        assert len(notes(result)) == 1
        assert "no locks, so a second trainer there is not noticed" in notes(result)[0]
    assert quiet.stderr == ""
    assert {path.name for path in (tmp_path / "m").iterdir()} == {*FILES}
    with Directory(tmp_path / "m"):  # as the note says
        assert charlm("train", "-m", tmp_path / "m", "--resume", "--steps", 9).exit_code == 0


@pytest.mark.parametrize("number", NO_FSYNC, ids=errno.errorcode.get)
def test_without_fsync_of_directories_training_works_and_one_note_says_so(tmp_path, monkeypatch, corpus, number):
    monkeypatch.setattr(os, "fsync", fsync_of_files_only(number))
    *loud, quiet = all_ways(corpus, tmp_path / "a" / "m")
    for result in loud:
        assert len(notes(result)) == 1
        assert "no fsync of directories, so a power cut may undo the last save" in notes(result)[0]
    assert quiet.stderr == ""
    assert {path.name for path in (tmp_path / "a" / "m").iterdir()} == {*FILES}


def test_with_neither_there_is_still_one_note(tmp_path, monkeypatch, corpus):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))  # files cannot be flushed either
    for result in list(all_ways(corpus, tmp_path / "m"))[:-1]:
        (note,) = notes(result)
        assert "locks" in note
        assert "fsync" in note


def test_where_all_is_well_there_is_no_note(tmp_path, corpus):
    assert all(notes(result) == [] for result in all_ways(corpus, tmp_path / "m"))


def test_a_system_without_the_module_of_locks(tmp_path, monkeypatch, corpus):
    monkeypatch.setattr(locking, "fcntl", None)
    assert len(notes(charlm("train", corpus, "-m", tmp_path / "m", *SMALL))) == 1


@pytest.mark.parametrize("number", {errno.EWOULDBLOCK, errno.EAGAIN}, ids=errno.errorcode.get)
def test_only_a_lock_that_is_held_is_busy(tmp_path, monkeypatch, corpus, number):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / ".lock").write_text("4711")
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    assert_refused(charlm("train", corpus, "-m", tmp_path / "m"), 75, "process 4711")
    assert (tmp_path / "m" / ".lock").read_text() == "4711"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_directory_whose_fsync_really_failed_is_74_by_its_cause(tmp_path, monkeypatch, corpus, number):
    """Whatever cleaning up meets then."""
    monkeypatch.setattr(os, "fsync", fsync_of_files_only(number))
    monkeypatch.setattr(os, "rmdir", refusing(errno.ENOTEMPTY))
    monkeypatch.setattr(os, "unlink", refusing(errno.EBUSY))
    assert_refused(charlm("train", corpus, "-m", tmp_path / "m", *SMALL), 74, os.strerror(number))


def test_cleaning_up_never_hides_what_happened(tmp_path, monkeypatch, corpus):
    for name in ("rmdir", "unlink"):
        monkeypatch.setattr(os, name, refusing(errno.ENOTEMPTY))
    assert_refused(charlm("train", tmp_path / "none", "-m", tmp_path / "a" / "m"), 66, "none")
    assert_refused(charlm("train", corpus, "-m", tmp_path / "b" / "m", "--hidden", "0"), 2, "hidden")


@pytest.mark.parametrize(("number", "code"), [
    (errno.EACCES, 73), (errno.EROFS, 73), (errno.EPERM, 73), (errno.ENOSPC, 74), (errno.EIO, 74), (errno.EDQUOT, 74),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("operation", ["mkdir", "open", "rename", "replace"])
def test_each_error_is_told_by_its_cause_and_code(tmp_path, monkeypatch, corpus, operation, number, code):
    true = getattr(os, operation)

    def failing(*arguments, **more):
        ours = str(tmp_path / "m") in str(arguments[0])
        return refusing(number)() if ours else true(*arguments, **more)

    if operation == "open":
        (tmp_path / "m").mkdir()
    monkeypatch.setattr(os, operation, failing)
    assert_refused(charlm("train", corpus, "-m", tmp_path / "m", *SMALL, "-q"), code, os.strerror(number))
    monkeypatch.undo()
    assert not (tmp_path / "m").exists() or not list((tmp_path / "m").iterdir())


def test_an_error_of_the_log_is_told_as_the_logs(tmp_path, corpus):
    with Directory(tmp_path / "m") as directory:
        directory._stands = True
        (tmp_path / "m" / "log.jsonl").symlink_to("/dev/full")
        with pytest.raises(StorageError, match=r"log.jsonl failed: No space left on device; free some space"):
            directory.log("{}")


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_lock_removed_by_its_last_owner_is_made_anew(tmp_path, monkeypatch):
    """Between opening the file and locking it, the owner leaves: the lock of a file that is gone shuts nobody out."""
    first, second, third = Lock(tmp_path), Lock(tmp_path), Lock(tmp_path)
    first.acquire()
    flock = fcntl.flock

    def late(descriptor, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.release()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    second.acquire()
    assert (tmp_path / ".lock").read_text() == str(os.getpid())
    with pytest.raises(BusyError):
        third.acquire()
    second.release()
    assert not list(tmp_path.iterdir())


def test_files_that_are_numbered_anew_at_each_look_do_not_hang_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with Directory(tmp_path / "m"):
        pass
    assert not (tmp_path / "m").exists()


def test_no_descriptor_stays_open(tmp_path, corpus):
    where = tmp_path / "m"
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with Directory(where):
        for _ in range(5):
            with contextlib.suppress(BusyError):
                Directory(where).__enter__()
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
