"""What a person sees of a run while it trains, on standard error: what was decided, a row of
figures for each evaluation, samples, on a terminal a bar, and at the end how it went."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charlm import config
from charlm.cli.base import visible
from charlm.cli.painting import folded
from charlm.cli.streams import bar_stream

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.training import Progress

_COLUMNS = 80  # of what does not say how wide it is
_NARROWEST = 20
_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 40  # evaluations that a sparkline shows
_ROOM_FOR_MORE = 60  # columns from which the bar's line says more than how long it takes
_SAMPLE = "      | "


class _Column(NamedTuple):
    """A column of the table; those of a lower rank stay when the terminal is narrow."""

    heading: str
    width: int
    rank: int
    value: str


class Display:
    """Shows a run, line by line: no line is wider than the terminal, if it is one."""

    def __init__(self, run: Run, quiet: bool) -> None:
        """Say what was decided."""
        from tqdm import tqdm

        self._run, self._quiet = run, quiet
        self._best, self._headed = "", False
        self._merits: list[str] = []
        self._terminal = sys.stderr.isatty()
        self._bars = bar_stream()
        self._bar: Any = None
        for line in [] if quiet else [*run.notes, *_facts(run)]:
            self._say(line)
        if self._terminal and not quiet:
            form = "{percentage:3.0f} %|{bar:10}|"
            self._bar = tqdm(total=1.0, leave=False, file=self._bars, bar_format=form)

    @property
    def _width(self) -> int | None:
        """How wide a line may be: as the terminal is by now; None for what is no terminal."""
        if not self._terminal:
            return None
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return max(_NARROWEST, (columns or _COLUMNS) - 1)

    def progress(self, progress: Progress) -> None:
        """Show what happened at a step."""
        if progress.valid is not None and progress.best:
            self._best = self._run.course.shown("valid", progress.valid)
        if self._bar is not None:
            self._move(progress)
        if progress.valid is not None and not self._quiet:
            self._evaluation(progress)

    def end(self, signal_number: int) -> None:
        """Say how the run went, and what to do with the model."""
        if self._bar is not None:
            self._bar.close()
        if self._quiet:
            return
        for line in (*self._sparkline(), *self._outcome(signal_number)):
            self._say(line)

    def _move(self, progress: Progress) -> None:
        """Show the time that is left in the bar's line, and if there is room for it, more."""
        train = self._run.course.training_value(progress.train_nats)
        more = f" step {progress.step:,}, train {train}"
        if progress.until_valid is not None:
            more += f", next valid in {_clock(progress.until_valid)}"
        room = self._width is not None and self._width >= _ROOM_FOR_MORE
        bar = f"{_left(progress)} left {{percentage:3.0f}} %|{{bar:10}}|"
        self._bar.bar_format = bar + (more if room else "")
        self._bar.update(max(0.0, min(1.0, progress.fraction) - self._bar.n))

    def _evaluation(self, progress: Progress) -> None:
        """Add a row to the table, and what the model writes by now."""
        columns = self._columns(progress)
        if not self._headed:
            self._headed = True
            self._say(f"{self._run.course.unit}; *: the best model so far, which is kept")
            self._say("".join(f"{column.heading:>{column.width}}" for column in columns))
        self._say("".join(f"{column.value:>{column.width}}" for column in columns))
        if progress.sample is not None:
            for line in visible(progress.sample).split("\n"):
                self._say(_SAMPLE + line, _SAMPLE)

    def _columns(self, progress: Progress) -> list[_Column]:
        """Return those columns of the row of an evaluation that the terminal has room for."""
        course, valid = self._run.course, progress.valid
        assert valid is not None
        first, *others = course.values("valid", valid)
        if math.isfinite(float("nan" if first == "-" else first.replace(",", ""))):
            self._merits.append(first)
        named, *more = course.headings
        columns = [
            _Column("left", 7, 0, _left(progress)),
            _Column("done", 6, 1, f"{100 * progress.fraction:.0f} %"),
            _Column("step", 10, 30, f"{progress.step:,}"),
            _Column("train", 9, 3, course.training_value(progress.train_nats)),
            _Column(f"{named}  ", 11, 2, first + (" *" if progress.best else "  ")),
            *(_Column(*each) for each in zip(more, [10] * 9, range(4, 13), others, strict=False)),
            _Column("tokens/s", 11, 31, f"{progress.tokens_per_second:,.0f}"),
        ]
        room = self._width or _COLUMNS - 1
        while sum(column.width for column in columns) > room and len(columns) > 1:
            columns.remove(max(columns, key=lambda column: column.rank))
        return columns

    def _sparkline(self) -> list[str]:
        """Return a line that shows the course of validation, if there is one."""
        if len(self._merits) < 3:
            return []
        course = self._run.course
        merits = [float(merit.replace(",", "")) for merit in self._merits]
        bars = _bars_of(_some(merits, min(_MOST_BARS, (self._width or _COLUMNS) // 3)))
        try:
            bars.encode(sys.stderr.encoding or "utf-8")
        except UnicodeEncodeError:
            return []
        course_of = f"from {self._merits[0]} to {self._merits[-1]} {course.merit_unit}"
        return [f"{course.headings[0]} {bars} {course_of}"]

    def _outcome(self, signal_number: int) -> list[str]:
        run, standing, path = self._run, self._run.standing, self._run.directory.path
        course, lines = run.course, []
        if run.valid is not None:
            figures, over = course.shown("valid", run.valid), f"{run.valid.count:,}"
            lines.append(f"valid {figures} over all {over} {course.counted}")
        if run.test is not None:
            figures = course.shown("test", run.test)
            lines.append(f"test {figures} over {run.test.count:,} {course.counted}")
        if standing.skipped:
            why = "their gradients not being finite: lower --lr"
            lines.append(f"{standing.skipped:,} steps were skipped, {why}")
        if signal_number and not run.settings.model.layers:
            why = "before all was counted and validated"
            return [*lines, f"interrupted {why}: nothing was saved"]
        if signal_number:
            onwards = f"go on with: charlm train -m {path} --resume"
            lines.append(f"interrupted at step {standing.step:,}; {onwards}")
        elif self._best:
            lines.append(
                f"best valid {self._best} at step {standing.best_step:,}, "
                f"after {standing.tokens:,} tokens in {_clock(standing.seconds)}"
            )
        return [*lines, f"the model is in {path}; {course.use} -m {path}"]

    def _say(self, text: str, indent: str = "  ") -> None:
        """Write a line, on a terminal in so many that none is too wide."""
        lines = [text] if self._width is None else folded(text, self._width, indent)
        said = "\n".join(line.rstrip() for line in lines)
        if self._bar is None:
            click.echo(said, err=True)
        else:
            self._bar.write(visible(said), file=self._bars)


def _facts(run: Run) -> list[str]:
    """Return lines on the corpus, the model and its training."""
    model, train, batches = run.settings.model, run.settings.train, run.lesson.train
    if not model.layers:
        return run.course.about()
    weights = sum(value.size for value in run.model.trained.tensors().values())
    flags = ("tie", "layer_norm", "residual")
    extra = [name.replace("_", " ") for name in flags if getattr(model, name)]
    top = [f"{model.head_layers} on top of {model.head_width}"] if model.head_layers else []
    said = "".join(f"{each}, " for each in [*extra, *top, *run.course.shape])
    ways = " in both directions" if model.bidirectional else ""
    return [
        *run.course.about(),
        f"model: {model.cell} {model.layers}x{model.hidden}{ways}, embedding {model.embedding}, "
        f"dropout {model.dropout:g}, {said}{weights:,} parameters",
        f"training: {train.optimizer}, lr {train.lr:g} ({train.schedule}), batches "
        f"{batches.shape}, {_limit(train)}, {run.model.trained.description}",
    ]


def _limit(train: config.TrainConfig) -> str:
    for name in config.LIMITS:
        value = getattr(train, name)
        if value is not None:
            return f"{value:,} {name}" if name == "steps" else f"{value:g} {name}"
    return "until patience ends"


def _left(progress: Progress) -> str:
    """Return how much time is left, supposing that it goes on as before; "-" if nobody knows."""
    if not progress.fraction:
        return "-"
    return _clock(progress.seconds * (1 - min(1.0, progress.fraction)) / progress.fraction)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _some(values: Sequence[float], most: int) -> list[float]:
    """Return `most` of the values, the first and the last among them, evenly apart."""
    if len(values) <= most:
        return list(values)
    return [values[round(k * (len(values) - 1) / (most - 1))] for k in range(most)]


def _bars_of(values: Sequence[float]) -> str:
    """Return a bar for each value, as high as it is between the least and the greatest.

    >>> _bars_of([3.0, 2.0, 1.0])
    '█▅▁'
    """
    least, span = min(values), max(values) - min(values)
    return "".join(_BARS[round((len(_BARS) - 1) * (value - least) / span)] if span else _BARS[0]
                   for value in values)  # fmt: skip
