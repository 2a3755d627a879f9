"""Signals: which end a run, which stay ignored, and what is left as it was."""

import importlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from charlm import checkpoint
from charlm.cli import main
from charlm.cli.signals import Interrupted, Signals
from tests.test_commands import ROOT, SMALL, charlm
from tests.test_streams import PATIENCE, corpus, in_shell, posix  # noqa: F401

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
ENDLESS = [*SMALL[:-4], "--steps", "1000000", "--threads", "1"]


@pytest.fixture
def told():
    """Return a function that sends this process a signal at a moment of one's choice."""
    return lambda number: os.kill(os.getpid(), number)


@posix
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_saves_the_run(tmp_path, corpus, number):  # noqa: F811
    command = [sys.executable, "-m", "charlm", "train", corpus, "-m", tmp_path / "m", *ENDLESS, "--eval-every", "5"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        for line in process.stderr:
            if "valid" in line and "step" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(PATIENCE) == 128 + number
    assert "go on with: charlm train -m" in rest
    checkpoint.load(tmp_path / "m" / "resume.safetensors")
    checkpoint.load(tmp_path / "m" / "model.safetensors")


@posix
@pytest.mark.parametrize("number", ENDING)
def test_an_ignored_signal_stays_ignored(tmp_path, corpus, number):  # noqa: F811
    """As nohup ignores SIGHUP, and a shell SIGINT for what it starts in the background; the next one is heard."""
    name = signal.Signals(number).name
    settings = " ".join([*SMALL, "--steps 100000 --eval-every 5"])
    other = "TERM" if name != "SIGTERM" else "HUP"
    done = in_shell(
        f"trap '' {name}\n"
        f"coproc $charlm train {corpus} -m {tmp_path}/m {settings} 2>&1 >/dev/null\n"
        f"while read -r line; do case $line in *valid*step*|*step*valid*) kill -{name} $COPROC_PID; break;; esac; done"
        " <&${COPROC[0]}\n"
        f"pid=$COPROC_PID; sleep 0.1; kill -{other} $pid; wait $pid"
    )
    assert done.returncode == 128 + getattr(signal, f"SIG{other}")


def test_handlers_are_put_back_and_ignored_ones_left(told):
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Signals() as signals:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            told(signal.SIGTERM)
            assert not signals.stop()
            told(signal.SIGINT)
            assert signals.stop()
            told(signal.SIGINT)
        assert signals.number == signal.SIGINT
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
    assert {number: signal.getsignal(number) for number in ENDING} == before


def test_a_handler_that_python_did_not_set_is_left_alone(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("it could not be put back"))
    with Signals() as signals:
        assert not signals.stop()


def test_a_signal_while_nothing_can_be_saved_yet_ends_at_once(told):
    with Signals() as signals:
        with pytest.raises(Interrupted) as end, signals.at_once():
            told(signal.SIGTERM)
        assert end.value.exit_code == 143
        with pytest.raises(Interrupted), signals.at_once():
            pytest.fail("the signal came before")


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_while_the_corpus_is_read_leaves_nothing(tmp_path, corpus, monkeypatch, told, number):  # noqa: F811
    def interrupted(*_, **__):
        told(number)
        pytest.fail("it went on")

    before = signal.getsignal(number)
    monkeypatch.setattr("charlm.tasks.lm.prepare", interrupted)
    result = charlm("train", corpus, "-m", tmp_path / "m", *SMALL)
    assert result.exit_code == 128 + number
    assert not (tmp_path / "m").exists()
    assert signal.getsignal(number) is before


def test_a_signal_at_the_very_end_is_told_and_all_is_there(tmp_path, corpus, monkeypatch, told):  # noqa: F811
    display = importlib.import_module("charlm.cli.train").Display
    end = display.end
    monkeypatch.setattr(display, "end", lambda *given: (told(signal.SIGTERM), end(*given)))
    assert charlm("train", corpus, "-m", tmp_path / "m", *SMALL).exit_code == 143
    assert charlm("info", "-m", tmp_path / "m").exit_code == 0


@posix
def test_a_second_signal_after_the_run_and_before_the_end_of_the_process(tmp_path, corpus):  # noqa: F811
    """The handlers of a process that ends are not put back: the second one would kill it, with another exit code."""
    script = (
        "import os, signal; from charlm.cli import main; from charlm.cli.signals import Signals; "
        "before, after = Signals.__enter__, Signals.__exit__; "
        "Signals.__enter__ = lambda self: (before(self), os.kill(os.getpid(), signal.SIGTERM))[0]; "
        "Signals.__exit__ = lambda self, *e: (after(self, *e), os.kill(os.getpid(), signal.SIGTERM))[0]; "
        "main()"
    )
    command = [sys.executable, "-c", script, "train", corpus, "-m", tmp_path / "m", *SMALL, "-q"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (143, "")


def test_a_run_in_another_thread_has_no_handlers(tmp_path, corpus):  # noqa: F811
    ends, before = [], [signal.getsignal(number) for number in ENDING]

    def run():
        try:
            main(["train", str(corpus), "-m", str(tmp_path / "m"), *SMALL])
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert isinstance(ends[0], SystemExit)
    assert ends[0].code == 0
    assert (tmp_path / "m" / "model.safetensors").exists()
    assert [signal.getsignal(number) for number in ENDING] == before
