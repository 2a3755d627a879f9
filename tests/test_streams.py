"""Standard streams that are closed, full, broken or hung up; text that would drive a terminal; streams as a corpus."""

import contextlib
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm import checkpoint
from charlm.cli import main, streams
from charlm.cli.streams import HadEnough, _Lossy, _Product, one_line, visible
from charlm.errors import StorageError
from charlm.settings_file import read_toml, to_toml
from charlm.text.reading import is_standard_input, is_stream
from tests.test_commands import LINES, ROOT, SMALL, assert_refused, charlm
from tests.tiny import tiny_classifier, tiny_model, tiny_restorer, tiny_tagger

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs descriptors as POSIX has them")
PATIENCE = 60  # seconds: a generous multiple of what each wait takes
COMMAND = f"{sys.executable} -m charlm"
FILES = {"model.safetensors", "resume.safetensors", "log.jsonl", "config.toml"}
CONTROLS = {chr(code) for code in [*range(32), *range(0x7F, 0xA0)]} - set("\n")
EVIL = "\x1b]0;owned\x07\x9b31m\x7f"  # sets the title of a terminal and its colour


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("streams") / "corpus.txt"
    path.write_text(LINES)
    return path


@pytest.fixture(scope="module")
def model(corpus):
    assert charlm("train", corpus, "-m", corpus.parent / "m", *SMALL, "-q").exit_code == 0
    return corpus.parent / "m"


def in_shell(line, **options):
    """Run a line of bash in which $charlm is the command; return its result."""
    options = {"capture_output": True, "text": True, "timeout": PATIENCE} | options
    return subprocess.run(["bash", "-c", line.replace("$charlm", COMMAND)], cwd=ROOT, check=False, **options)


MANY = """
import json, sys
from charlm.cli import main
for arguments in json.load(sys.stdin):
    sys.stdout.write("$ ")
    sys.stdout.flush()
    try: main(arguments)
    except SystemExit: pass
"""


def on_a_terminal(commands):
    """Run commands with stdout and stderr on a pseudo-terminal; return what came there of each, as text."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", MANY], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, cwd=ROOT
    ) as process:
        os.close(theirs)
        process.stdin.write(json.dumps([list(map(str, arguments)) for arguments in commands]).encode())
        process.stdin.close()
        shown = b""
        with contextlib.suppress(OSError):  # Linux says so at the end
            while piece := os.read(ours, 4096):
                shown += piece
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    return shown.decode().replace("\r\n", "\n").split("$ ")[1:]


# --- the messages are not the work ----------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    "where", ["2>&-", "2>/dev/full >/dev/full", "2>&1 | head -n 1", "<&- >&- 2>&-", "2>&1 >&- | true"]
)
def test_a_run_goes_on_whatever_becomes_of_its_messages(tmp_path, corpus, where):
    line = f"$charlm train {corpus} -m {tmp_path}/m {' '.join(SMALL)} --eval-every 1 {where}; exit ${{PIPESTATUS[0]}}"
    done = in_shell(line)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {path.name for path in (tmp_path / "m").iterdir()} >= FILES
    assert len((tmp_path / "m" / "log.jsonl").read_text().splitlines()) >= 5


@posix
def test_a_run_goes_on_where_its_terminal_hangs_up(tmp_path, corpus):
    """The bar, too: it draws itself anew all the time."""
    ours, theirs = pty.openpty()
    settings = [*SMALL, "--steps", "300", "--eval-every", "20"]
    command = [sys.executable, "-m", "charlm", "train", str(corpus), "-m", str(tmp_path / "m"), *settings]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, start_new_session=True
    ) as process:
        os.close(theirs)
        assert os.read(ours, 4096)
        os.close(ours)
        assert process.wait(PATIENCE) == 0
    assert json.loads((tmp_path / "m" / "log.jsonl").read_text().splitlines()[-1])["step"] == 300


@posix
@pytest.mark.parametrize("command", ["sample -n 2", "score --json aeai bfbj", "info", "--help"])
@pytest.mark.parametrize(("where", "code"), [(">&-", 74), (">/dev/full", 74), ("| true", 0), ("2>/dev/full", 0)])
def test_a_product_arrives_or_the_command_says_why(model, command, where, code):
    done = in_shell(f"CHARLM_MODEL={model} $charlm {command} {where}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (code != 0)
    assert "standard output: " in done.stderr if code else done.stderr == ""


@posix
@pytest.mark.parametrize(
    "arguments", ["score -m {} -", "sample -m {} --prompt -", "train - -m new", "train /dev/stdin -m new"]
)
def test_standard_input_that_is_closed_is_missing(tmp_path, model, arguments):
    done = in_shell(f"cd {tmp_path}; PYTHONPATH={ROOT} $charlm {arguments.format(model)} <&-")
    assert done.returncode == 66, done.stderr
    assert done.stderr == "charlm: standard input is closed: name a file\n"
    assert not list(tmp_path.iterdir())


@posix
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    """What is written to descriptor 1 or 2 by others, C code say, must not land in a file of the run."""
    script = (
        "import os, charlm.cli.streams as s\n"
        "with s.safe_streams():\n"
        "    number = os.open('file', os.O_WRONLY | os.O_CREAT)\n"
        "    os.write(number, b'%d' % number)\n"
    )
    in_shell(f"cd {tmp_path}; PYTHONPATH={ROOT} {sys.executable} -c \"{script}\" <&- >&- 2>&-")
    assert int((tmp_path / "file").read_text()) > 2


class Raw(io.RawIOBase):
    """A device that takes a few bytes at a time, and none while it is busy; then it fails, if it is to."""

    def __init__(self, busy=(), error=None):
        self.taken, self.calls, self._busy, self._error = b"", 0, set(busy), error

    def write(self, data):
        self.calls += 1
        if self.calls in self._busy:
            return None
        if self._error:
            raise self._error
        self.taken += bytes(data[:3])
        return min(3, len(data))


def test_a_slow_reader_gets_all(monkeypatch):
    monkeypatch.setattr(streams.select, "select", lambda *_: None)
    raw = Raw(busy={1, 3})
    assert _Product(raw).write(b"abcdefgh") == 8
    assert raw.taken == b"abcdefgh"


@pytest.mark.parametrize("error", [OSError(28, "full"), BrokenPipeError(32, "gone")], ids=["full", "gone"])
def test_a_failure_of_the_product_is_told_once(error):
    """What is held back is dropped after it, so that the interpreter's last flush has nothing to complain of."""
    raw = Raw(error=error)
    product = io.TextIOWrapper(io.BufferedWriter(_Product(raw)))
    product.write("a")
    with pytest.raises(HadEnough if isinstance(error, BrokenPipeError) else StorageError):
        product.flush()
    product.flush()
    assert raw.calls == 1


def test_what_cannot_be_told_is_lost():
    for error in (OSError(28, "full"), BrokenPipeError(32, "gone"), ValueError("closed")):
        assert _Lossy(Raw(error=error)).write(b"abc") == 3


# --- from Python ----------------------------------------------------------------------------------------------------


class HungUp(io.StringIO):
    """A stream that is no file, as notebooks have, and whose reader is gone."""

    def write(self, text):
        raise OSError(5, "hung up")


def test_a_caller_keeps_its_streams(monkeypatch, corpus, tmp_path):
    ours = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="replace")
    monkeypatch.setattr(sys, "stdout", ours[0])
    monkeypatch.setattr(sys, "stderr", ours[1])
    with pytest.raises(SystemExit) as end:
        main(["train", str(corpus), "-m", str(tmp_path / "m"), *SMALL])
    assert end.value.code == 0
    with pytest.raises(SystemExit):
        main(["info", "-m", str(tmp_path / "m")])
    assert (sys.stdout, sys.stderr) == ours
    assert not any(stream.closed for stream in ours)
    assert (ours[1].encoding, ours[1].errors) == ("latin-1", "replace")
    assert "gru" in ours[0].getvalue()
    assert b"best valid" in ours[1].buffer.getvalue()


@pytest.mark.parametrize("stream", [None, HungUp(), "closed"])
def test_a_caller_without_standard_error_trains(monkeypatch, corpus, tmp_path, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(SystemExit) as end:
        main(["train", str(corpus), "-m", str(tmp_path / "m"), *SMALL])
    assert end.value.code == 0
    assert sys.stderr is stream


@pytest.mark.parametrize("how", ["close", "detach"])
def test_a_caller_that_closed_its_standard_output(monkeypatch, tmp_path, model, how):
    """The interpreter's own stream, that is, as a program closes it to hear of a full disk at its end."""
    stream = open(tmp_path / "out", "w")  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "__stdout__", stream)
    buffer = getattr(stream, how)()
    with pytest.raises(SystemExit) as end:
        main(["info", "-m", str(model)])
    assert end.value.code == 74
    assert sys.stdout is stream
    if buffer is not None:
        buffer.close()


def test_a_caller_s_own_stream_that_is_closed_is_a_closed_output(monkeypatch, capsys, model):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as end:
        main(["info", "-m", str(model)])
    assert end.value.code == 74
    assert sys.stdout is stream
    assert capsys.readouterr().err == "charlm: standard output: it is closed\n"


EARLY = """
import sys
class Early:
    def find_spec(self, name, *_):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Early())
from charlm.__main__ import main
main()
"""


def test_ctrl_c_before_the_command_has_begun_is_no_traceback():
    found = subprocess.run([sys.executable, "-c", EARLY], cwd=ROOT, capture_output=True, timeout=PATIENCE, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (130, b"", b"")


BUG = """
import sys
from charlm.cli import main
sys.argv = ["charlm", "info"]
main.commands["info"].callback = lambda **_: exec(chr(27) + "]0;owned")
main()
"""


@posix
@pytest.mark.parametrize("where", ["", "2>/dev/full"])
def test_a_bug_is_told_as_a_traceback_that_drives_nothing(where):
    """And its exit code is 1 where nobody can read it, too."""
    done = in_shell(f"{sys.executable} -c {shlex.quote(BUG)} {where}")
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == (where == "")
    assert "\x1b" not in done.stderr


def test_commands_in_threads_at_once_put_the_caller_s_streams_back(monkeypatch):
    """Whichever of two ends first."""
    before = sys.stdout, sys.stderr
    for order in (0, 1):
        first, second = streams.safe_streams(), streams.safe_streams()
        first.__enter__()
        second.__enter__()
        for one in (first, second)[:: 1 - 2 * order]:
            one.__exit__(None, None, None)
        assert (sys.stdout, sys.stderr) == before


# --- nothing drives a terminal --------------------------------------------------------------------------------------


@given(st.text(st.characters()))
def test_what_is_visible_drives_nothing(text):
    shown = visible(text).encode().decode()  # no lone surrogate is left: two may make up a control character
    assert not set(shown) & (CONTROLS - {"\t"})
    assert len(shown) == len(text)
    assert not set(one_line(text)) & (CONTROLS | set("\n\u202e\u2066"))


def test_two_bytes_do_not_make_up_a_control_character():
    """C2 9B, each no UTF-8 by itself, are the character CSI."""
    assert visible("\udcc2\udc9b31m") == "\ufffd\ufffd31m"


@posix
def test_nothing_from_a_path_a_text_or_a_model_drives_a_terminal(tmp_path):
    """In errors, in click's own messages, in notes of a run, and in every format of every command."""
    evil = tmp_path / f"{EVIL}.txt"
    evil.write_text(f"a{EVIL}b\nba\n" * 30)
    model = tiny_model(f"ab{EVIL}", spread=0.1)
    model.facts |= {"corpus": [EVIL], "charlm": EVIL}
    file = tmp_path / f"{EVIL}.safetensors"
    model.save(file)
    labels = tmp_path / f"labels{EVIL}"
    tiny_classifier(f"ab{EVIL}", names=(f"no{EVIL}", "yes"), counts=(2, 1), longest=3, spread=0.1).save(labels)
    gold = tmp_path / f"gold{EVIL}"
    gold.write_text(f"yes\ta{EVIL}b\nno\tba\n")
    tags, marks = tmp_path / f"tags{EVIL}", tmp_path / f"marks{EVIL}"
    tiny_tagger(f"ab{EVIL}", words=(f"a{EVIL}b",), longest=3).save(tags)
    tiny_restorer(tokens=f"ab{EVIL}", names=("", *sorted(set(EVIL) - set("\n")))).save(marks)
    columns = tmp_path / f"columns{EVIL}"
    columns.write_text(f"# {EVIL}\na{EVIL}b\tB-x\nba\tO\n\n")
    (tmp_path / f"{EVIL}.toml").write_text(f"{json.dumps(EVIL)} = 1".replace("\x7f", "\\u007f"))
    commands = [
        ["info", "-m", file],
        ["info", "-m", f"{file}x"],
        ["info", f"--{EVIL}"],
        [EVIL],
        ["train", tmp_path / EVIL, "-m", tmp_path / "m"],
        ["train", evil, "-m", tmp_path / f"m{EVIL}", *SMALL, "--eval-every", "1"],
        ["train", evil, "--config", tmp_path / f"{EVIL}.toml"],
        ["train", evil, "--cell", EVIL],
        ["score", "-m", file, "--file", evil, "--tsv"],
        ["score", "-m", file, "--file", evil, "--per-token", "--format", "kenlm"],
        ["score", "-m", file, EVIL, "--json", "--per-token"],
        ["score", "-m", file, EVIL],
        ["info", "-m", labels],
        ["predict", "-m", labels, EVIL, evil],
        ["predict", "-m", labels, EVIL, "--tsv", "--top", "2"],
        ["predict", "-m", labels, "--file", evil, "--json"],
        ["predict", "-m", file, EVIL],
        ["score", "-m", labels, EVIL, "--label", "yes"],
        ["score", "-m", labels, EVIL, "--label", EVIL],
        ["score", "-m", labels, "--file", gold, "--tsv"],
        ["test", "-m", labels, gold],
        ["test", "-m", labels, gold, "--json"],
        ["test", "-m", labels, "-m", labels, gold],
        ["test", "-m", labels, tmp_path / EVIL],
        ["info", "-m", tags],
        ["predict", "-m", tags, EVIL],
        ["predict", "-m", tags, "--file", columns],
        ["predict", "-m", tags, "--file", columns, "--json"],
        ["predict", "-m", tags, "--file", columns, "--tsv"],
        ["test", "-m", tags, columns],
        ["test", "-m", tags, "-m", tags, columns],
        ["score", "-m", tags, "--file", columns, "--per-token"],
        ["train", columns, "--task", "tag", "-m", tmp_path / f"m{EVIL}"],
        ["info", "-m", marks],
        ["predict", "-m", marks, EVIL, "ab"],
        ["predict", "-m", marks, EVIL, "--json"],
        ["sample", "-m", file, "-n", "9", "--json"],
        ["sample", "-m", file, "--prompt", f"Z{EVIL}", "-n", "9"],
        ["sample", "-m", file, "-n", "2", "--separator", EVIL],
    ]
    for arguments, shown in zip(commands, on_a_terminal(commands), strict=True):
        allowed = "\t\r" if arguments[0] == "train" else "\t"  # the bar goes back to the beginning of its line
        assert shown
        assert not set(shown) & (CONTROLS - set(allowed)), (arguments, shown)


def test_errors_are_single_lines_that_drive_nothing_in_a_file_too(tmp_path):
    assert_refused(charlm("info", "-m", f"{tmp_path}/a\n{EVIL}\rb\u202e"), 66, "a␊␛]0;owned␇", "␡␍b\ufffd")


def test_a_pipe_gets_the_characters_as_they_are(tmp_path):
    """Colours too, which click takes out of what is no terminal."""
    tiny_model("ab\x1b[1m").save(tmp_path / "m.safetensors")
    text = charlm("sample", "-m", tmp_path / "m.safetensors", "--prompt", "a\x1b[1mb", "--length", 3).stdout
    assert text.startswith("a\x1b[1mb")


# --- streams as a corpus --------------------------------------------------------------------------------------------


@posix
def test_what_a_stream_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("a")
    for name, target in (("to_stdin", "/dev/stdin"), ("to_fd", "/proc/self/fd/0"), ("again", "to_stdin"),
                         ("to_file", "file"), ("circle", "circle"), ("to_pipe", "pipe")):  # fmt: skip
        (tmp_path / name).symlink_to(target)
    for path in ("-", "/dev/stdin", "/dev/fd/63", "/dev/./fd/0", "/proc/self/fd/12", "/proc/1/task/1/fd/3", "/dev/null",
                 *(tmp_path / name for name in ("pipe", "to_pipe", "to_stdin", "to_fd", "again"))):  # fmt: skip
        assert is_stream(str(path)), path
    for name in ("file", "to_file", "circle", "missing", "", "a\0b"):
        assert not is_stream(f"{tmp_path}/{name}"), name
    assert [is_standard_input(path) for path in ("-", "/dev/stdin", f"{tmp_path}/again", "/dev/fd/0")] == [True] * 4
    assert not any(is_standard_input(path) for path in ("/dev/fd/10", f"{tmp_path}/pipe", f"{tmp_path}/file", "0"))


QUIET = " ".join([*SMALL, "-q"])
STREAMS = {
    "stdin": (f"$charlm train - -m m {QUIET} < c", "- -m m --resume < FILE"),
    "stdin by name": (f"cat c | $charlm train /dev/stdin -m m {QUIET}", "- -m m --resume < FILE"),
    "substitution": (f"$charlm train <(cat c) -m m {QUIET}", "- -m m --resume < FILE"),
    "named pipe": (f"mkfifo p; cat c > p & $charlm train p -m m {QUIET}; wait", "- -m m --resume < FILE"),
    "second of two": (f"$charlm train c - -m m {QUIET} < c", "/c - -m m --resume < FILE"),
    "two": (f"$charlm train <(cat c) <(cat c) -m m {QUIET}", "FILE FILE -m m --resume\n"),
    "validation": (f"$charlm train c --valid-file - -m m {QUIET} < c", "train -m m --resume --valid-file FILE\n"),
    "test": (f"$charlm train c --test-file <(cat c) -m m {QUIET}", "train -m m --resume --test-file FILE\n"),
}


@posix
@pytest.mark.parametrize("kind", STREAMS)
def test_a_run_remembers_that_it_read_a_stream(tmp_path, corpus, monkeypatch, kind):
    """It never waits for the keyboard afterwards; one line says what to give."""
    line, advice = STREAMS[kind]
    (tmp_path / "c").write_bytes(corpus.read_bytes())
    done = in_shell(f"cd {tmp_path}; export PYTHONPATH={ROOT}; {line}")
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.chdir(tmp_path)
    for module in ("reading", "folders"):
        monkeypatch.setattr(f"charlm.text.{module}.open_file", lambda path: pytest.fail(f"{path} was read"))
    assert_refused(charlm("train", "-m", "m", "--resume", "--steps", 9), 66, "give the same text again", advice)
    assert_refused(charlm("sample", "-m", "m", "--novelty"), 66, "standard input or a pipe", "give --novelty FILE")
    assert_refused(charlm("score", "-m", "m", "--corpus", "valid"), 66, "standard input or a pipe", "--corpus FILE")
    written = tomllib.loads((tmp_path / "m" / "config.toml").read_text())
    assert "-" in [*written["corpus"], written.get("valid-file"), written.get("test-file")]


def test_a_stream_given_again_is_checked_and_goes_on(tmp_path, corpus):
    arguments = ["-m", tmp_path / "m", *SMALL]
    assert charlm("train", "-", *arguments, stdin=corpus.read_bytes()).exit_code == 0
    resume = ["train", "-", "-m", tmp_path / "m", "--resume", "--steps"]
    assert_refused(charlm(*resume, 9, stdin=corpus.read_bytes()[5:]), 2, "not the one this run was trained on")
    assert charlm(*resume, 9, stdin=corpus.read_bytes()).exit_code == 0
    config = tmp_path / "m" / "config.toml"
    result = charlm("train", "--config", config, "-m", tmp_path / "n", stdin=corpus.read_bytes())
    assert result.exit_code == 0, result.stderr
    weights = [checkpoint.load(tmp_path / name / "model.safetensors")[0] for name in "mn"]
    whole = charlm("train", corpus, "-m", tmp_path / "w", *SMALL, "--steps", 9)
    assert whole.exit_code == 0
    assert weights[1].keys() == checkpoint.load(tmp_path / "w" / "model.safetensors")[0].keys()
    for name, value in checkpoint.load(tmp_path / "w" / "model.safetensors")[0].items():
        assert (weights[1][name] == value).all()


def test_a_state_of_an_earlier_version_that_names_a_stream(tmp_path, corpus):
    """It has the path as it was given."""
    assert charlm("train", corpus, "-m", tmp_path / "m", *SMALL).exit_code == 0
    arrays, metadata = checkpoint.load(tmp_path / "m" / "resume.safetensors")
    resume = json.loads(metadata["charlm.resume"])
    resume["settings"]["corpus"] = ["/dev/fd/63"]
    checkpoint.save(tmp_path / "m" / "resume.safetensors", arrays, metadata | {"charlm.resume": json.dumps(resume)})
    assert_refused(charlm("train", "-m", tmp_path / "m", "--resume"), 66, f"train - -m {tmp_path}/m --resume < FILE")


@posix
@pytest.mark.parametrize(
    "arguments", [["train", "-", "-m", "new", *SMALL], ["score", "-"], ["sample", "--prompt", "-"]], ids=lambda a: a[0]
)
def test_a_text_that_is_awaited_from_the_terminal_is_asked_for(tmp_path, monkeypatch, model, arguments):
    monkeypatch.setenv("CHARLM_MODEL", str(model))
    ours, theirs = pty.openpty()
    os.write(ours, b"aeai\nbfbj\ncgck\n"[:5 if arguments[0] == "sample" else None] + b"\x04")  # one Ctrl-D
    command = [sys.executable, "-m", "charlm", *[str(tmp_path / "m") if part == "new" else part for part in arguments]]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _, told = process.communicate(timeout=PATIENCE)
    os.close(theirs)
    os.close(ours)
    assert process.returncode == 0, told
    assert re.search("charlm: reading the (text|texts|prompt) from the terminal; end it with Ctrl-D", told)


# --- settings as TOML -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
@pytest.mark.parametrize(
    "name", [b"caf\xe9.txt", b"a%E9\xff b.txt", b"\x1b]0;\x07\x7f\"'\\.txt", "ä\u2028\x85.txt".encode()]
)
def test_a_run_is_repeated_whatever_the_bytes_of_its_paths(tmp_path, name):
    """config.toml is TOML, and gives the same model; a resume finds the same file."""
    path = os.path.join(os.fsencode(tmp_path), name)
    Path(os.fsdecode(path)).write_text(LINES)
    files = ["--valid-file", os.fsdecode(path), "--test-file", os.fsdecode(path)]
    assert charlm("train", os.fsdecode(path), *files, "-m", tmp_path / "m", *SMALL).exit_code == 0
    written = tomllib.loads((tmp_path / "m" / "config.toml").read_bytes().decode())
    assert "corpus" in written
    result = charlm("train", "--config", tmp_path / "m" / "config.toml", "-m", tmp_path / "n")
    assert result.exit_code == 0, result.stderr
    models = [checkpoint.load(tmp_path / name / "model.safetensors")[0] for name in "mn"]
    assert all((models[0][name] == models[1][name]).all() for name in models[0])
    assert (tmp_path / "n" / "config.toml").read_bytes() == (tmp_path / "m" / "config.toml").read_bytes()
    assert charlm("train", "-m", tmp_path / "m", "--resume", "--steps", 7).exit_code == 0


@given(st.dictionaries(st.sampled_from(["corpus", "valid_file", "test_file"]), st.binary(min_size=1), min_size=1))
def test_settings_come_back_from_toml_whatever_their_bytes(tmp_path_factory, paths):
    settings = {name: os.path.abspath(os.fsdecode(value.replace(b"\0", b""))) for name, value in paths.items()}
    settings |= {"word_pattern": "\x7f\\\"\u2028", "lr": 1e-7, "tie": True, "min_count": None}
    if "corpus" in settings:
        settings["corpus"] = [settings["corpus"], "b"]
    file = tmp_path_factory.getbasetemp() / "settings.toml"
    file.write_bytes(to_toml(settings).encode())
    assert read_toml(str(file)) == {name: value for name, value in settings.items() if value is not None}


def test_a_pattern_with_a_byte_that_is_no_utf8_is_refused(tmp_path, corpus):
    arguments = ["train", corpus, "-m", tmp_path / "m", "--tokenizer", "word", "--word-pattern", "a\udce9"]
    assert_refused(charlm(*arguments), 2, "no UTF-8")
