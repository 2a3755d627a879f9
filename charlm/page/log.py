"""The log of a run, as curves: what `log.jsonl` beside a model tells of how it was trained."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm import exchange
from charlm.ownership import LOG_FILE

Curve = NDArray[np.float64]

_MOST_NAMES = 40  # of figures that a line has: a log of charlm's has some 15
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LONGEST_SAMPLE = 2000  # characters
_MOST_SAMPLES = 200


@dataclass(frozen=True)
class LoggedSample:
    """A text that the model wrote when it had taken so many steps."""

    step: int
    text: str


@dataclass(frozen=True)
class Log:
    """The lines of a log: for each figure an array [lines], NaN where a line has none.

    `why_not` says why there is nothing, where that is so.
    """

    figures: Mapping[str, Curve] = field(default_factory=dict)
    samples: tuple[LoggedSample, ...] = ()
    why_not: str = ""

    def __len__(self) -> int:
        return len(self.figures["step"]) if self.figures else 0

    def __getitem__(self, name: str) -> Curve:
        """Return a figure's array [lines]; NaN alone for one that the log has not."""
        return self.figures.get(name, np.full(len(self), math.nan))

    def has(self, name: str) -> bool:
        """Return whether any line has the figure."""
        return bool(np.isfinite(self[name]).any())


def log_of(model: str | os.PathLike[str], facts: Mapping[str, Any]) -> Log:
    """Return the log beside a model (a directory or a file) whose facts are `facts`.

    A line that a crash has torn is left out, and so is whatever in a line is no number. A log of
    another run, which has other figures at the model's step, is none.
    """
    path = Path(model)
    file = exchange.current((path if path.is_dir() else path.parent) / LOG_FILE)
    try:
        if not stat.S_ISREG(
            os.stat(file).st_mode
        ):  # to open a named pipe would wait for its writer
            return Log(why_not=f"{LOG_FILE} beside the model is no file")
        with open(file, "rb") as lines:
            log = _of_lines(lines)
    except FileNotFoundError:
        return Log(why_not=f"there is no {LOG_FILE} beside the model, so its training is not known")
    except OSError as error:
        return Log(why_not=f"{LOG_FILE} beside the model cannot be read: {error.strerror or error}")
    if not len(log):
        return Log(why_not=f"{LOG_FILE} beside the model has no line of a run")
    if not _is_of(log, facts):
        return Log(why_not=f"{LOG_FILE} beside the model is of another run")
    return log


def _of_lines(lines: Iterator[bytes]) -> Log:
    columns: dict[str, list[float]] = {"step": []}
    samples: list[LoggedSample] = []
    for entry in filter(None, map(_entry, lines)):
        count = len(columns["step"])
        for name, value in entry.items():
            if name not in columns and len(columns) < _MOST_NAMES and _NAME.fullmatch(name):
                columns[name] = [math.nan] * count
            if name in columns:
                columns[name].append(_number(value))
        for values in columns.values():
            values += [math.nan] * (count + 1 - len(values))
        sample = entry.get("sample")
        if isinstance(sample, str) and len(samples) < _MOST_SAMPLES:
            samples.append(LoggedSample(entry["step"], sample[:_LONGEST_SAMPLE]))
    return Log({name: np.array(values) for name, values in columns.items()}, tuple(samples))


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(entry, dict) and type(entry.get("step")) is int and 0 < entry["step"] < 2**53
    return entry if known else None


def _number(value: object) -> float:
    """Return a figure; NaN for what is none."""
    if type(value) not in (int, float):
        return math.nan
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _is_of(log: Log, facts: Mapping[str, Any]) -> bool:
    """Return whether the log can be that of a model: its step is there, with the same validation
    figures."""
    names = [name for name in facts if name.startswith("valid_") and name in log.figures]
    expected = {name: _number(facts[name]) for name in names if facts[name] is not None}
    at = np.flatnonzero(log["step"] == facts.get("step"))
    if not expected:  # nothing was validated: the steps alone can tell
        return bool(log["step"][-1] >= facts.get("step", 0))
    return len(at) > 0 and all(log[name][at[-1]] == value for name, value in expected.items())
