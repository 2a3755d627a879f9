"""Faults that happen to real runs: kills, signals, full disks, two trainers, numbers that are none, changed settings.

The full form repeats them many times more.
"""

import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charlm import checkpoint
from charlm.cells import CELLS
from charlm.config import ModelConfig, TrainConfig
from charlm.engines.numpy import NumpyEngine
from charlm.errors import DivergedError
from charlm.standing import Standing
from charlm.text.parts import Part
from charlm.training import fit
from tests.test_commands import ROOT, SMALL, assert_refused, charlm
from tests.test_training import DOCUMENT, LINES, TINY, Notes, assert_same, lesson_of, outcome, part_of, train, write
from tests.tiny import tiny_model

ENDLESS = [*SMALL[:-4], "--steps", "1000000", "--threads", "1"]
PATIENCE = 60  # seconds: a generous multiple of what each wait takes

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes as POSIX has them")


def started(*arguments, **options):
    command = [sys.executable, "-m", "charlm", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, **options)


def wait_for(condition):
    """Wait until something is so, or fail."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(LINES)
    return path


# --- killed at any moment -------------------------------------------------------------------------------------------


def saved(kind):
    """Return tensors that tell which of two models a file is, and that it is whole."""
    return {"a": np.full(5000, kind, np.float32), "b": np.full((70, 90), kind, np.float64)}


@posix
@pytest.mark.parametrize("kills", [60, pytest.param(2000, marks=pytest.mark.full)])
def test_a_saver_killed_at_any_moment_leaves_a_whole_file(tmp_path, kills):
    """Real SIGKILLs to a process that saves two models by turns: what stands there is always one of them."""
    path, rng, found = tmp_path / "m", random.Random(0), set()
    checkpoint.save(path, saved(0), {"kind": "0"})
    for _ in range(kills):
        told, tells = os.pipe()
        child = os.fork()
        if child == 0:  # only saves, then is killed
            for turn in range(100_000):
                checkpoint.save(path, saved(turn % 2), {"kind": str(turn % 2)})
                os.write(tells, b".")
            os._exit(0)
        os.read(told, 1)  # it has begun, however busy the machine is; so it has both kinds behind it now and then
        if rng.random() < 0.5:
            os.read(told, 1)
        time.sleep(rng.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tells)
        tensors, metadata = checkpoint.load(path)
        kind = int(metadata["kind"])
        assert all((value == kind).all() for value in tensors.values())
        found.add(kind)
        for stray in tmp_path.iterdir():  # what a kill leaves beside the file is removed by hand, as people do
            if stray != path:
                stray.unlink()
    assert found == {0, 1}


@posix
@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.full)])
def test_a_run_killed_at_any_moment_goes_on(tmp_path, corpus, kills):
    """What was saved opens, the lock is free, and the resumed run does not fall behind the last save."""
    rng, where, step = random.Random(1), tmp_path / "m", 0
    with started("train", corpus, "-m", where, *ENDLESS, "-q", "--save-every", 3) as process:
        wait_for((where / "resume.safetensors").exists)
        process.kill()
    for _ in range(kills):
        with started("train", "-m", where, "--resume", "-q") as process:
            wait_for(lambda where=where, step=step: step_of(where) > step)
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
        assert step_of(where) > step
        step = step_of(where)
        assert charlm("score", "-m", where, "aeai").exit_code == 0
    assert charlm("train", "-m", where, "--resume", "--steps", step + 5).exit_code == 0
    assert step_of(where) == step + 5


def step_of(where):
    _, metadata = checkpoint.load(where / "resume.safetensors")
    return json.loads(metadata["charlm.resume"])["state"]["step"]


RUNS = {
    f"{cell}, {optimizer}, {kind}": {"cell": cell, "optimizer": optimizer, "dropout": 0.2, **more}
    for cell, optimizer, kind, more in [
        ("rnn", "adam", "lines", {}),
        ("gru", "sgd", "words", {"tokenizer": "word", "min_count": 1}),
        ("lstm", "rmsprop", "document", {"sequences": "document"}),
        ("gru", "adam", "patience", {"eval_every": 6, "patience": 2, "lr": 0.1}),
        ("lstm", "adam", "plateau", {"eval_every": 6, "schedule": "plateau", "lr": 0.1}),
    ]
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize(
    ("steps", "every"), [(100, 43), pytest.param(200, 1, marks=pytest.mark.full)]
)
def test_a_run_stopped_at_any_step_ends_as_if_it_had_not_been(tmp_path, settings, steps, every):
    """Some steps, stopped once at each of many steps, and in chains of three: the same bits, log
    and samples.
    """
    corpus = write(tmp_path / "corpus.txt", DOCUMENT if settings.get("sequences") else LINES)
    given = {"corpus": (corpus,), "steps": steps, **TINY, "threads": 1, **settings}
    run = train(tmp_path / "whole", given)
    last, whole, text = run.standing.step, outcome(tmp_path / "whole"), run.model.sample(40, seed=1)
    assert (last < steps) == ("patience" in settings)
    assert (run.standing.plateaus > 0) == ("eval_every" in settings)
    rng = random.Random(2)
    chains = [
        [stop] for stop in {*range(1, last, every), last - 1}
    ]  # at last, patience has nearly run out
    chains += [sorted(rng.sample(range(1, last), 3)) for _ in range(max(1, 20 // every))]
    for stops in chains:
        shutil.rmtree(tmp_path / "parts", ignore_errors=True)
        for number, stop in enumerate([*stops, None]):
            run = train(tmp_path / "parts", given if number == 0 else {}, stop, resume=number > 0)
        assert_same(whole, outcome(tmp_path / "parts"))
        assert run.model.sample(40, seed=1) == text


# --- signals, and two trainers --------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("times", [4, pytest.param(100, marks=pytest.mark.full)])
def test_signals_at_any_moment_end_in_a_saved_run(tmp_path, corpus, times):
    """One or two of them, at once or apart: exit 130 or 143, a whole state, no traceback, and it goes on from there."""
    rng, where, step = random.Random(3), tmp_path / "m", 0
    for number in range(times):
        often = ["--log-every", 1, "--save-every", 50]
        arguments = [corpus, *ENDLESS, *often, "-q"] if number == 0 else ["--resume", "-q"]
        log = where / "log.jsonl"
        with started("train", "-m", where, *arguments) as process:
            size = log.stat().st_size if log.exists() else 0
            wait_for(lambda log=log, size=size: log.exists() and log.stat().st_size > size + 500)
            time.sleep(rng.uniform(0, 0.2))
            wanted = rng.choice([signal.SIGINT, signal.SIGTERM])
            process.send_signal(wanted)
            if number % 2:
                time.sleep(rng.uniform(0, 0.01))
                process.send_signal(wanted)
            assert process.wait(PATIENCE) == 128 + wanted
            assert process.stderr.read() == b""
        assert step_of(where) > step
        step = step_of(where)
        entries = [json.loads(line)["step"] for line in log.read_text().splitlines()]
        assert entries == list(range(1, step + 1))


@posix
def test_the_second_trainer_leaves_at_once_and_the_lock_dies_with_the_first(tmp_path, corpus):
    where = tmp_path / "m"
    with started("train", corpus, "-m", where, *ENDLESS, "-q", "--save-every", 3) as first:
        wait_for((where / "resume.safetensors").exists)
        for arguments in (["train", "-m", where, "--resume"], ["train", corpus, "-m", where, "--force"]):
            second = started(*arguments)
            _, error = second.communicate(timeout=PATIENCE)
            assert second.returncode == 75
            assert str(first.pid) in error.decode()
            assert error.count(b"\n") == 1
        assert first.poll() is None
        first.kill()
    assert charlm("train", "-m", where, "--resume", "--steps", step_of(where) + 1).exit_code == 0


# --- disks ----------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("room", [0, 2_000, 10_000, 15_000])
def test_a_disk_that_takes_no_more_is_74_and_loses_nothing(tmp_path, corpus, room):
    """A real limit on the size of files, reached at different writes; the model that stood there is as it was."""
    where = tmp_path / "m"
    assert charlm("train", corpus, "-m", where, *SMALL).exit_code == 0
    before = {path.name: path.read_bytes() for path in where.iterdir() if path.suffix == ".safetensors"}
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); from charlm.cli import main; main()"
    )
    arguments = ["train", str(corpus), "-m", str(where), "--force", *map(str, SMALL), "--hidden", "32", "-q"]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 74, done.stderr
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr or "temporary" in done.stderr
    after = {path.name: path.read_bytes() for path in where.iterdir() if path.suffix == ".safetensors"}
    assert after["model.safetensors"] == before["model.safetensors"]
    assert not [path for path in where.iterdir() if "tmp" in path.name]


def test_a_full_device_for_the_product_is_74(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    tiny_model("ab").save(tmp_path / "m.safetensors")
    for arguments in (["sample", "-n", "5"], ["score", "a"], ["info"]):
        command = [sys.executable, "-m", "charlm", arguments[0], "-m", str(tmp_path / "m.safetensors"), *arguments[1:]]
        with open("/dev/full", "w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
        assert done.returncode == 74, arguments
        assert "No space left" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only_is_73(tmp_path, corpus):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert_refused(charlm("train", corpus, "-m", tmp_path / "closed" / "m", *SMALL), 73, "cannot write to")


# --- numbers that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cell", CELLS)
def test_a_bad_number_in_any_tensor_stops_training_and_reaches_no_file(tmp_path, cell, bad):
    """Put into each weight in turn, and the state. An infinite bias only saturates a gate, until it is to be saved."""
    shape = ModelConfig(4, cell=cell, layers=2, hidden=6, embedding=3)
    config = TrainConfig(steps=5, batch_size=4, seq_len=8)
    lesson = lesson_of(part_of([2, 3] * 100), Part.from_ids([]), 4, 8)
    for name in NumpyEngine(shape, 1, config).params:
        engine = NumpyEngine(shape, 1, config)
        engine.params[name].reshape(-1)[:] = bad
        message = r"(step 1: the (gradient of \S+|loss) is no longer a finite number|tensor \S+ is not finite)"
        with pytest.raises(DivergedError, match=message):
            list(fit(engine, lesson, config, Saving(engine, tmp_path / "m")))
        assert not (tmp_path / "m").exists()
    engine = NumpyEngine(shape, 1, config)
    hidden = tuple(np.full_like(part, bad) for part in engine.zero_state(4))
    before, (_, batch, *_) = engine.tensors(), lesson.train.epoch(0)  # not the first: it begins from zero
    if bad != bad or "gru" in cell:  # a tanh and a forget gate make something finite of an infinite state
        with pytest.raises(DivergedError):
            engine.update(batch, hidden, 0.1)
        assert all((value == before[name]).all() for name, value in engine.tensors().items())


class Saving(Notes):
    """A keeper that writes models."""

    def __init__(self, engine, path):
        super().__init__()
        self._engine, self._path = engine, path

    def save_model(self, progress):
        checkpoint.save(self._path, self._engine.tensors(), {})


class Faulty(NumpyEngine):
    """An engine whose gradient is no number at some steps."""

    def __init__(self, *arguments, bad):
        super().__init__(*arguments)
        self._calls, self._bad = 0, bad

    def update(self, batch, state, lr):
        self._calls += 1
        if self._calls in self._bad:
            raise DivergedError("the gradient of head.bias is no longer a finite number: lower --lr or --clip")
        return super().update(batch, state, lr)


def test_bad_steps_are_skipped_and_counted_where_that_was_asked_for():
    shape, lesson = ModelConfig(4, hidden=6, embedding=3), lesson_of(part_of([2, 3] * 400), part_of([2, 3] * 40), 4, 8)
    config = TrainConfig(steps=20, batch_size=4, seq_len=8, skip_nan=True, log_every=1)
    state, keeper = Standing(), Notes()
    engine = Faulty(shape, 1, config, bad={3, 4, 11})
    events = list(fit(engine, lesson, config, keeper, state))
    assert (state.step, state.skipped, state.skipped_in_a_row) == (20, 3, 0)
    assert [entry["step"] for entry in keeper.entries if entry["grad_norm"] is None] == [3, 4, 11]
    learnt = np.diff([0, *(event.tokens for event in events)])
    assert [step for step, tokens in enumerate(learnt, start=1) if tokens == 0] == [3, 4, 11]
    json.dumps(keeper.entries, allow_nan=False)
    with pytest.raises(DivergedError, match="step 100"):
        list(fit(Faulty(shape, 1, config, bad=range(1000)), lesson, config.__class__(steps=300, batch_size=4, seq_len=8,
                 skip_nan=True), Notes()))  # fmt: skip
    with pytest.raises(DivergedError, match="step 3"):
        list(fit(Faulty(shape, 1, config, bad={3}), lesson, TrainConfig(steps=20, batch_size=4, seq_len=8), Notes()))


# --- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "words"), [
    (["--hidden", "9"], ["hidden 8 -> 9"]),
    (["--cell", "lstm", "--lr", "0.5"], ["cell gru -> lstm", "lr "]),
    (["--vocab-size", "5"], ["vocab-size None -> 5"]),
    (["--tokenizer", "byte"], ["tokenizer char -> byte"]),
    (["--seed", "7"], ["seed 0 -> 7"]),
    (["--valid-fraction", "0.3"], ["valid-fraction 0.1 -> 0.3"]),
])  # fmt: skip
def test_what_a_resume_may_not_change_is_listed_before_the_first_step(tmp_path, corpus, options, words):
    assert charlm("train", corpus, "-m", tmp_path / "m", *SMALL).exit_code == 0
    before = (tmp_path / "m" / "resume.safetensors").read_bytes()
    assert_refused(charlm("train", "-m", tmp_path / "m", "--resume", *options), 2, "begin anew with --force", *words)
    assert (tmp_path / "m" / "resume.safetensors").read_bytes() == before


# --- the terminal ---------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("options", "drives"), [([], False), (["-n", "3"], False), (["--raw"], True)])
def test_a_model_of_escape_sequences_does_not_drive_a_real_terminal(tmp_path, options, drives):
    """On a pseudo-terminal; a pipe gets the characters as they are."""
    model = tiny_model("\x1b\x07\x9b]0;", sequences="document", spread=0.1)
    model.engine.params["head.bias"][0] = -50
    model.save(tmp_path / "m.safetensors")
    command = [sys.executable, "-m", "charlm", "sample", "-m", str(tmp_path / "m.safetensors")]
    command += ["--length", "60", "--seed", "1"]
    piped = subprocess.run([*command, *options], capture_output=True, cwd=ROOT, check=True).stdout
    assert b"\x1b" in piped
    ours, theirs = pty.openpty()
    with subprocess.Popen([*command, *options], stdout=theirs, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux says so at the end
                break
            if not piece:
                break
            shown += piece
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    controls = set(shown.decode()) & {chr(code) for code in [*range(32), *range(0x7F, 0xA0)]} - set("\r\n\t")
    assert bool(controls) == drives
