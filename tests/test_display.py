"""What a person sees of a run: one unit, the time that is left, nothing wider than the terminal."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from charlm.cli.display import _bars_of, _left, _some
from charlm.cli.painting import folded, width
from charlm.courses import row
from charlm.training import Progress
from tests.full import ROOT

TUNES = "\n".join(f"好雨知时节当春乃发生{k % 7} 随风潜入夜润物细无声" * 4 for k in range(60))
_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def on_a_terminal(columns, arguments):
    """Return what a command shows on a terminal of so many columns, line by line, the bar's too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "charlm", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # Linux says so at the end
            pass
        assert process.wait(60) == 0
    os.close(ours)
    return [_CONTROLS.sub("", line) for line in re.split(r"[\r\n]+", shown.decode())]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("display") / "tunes.txt"
    path.write_text(TUNES)
    return path


@pytest.mark.parametrize("columns", [80, 40])
def test_nothing_is_wider_than_the_terminal(tmp_path, corpus, columns):
    lines = on_a_terminal(columns, [
        "train", corpus, "-m", tmp_path / "m", "--steps", "12", "--eval-every", "3", "--hidden",
        "16", "--layers", "1",
    ])  # fmt: skip
    assert max(map(width, lines)) < columns
    rows = [line.split() for line in lines if re.match(r" +\d+:\d\d +\d+ % ", line)]
    assert [row[1] for row in rows] == ["25", "50", "75", "100"]
    (head,) = [line.split() for line in lines if line.split()[:2] == ["left", "done"]]
    assert head == (
        ["left", "done", "step", "train", "valid", "network", "tokens/s"]
        if columns == 80 else ["left", "done", "train", "valid"]
    )  # fmt: skip
    steps = [row[3] for row in rows] if columns == 80 else []
    assert steps in ([], ["3", "6", "9", "12"])
    bar = " ".join(line for line in lines if " left " in line and "|" in line)
    assert ("next valid in" in bar) == (columns == 80)
    told = " ".join(line.strip() for line in lines if line.strip() and "%|" not in line)
    assert "losses in bits per character; *: the best model so far, which is kept" in told
    assert re.search(r"valid [▁-█]{4} from \d\.\d{3} to \d\.\d{3} bits per character", told)
    assert any(line.startswith("      | ") for line in lines)
    best = min(float(row[5 if columns == 80 else 4]) for row in rows)
    assert f"({best:.3f} bits/char)" in told
    starred = [row for row in rows if "*" in row]
    assert starred
    assert float(starred[-1][5 if columns == 80 else 4]) == best


def test_without_a_terminal_each_message_is_one_line(tmp_path, corpus):
    settings = ["--steps", "6", "--eval-every", "3", "--hidden", "16", "--layers", "1"]
    command = [sys.executable, "-m", "charlm", "train", corpus, "-m", tmp_path / "m", *settings]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, encoding="utf-8")
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("counts: alone,") and line.endswith(" MB")]
    assert not [line for line in lines if "\x1b" in line or "|█" in line]


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        ("a text in words", 8, ["a text", "  in", "  words"]),
        ("short", 8, ["short"]),
        ("", 8, [""]),
        ("abcdefghijkl", 5, ["abcde", "  fgh", "  ijk", "  l"]),
        ("一二三四五六", 7, ["一二三", "  四五", "  六"]),
        ("a  b", 8, ["a  b"]),
        ("to abcdefghij", 6, ["to", "  abcd", "  efgh", "  ij"]),
    ],
)
def test_lines_are_folded_between_words_or_else_characters(text, columns, lines):
    assert folded(text, columns, "  ") == lines


def test_the_time_that_is_left_goes_on_as_before():
    def progress(seconds, fraction):
        return Progress(1, 1, seconds, fraction, 0.0, 0.1, 1.0, 1.0, 1.0, False, False, {})

    assert _left(progress(30.0, 0.25)) == "1:30"
    assert _left(progress(100.0, 1.0)) == "0:00"
    assert _left(progress(0.0, 0.0)) == "-"


def test_answers_have_shares_in_percent_and_a_loss():
    assert row(0.985, None, nats=0.1) == ("98.50", "-", "0.1000")
    assert row(1.0, nats=None) == ("100.00", "-")


def test_bars_are_as_high_as_their_values():
    assert _bars_of([7.0, 0.0, 3.0, 1.0]) == "█▁▄▂"
    assert _bars_of([2.0, 2.0]) == "▁▁"
    assert _some(range(100), 4) == [0, 33, 66, 99]
    assert _some([1, 2, 3], 4) == [1, 2, 3]
