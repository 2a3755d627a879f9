"""A new run takes the place of an older one as a whole: each file operation failing in turn, and a kill at each."""

import contextlib
import errno
import io
import json
import os
import shutil

import pytest

import charlm as library
from charlm import checkpoint, directory, exchange
from charlm.directory import Directory
from charlm.errors import CharlmError, DivergedError, OutputError, StorageError
from charlm.lock import Lock
from charlm.ownership import FILES, NEW, READY
from charlm.runs import Run
from tests.test_commands import assert_refused, charlm
from tests.test_training import LINES, TINY, train, write

OLD = {"steps": 4, "seed": 1, **TINY, "threads": 1}
NEWER = {"steps": 2, "seed": 2, "eval_every": 2, **TINY, "threads": 1}  # with one save, its last
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes as POSIX has them")


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A corpus and two runs on it, which are only copied."""
    room = tmp_path_factory.mktemp("room")
    corpus = write(room / "corpus.txt", LINES)
    train(room / "old", {"corpus": (corpus,), **OLD})
    train(room / "new", {"corpus": (corpus,), **NEWER})
    return room


def contents(where):
    """Return the bytes of all files below a directory, by name; None for a directory."""
    return {
        path.relative_to(where).as_posix(): path.read_bytes() if path.is_file() else None for path in where.rglob("*")
    }


def told(where):
    """Return what tells runs apart, of each of the four files; but for the clock's figures."""
    _, model = checkpoint.load(where / "model.safetensors")
    _, state = checkpoint.load(where / "resume.safetensors")
    resume = json.loads(state["charlm.resume"])
    log = [json.loads(line) for line in (where / "log.jsonl").read_text().splitlines()]
    return (
        json.loads(model["charlm.training"])["run"],
        json.loads(state["charlm.training"])["run"],
        resume["state"]["step"],
        [(entry["step"], entry["valid_nats"]) for entry in log],
        (where / "config.toml").read_text(),
    )


class Disk:
    """Stands before every operation that changes the disk, counts them, and at one of them acts."""

    def __init__(self, patch, at=0, act=None, lasting=False):
        self.done, self._at, self._act, self._lasting = [], at, act, lasting
        changing = ("mkdir", "rename", "replace", "rmdir", "unlink", "ftruncate", "pwrite", "open")
        for name in changing:
            patch.setattr(os, name, self._watched(name, getattr(os, name)))
        patch.setattr(os, "fsync", self._watched("fsync", lambda _: None))  # no power is cut here
        raw = type("Raw", (io.FileIO,), {"write": self._watched("write", io.FileIO.write)})
        create = self._watched("create", raw)

        def opened(path, mode="r", **more):
            if mode in ("r", "rb"):
                return open(path, mode, **more)
            buffered = io.BufferedWriter(create(path, mode.replace("b", "")))
            return buffered if "b" in mode else io.TextIOWrapper(buffered, **more)

        for module in (checkpoint, directory):
            patch.setattr(module, "open", opened, raising=False)

    def _watched(self, name, operation):
        def call(*args, **more):
            self.done.append(name)
            count = len(self.done)
            if count == self._at or (self._lasting and self._at and count > self._at and name in ("create", "write")):
                self._act()
            return operation(*args, **more)

        return call


def failing(number):
    def act(*_):
        raise OSError(number, os.strerror(number))

    return act


def store(room, where, name="new"):
    """Do what a run does on the disk, with the files of one that was trained before."""
    tensors, metadata = checkpoint.load(room / name / "model.safetensors")
    arrays, resume = checkpoint.load(room / name / "resume.safetensors")
    with Directory(where, force=True) as place:
        place.edits(json.loads(resume["charlm.resume"])["settings"])
        place._config = (room / name / "config.toml").read_text()
        for line in (room / name / "log.jsonl").read_text().splitlines():
            place.log(line)
        checkpoint.save(place.place() / "model.safetensors", tensors, metadata)
        checkpoint.save(place.place() / "resume.safetensors", arrays, resume)
        place.saved()


def laid_out(room, where, before):
    """Make the directory as it is before the new run: with an older one, with edits in it, or none at all."""
    shutil.rmtree(where, ignore_errors=True)
    if before != "nothing":
        shutil.copytree(room / "old", where)
    if before == "edited":
        with open(where / "config.toml", "a") as file:
            file.write("# a remark of mine\n")
    return contents(where)


BEFORE = ["run", "edited", "nothing"]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(("number", "lasting"), [
    (errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False),
], ids=["full", "full from then on", "broken"])  # fmt: skip
def test_any_operation_may_fail_and_a_whole_run_stands(room, tmp_path, monkeypatch, before, number, lasting):
    """The old run to the byte and nothing else, or the new one; the error is the one that happened."""
    where = tmp_path / "m"
    laid_out(room, where, before)
    with monkeypatch.context() as patch:
        operations = Disk(patch).done
        store(room, where)
    commit, found = operations.index("rename") + 1, set()
    for at in range(1, len(operations) + 1):
        old = laid_out(room, where, before)
        with monkeypatch.context() as patch:
            Disk(patch, at, failing(number), lasting)
            failed = True
            with contextlib.suppress(CharlmError):
                store(room, where)
                failed = False
        found.add(stands(room, where, old, at > commit or not failed))
        if at % 16 == 0:
            goes_on(where)
    assert found == {"old", "new"}


def stands(room, where, old, may_be_new):
    """Check that a whole run stands; return which."""
    if not may_be_new:
        assert contents(where) == old
    if not where.exists():
        return "old"
    library.load(where)  # any opening finishes the exchange
    kept = {"config.1.toml"} if "config.1.toml" in contents(where) else set()
    assert set(os.listdir(where)) - {".lock", NEW} == {*FILES} | kept
    which = "new" if told(where)[0] == told(room / "new")[0] else "old"
    if which == "old":
        assert {name: (where / name).read_bytes() for name in FILES} == {name: old[name] for name in FILES}
    else:
        assert told(where) == told(room / "new")
        if b"remark" in old.get("config.toml", b""):
            assert (where / "config.1.toml").read_bytes() == old["config.toml"]
    return which


def goes_on(where):
    """Check that a run is resumed, and what a crash left is gone then."""
    if where.exists():
        train(where, {"steps": 6}, resume=True)
        assert told(where)[2] == 6
        assert not {NEW, READY} & {*os.listdir(where)}


@posix
@pytest.mark.parametrize("before", BEFORE)
def test_a_kill_at_any_operation_leaves_a_whole_run(room, tmp_path, monkeypatch, before):
    where, found, at = tmp_path / "m", set(), 0
    while True:
        at += 1
        old = laid_out(room, where, before)
        child = os.fork()
        if child == 0:
            with monkeypatch.context() as patch:
                Disk(patch, at, lambda: os._exit(9))
                store(room, where)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        if before == "nothing" and not any((where / place / "model.safetensors").exists() for place in ("", READY)):
            assert not where.exists() or {*os.listdir(where)} <= {".lock", NEW}
            store(room, where)  # what is left stands in no run's way
            assert set(os.listdir(where)) - {".lock"} == {*FILES}
            shutil.rmtree(where)
        found.add(stands(room, where, old, True))
        if at % 8 == 0:
            goes_on(where)
    assert found == {"old", "new"}
    assert at > 30


def test_a_real_run_that_fails_anywhere_leaves_the_older_one_or_itself(room, tmp_path, monkeypatch):
    """The run's own calls, in their order: what `store` does above is what a run does."""
    where, given = tmp_path / "m", {"corpus": (str(room / "corpus.txt"),), **NEWER}
    laid_out(room, where, "run")
    with monkeypatch.context() as patch:
        operations = Disk(patch).done
        train_over(where, given)
    assert told(where) == told(room / "new")
    assert set(os.listdir(where)) == {*FILES}
    found = set()
    for at in range(1, len(operations) + 1):
        old = laid_out(room, where, "run")
        failed = None
        with monkeypatch.context() as patch:
            Disk(patch, at, failing(errno.EIO))
            try:
                train_over(where, given)
            except (OutputError, StorageError) as error:
                failed = str(error)
        assert failed is None or "Input/output error" in failed
        found.add(stands(room, where, old, failed is None or at > operations.index("rename") + 1))
    assert found == {"old", "new"}


def train_over(where, given, stop=lambda: False):
    with Directory(where, force=True) as place:
        run = library.runs.open_run(place, given)
        for _ in run.events(stop):
            pass
    return run


@pytest.mark.parametrize("error", [DivergedError("no number"), MemoryError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("before", ["run", "nothing"])
def test_what_ends_a_run_before_its_first_save_leaves_the_older_one(room, tmp_path, monkeypatch, before, error):
    """After the model was written, before the state was: the worst moment."""
    where = tmp_path / "a" / "m"
    old = laid_out(room, where, before)
    given = {"corpus": (str(room / "corpus.txt"),), **NEWER}

    def ends(*_):
        assert (where / NEW / "model.safetensors").exists()
        raise error

    monkeypatch.setattr(Run, "save_resume", ends)
    with pytest.raises(type(error)):
        train_over(where, given)
    assert contents(where) == old
    assert before == "run" or not where.parent.exists()


def test_a_run_stands_only_after_its_first_save_and_then_goes_on_in_place(room, tmp_path):
    where = tmp_path / "m"
    old, seen = laid_out(room, where, "run"), []
    given = {"corpus": (str(room / "corpus.txt"),), **NEWER, "steps": 9, "eval_every": 3, "log_every": 1}
    with Directory(where, force=True) as place:
        run = library.runs.open_run(place, given)
        for progress in run.events():
            now = contents(where)
            now.pop(".lock")
            seen.append(now == old)
            lines = now["log.jsonl"].count(b"\n")
            assert seen[-1] or (lines == progress.step and set(now) == {*FILES})
    assert seen == [True] * 2 + [False] * 7


# --- who opens it in the meantime -------------------------------------------------------------------------------------


def interrupted(room, where, monkeypatch, moved, before="run"):
    """Leave a directory in which the new run stands, but only `moved` of its files are in their places."""
    laid_out(room, where, before)
    replace, count = os.replace, 0

    def stops(source, target):
        nonlocal count
        if READY in str(source):
            if count == moved:
                raise OSError(errno.EIO, "Input/output error")
            count += 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stops)
        with pytest.raises(StorageError):
            store(room, where)
    return contents(where)


READERS = {
    "load": lambda where: library.load(where).facts["run"],
    "load the file": lambda where: library.load(where / "model.safetensors").facts["run"],
    "info": lambda where: seen(charlm("info", "-m", where, "--json")),
    "sample": lambda where: seen(charlm("sample", "-m", where, "--novelty", "--seed", 1)),
    "score": lambda where: seen(charlm("score", "-m", where, "--corpus", "valid", "--json")),
}


def seen(result):
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("moved", range(len(FILES)))
def test_every_reader_sees_the_new_run_whole_and_finishes_it(room, tmp_path, monkeypatch, read, moved):
    where = tmp_path / "m"
    before = interrupted(room, where, monkeypatch, moved)
    with contextlib.closing(Holder(where)):  # a trainer at work: nothing may be touched
        assert read(where) == read(room / "new")
    assert contents(where) == before
    assert read(where) == read(room / "new")
    assert set(os.listdir(where)) == {*FILES}
    assert told(where) == told(room / "new")


class Holder:
    """Has a directory locked."""

    def __init__(self, where):
        self._lock = Lock(where)
        self._lock.acquire()

    def close(self):
        self._lock.release()


def test_a_reader_that_may_not_write_reads_through(room, tmp_path, monkeypatch):
    where = tmp_path / "m"
    before = interrupted(room, where, monkeypatch, 1)
    for name in ("open", "replace"):
        monkeypatch.setattr(os, name, failing(errno.EROFS))
    assert READERS["load"](where) == told(room / "new")[0]
    monkeypatch.undo()
    assert contents(where) == before


def test_a_reader_without_locks_leaves_the_exchange_to_trainers(room, tmp_path, monkeypatch):
    """It could not know whether one is at work."""
    fcntl = pytest.importorskip("fcntl", reason="locks are those of POSIX")
    where = tmp_path / "m"
    before = interrupted(room, where, monkeypatch, 1)
    monkeypatch.setattr(fcntl, "flock", lambda *_: failing(errno.ENOLCK)())
    assert READERS["load"](where) == told(room / "new")[0]
    assert contents(where) == before
    assert charlm("train", "-m", where, "--resume", "--steps", 3).exit_code == 0
    assert set(os.listdir(where)) == {*FILES}


@pytest.mark.parametrize("name", [".lock", "config.toml", "model.safetensors"])
def test_a_reader_touches_nothing_where_something_is_not_charlms(room, tmp_path, monkeypatch, name):
    where = tmp_path / "m"
    interrupted(room, where, monkeypatch, 0)
    (where / name).write_text("mine")
    before = contents(where)
    assert READERS["load"](where) == told(room / "new")[0]
    assert contents(where) == before


def test_a_kept_copy_that_still_waits_takes_no_name_that_was_taken_since(room, tmp_path, monkeypatch):
    where = tmp_path / "m"
    own = interrupted(room, where, monkeypatch, 0, "edited")["config.toml"]
    (where / "config.1.toml").write_text("mine")
    READERS["load"](where)
    assert (where / "config.1.toml").read_text() == "mine"
    assert (where / "config.2.toml").read_bytes() == own
    assert told(where) == told(room / "new")


def test_a_directory_of_somebody_elses_is_not_taken_for_a_waiting_run(room, tmp_path):
    where = tmp_path / "m"
    laid_out(room, where, "run")
    shutil.copytree(room / "new", where / READY)
    (where / READY / "notes.txt").write_text("mine")
    before = contents(where)
    assert READERS["load"](where) == told(room / "old")[0]
    assert contents(where) == before


def test_a_file_that_moves_while_it_is_opened_is_found(room, tmp_path, monkeypatch):
    where = tmp_path / "m"
    interrupted(room, where, monkeypatch, 1)
    monkeypatch.setattr(exchange, "finish", lambda _: None)
    current = exchange.current

    def late(path):
        found = current(path)
        shutil.move(found, path)
        return found

    monkeypatch.setattr(exchange, "current", late)
    _, metadata = exchange.load(where / "model.safetensors")
    assert json.loads(metadata["charlm.training"])["run"] == told(room / "new")[0]


@pytest.mark.parametrize("step", ["building", "moving"])
def test_what_stands_is_never_a_mixture_for_a_second_trainer(room, tmp_path, monkeypatch, step):
    """A leftover of either kind: refused unless asked for, resumed, replaced."""
    where = tmp_path / "m"
    corpus = room / "corpus.txt"
    for options in ([corpus], ["--resume", "--steps", 7], [corpus, "--force", "--steps", 1, "--hidden", 8]):
        if step == "moving":
            interrupted(room, where, monkeypatch, 2)
        else:
            laid_out(room, where, "run")
            shutil.copytree(room / "new", where / NEW)
            (where / NEW / "log.jsonl").unlink()
            (where / NEW / ".config.toml.0123456789abcdef").write_text("half")
        result = charlm("train", *options, "-m", where)
        if options == [corpus]:
            assert_refused(result, 73, "exists")
            assert told(where) == told(room / ("new" if step == "moving" else "old"))
        else:
            assert result.exit_code == 0, result.stderr
        assert set(os.listdir(where)) == {*FILES}


def test_new_files_are_on_the_disk_before_they_take_their_places(room, tmp_path, monkeypatch):
    """Each is flushed, then their directory, before the renaming; the renaming before the older run goes."""
    laid_out(room, tmp_path / "m", "run")
    operations, names = [], {}
    fsync, opened = os.fsync, os.open

    def watched(name, true):
        def call(path, *more):
            operations.append((name, path))
            true(path, *more)

        return call

    def named(path, *more):
        number = opened(path, *more)
        names[number] = path
        return number

    monkeypatch.setattr(os, "open", named)
    monkeypatch.setattr(os, "fsync", lambda number: (operations.append(("fsync", names.get(number))), fsync(number)))
    for name in ("rename", "replace", "rmdir"):
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    where = tmp_path / "m"
    store(room, where)
    at = operations.index(("rename", where / NEW))
    assert operations[at - 1] == ("fsync", where / NEW)
    assert operations[at + 1] == ("fsync", where)
    assert operations[-2:] == [("fsync", where), ("rmdir", where / READY)]
    assert [name for name, _ in operations[at + 2 : -2]] == ["replace"] * 4
    renamed = [number for number, (name, _) in enumerate(operations[:at]) if name == "replace"]
    assert len(renamed) == 4
    assert all(operations[number - 1][0] == "fsync" for number in renamed)
