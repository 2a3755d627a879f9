"""Charts as SVG, in a page or in a file of their own: lines over one axis, with levels and marks.

Sizes are in units of the drawing, which a page scales to its width. Colours come from classes (`k0`
to `k5`), which the page's style or that of the file gives; lines also differ by their dashes, for
those who see no colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.page.markup import Attribute, Markup, join, tag

COLOURS = 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 44  # around the lines: room for the axes' words
_MOST_POINTS = 600  # of a line: more are not seen
_LETTER = 6.6  # the usual width of one
_LINE = 18  # of the legend
_DASHES = ("", "6 3", "2 2", "8 3 2 3", "12 4", "1 3")
_EDGE = 1e-12


@dataclass(frozen=True)
class Line:
    """A curve: `x` and `y` [n], y NaN where there is none. `faint` lies behind the others, `dotted`
    is a side matter.

    `dots` puts a dot at each point, where they are few.
    """

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    colour: int = 0
    faint: bool = False
    dotted: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Level:
    """A value that stays the same, drawn from edge to edge."""

    label: str
    y: float
    colour: int = 5


@dataclass(frozen=True)
class Mark:
    """A point of note, with a few words beside it."""

    label: str
    x: float
    y: float
    colour: int = 0


@dataclass(frozen=True)
class Chart:
    """What a chart shows. `x_name` and `y_name` are the axes' names with their units."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    levels: Sequence[Level] = ()
    marks: Sequence[Mark] = ()
    log: bool = False  # whether the upward axis is logarithmic
    wide: bool = True


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    length: float
    log: bool = False

    def at(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where values lie in the drawing."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        raised = np.log(np.maximum(values, self.low * _EDGE)) if self.log else values
        return self.start + self.length * (raised - low) / (high - low)

    def one(self, value: float) -> float:
        return float(self.at(np.array([value]))[0])

    def ticks(self) -> list[float]:
        """Return round numbers along the axis."""
        if self.log and self.high / self.low > 8:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1,) if self.high / self.low > 1e4 else (1, 2, 5)
            every = [factor * 10.0**power for power in powers for factor in factors]
            while sum(map(self._holds, every)) > 8:
                every = every[::2]
            return list(filter(self._holds, every))
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _holds(self, value: float) -> bool:
        return self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)


def drawn(chart: Chart, height: int | None = None) -> Markup:
    """Return a chart as an `svg` element with a title and its own legend."""
    width = 720 if chart.wide else 340
    entries = _named(chart)
    rows = _legend_rows(entries, width) if len(entries) > 1 else []
    top = _TOP + _LINE * len(rows)
    height = (height or (300 if chart.wide else 200)) + _LINE * len(rows)
    plot = width - _LEFT - _RIGHT, height - top - _BOTTOM
    x, y = _axes(chart, *plot)
    inside = [
        *(_level(level, y, plot[0]) for level in chart.levels),
        *(_line(line, x, y) for line in sorted(chart.lines, key=lambda line: not line.faint)),
        *(_mark(mark, x, y, plot[0]) for mark in chart.marks),
    ]
    frame = {"x": _LEFT, "y": top, "width": plot[0], "height": plot[1]}
    content = join(
        tag("title", None, chart.title),
        *(_legend_row(row, _TOP + _LINE * k) for k, row in enumerate(rows)),
        _grid(chart, x, y, top, plot),
        tag("svg", {**frame, "overflow": "hidden"}, *inside),
    )
    attributes: dict[str, Attribute] = {
        "viewBox": f"0 0 {width} {height}",
        "width": width,
        "height": height,
    }
    return tag(
        "svg",
        {
            "role": "img",
            "aria-label": chart.title,
            "class": f"chart {'broad' if chart.wide else 'small'}",
            **attributes,
        },
        content,
    )


def scrolling(chart: Chart) -> Markup:
    """Return a chart that scrolls by itself where the page is narrow."""
    own: dict[str, Attribute] = {"class": "wide", "tabindex": 0, "role": "region"}
    return tag("div", own | {"aria-label": chart.title}, drawn(chart))


def _named(chart: Chart) -> list[Line | Level]:
    """Return what the legend names."""
    entries: list[Line | Level] = [*chart.lines, *chart.levels]
    return [entry for entry in entries if entry.label]


def number(value: float) -> str:
    """Return a number in few digits: 12,000, 3.5, 0.002, 2e-07."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        digits = 0 if abs(value) >= 1000 else 4
        text = f"{value:,.{digits}f}" if abs(value) >= 100 else f"{value:.4g}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def _axes(chart: Chart, width: float, height: float) -> tuple[_Axis, _Axis]:
    across = np.concatenate([*(line.x[np.isfinite(line.y)] for line in chart.lines), [0.0]])
    low, high = _range(chart)
    return (
        _Axis(
            float(across.min()), 1.015 * float(across.max()) or 1.0, 0, width
        ),  # room for a mark at the end
        _Axis(low, high, height, -height, chart.log),
    )


def _range(chart: Chart) -> tuple[float, float]:
    """Return what the upward axis spans; the first steps, which lie far above the rest, may leave
    it."""
    values = [_above_zero(line.y, chart.log) for line in chart.lines]
    values = [
        each[len(each) // 20 :] if line.faint else each
        for line, each in zip(chart.lines, values, strict=True)
    ]
    levels = _above_zero(np.array([level.y for level in chart.levels]), chart.log)
    every = np.concatenate([*values, levels])
    if not every.size:
        return (1.0, 10.0) if chart.log else (0.0, 1.0)
    low, high = float(every.min()), float(every.max())
    if chart.log:
        return low / 1.1, high * 1.1
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return min(low, max(0.0, low - room)) if low >= 0 else low - room, high + room


def _above_zero(values: NDArray[np.float64], log: bool) -> NDArray[np.float64]:
    return values[np.isfinite(values) & ((values > 0) if log else True)]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(step, 1e-300)))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _grid(chart: Chart, x: _Axis, y: _Axis, top: float, plot: tuple[float, float]) -> Markup:
    width, height = plot
    parts = []
    for value in y.ticks():
        at = top + y.one(value)
        parts.append(_stroke("grid", _LEFT, at, _LEFT + width, at))
        parts.append(_words(number(value), _LEFT - 8, at + 4, "end"))
    for value in x.ticks():
        at = _LEFT + x.one(value)
        parts.append(_stroke("tick", at, top + height, at, top + height + 4))
        parts.append(_words(number(value), at, top + height + 17, "middle"))
    parts.append(_stroke("axis", _LEFT, top + height, _LEFT + width, top + height))
    parts.append(_words(chart.x_name, _LEFT + width / 2, top + height + 36, "middle"))
    middle = top + height / 2
    turned = {"transform": f"rotate(-90 14 {_short(middle)})"}
    return join(*parts, _words(chart.y_name, 14, middle, "middle", turned))


def _stroke(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return tag("line", {"class": kind, **{name: _short(value) for name, value in ends.items()}})


def _words(
    words: str, x: float, y: float, anchor: str, more: dict[str, str] | None = None
) -> Markup:
    place = {"x": _short(x), "y": _short(y), "text-anchor": anchor, **(more or {})}
    return tag("text", place, words)


def _line(line: Line, x: _Axis, y: _Axis) -> Markup:
    thin = thinned(line.x, line.y)
    kind = f"line k{line.colour % COLOURS}{' faint' if line.faint else ''}"
    points = [
        pair for pair in zip(x.at(thin[0]), y.at(thin[1]), strict=True) if math.isfinite(pair[1])
    ]
    path = " ".join(f"{_short(across)},{_short(up)}" for across, up in points)
    parts = [tag("polyline", {"class": kind, "points": path, "stroke-dasharray": _dash(line)})]
    if line.dots and len(points) <= 60:
        dot = f"dot k{line.colour % COLOURS}"
        parts += [
            tag("circle", {"class": dot, "cx": _short(across), "cy": _short(up), "r": 2.5})
            for across, up in points
        ]
    return join(*parts)


def thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], most: int = _MOST_POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the finite points of a curve; where there are more than `most`, the least and the
    largest of each stretch.

    So no peak is lost, and what is drawn lies where the curve is.
    """
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(x) <= most:
        return x, y
    kept = set[int]()
    for stretch in np.array_split(np.arange(len(x)), most // 2):
        kept |= {int(stretch[y[stretch].argmin()]), int(stretch[y[stretch].argmax()])}
    kept |= {0, len(x) - 1}
    chosen = np.array(sorted(kept))
    return x[chosen], y[chosen]


def _dash(line: Line) -> str | None:
    return "2 3" if line.dotted else _DASHES[line.colour % COLOURS] or None


def _level(level: Level, y: _Axis, width: float) -> Markup:
    at = y.one(level.y)
    kind = f"level k{level.colour % COLOURS}"
    ends: dict[str, Attribute] = {"x1": 0, "y1": _short(at), "x2": _short(width), "y2": _short(at)}
    return tag(
        "line", {"class": kind, **ends, "stroke-dasharray": "1 4", "stroke-linecap": "round"}
    )


def _mark(mark: Mark, x: _Axis, y: _Axis, width: float) -> Markup:
    across, up = x.one(mark.x), y.one(mark.y)
    room = _LETTER * len(mark.label) + 12
    anchor, shift = ("end", -8) if across + room > width else ("start", 8)
    ring: dict[str, Attribute] = {
        "cx": _short(across),
        "cy": _short(up),
        "r": 5,
        "class": f"mark k{mark.colour % COLOURS}",
    }
    lower = up + 18 if up < 24 else up - 9
    return join(
        tag("circle", ring), _words(mark.label, across + shift, lower, anchor, {"class": "said"})
    )


def _legend_rows(
    entries: Sequence[Line | Level], width: float
) -> list[list[tuple[float, Line | Level]]]:
    rows: list[list[tuple[float, Line | Level]]] = [[]]
    at = float(_LEFT)
    for entry in entries:
        needs = 34 + _LETTER * len(_clipped(entry.label)) + 14
        if rows[-1] and at + needs > width:
            rows.append([])
            at = float(_LEFT)
        rows[-1].append((at, entry))
        at += needs
    return rows


def _legend_row(row: list[tuple[float, Line | Level]], y: float) -> Markup:
    parts = []
    for at, entry in row:
        kind = f"k{entry.colour % COLOURS}"
        if isinstance(entry, Level):
            sample = {
                "class": f"level {kind}",
                "stroke-dasharray": "1 4",
                "stroke-linecap": "round",
            }
        else:
            faint = " faint" if entry.faint else ""
            sample = {"class": f"line {kind}{faint}", "stroke-dasharray": _dash(entry) or ""}
        sample = {name: value for name, value in sample.items() if value}
        ends = {"x1": _short(at), "y1": _short(y), "x2": _short(at + 26), "y2": _short(y)}
        parts.append(tag("line", {**sample, **ends}))
        parts.append(_words(_clipped(entry.label), at + 32, y + 4, "start"))
    return join(*parts)


def _clipped(label: str) -> str:
    return label if len(label) <= 40 else f"{label[:39]}…"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_STYLE = """
svg { background: #fff }
text { font: 12px system-ui, sans-serif; fill: #444b55 }
.said, .title { fill: #1c1f24; font-weight: 600 }
.grid { stroke: #d4d8de }
.axis, .tick { stroke: #565d68 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
.faint { stroke-width: 1; opacity: .55 }
.level, .mark { stroke-width: 2.5 }
.mark, .dot { fill: #fff }
.k0 { stroke: #0b57a4 } .k1 { stroke: #b3470b } .k2 { stroke: #1b7a4b }
.k3 { stroke: #8a3a9c } .k4 { stroke: #7a6200 } .k5 { stroke: #565d68 }
"""


def standalone(charts: Sequence[Chart], title: str) -> Markup:
    """Return charts as one drawing for a file: the wide ones below each other, the others side by
    side."""
    placed, at, width = [], 10.0, 720.0
    for chart in charts:
        if chart.wide:
            picture, height = drawn(chart), _height(chart)
            placed.append(_placed(chart.title, picture, 0, at))
            at += height + 34
    for k, chart in enumerate(small := [chart for chart in charts if not chart.wide]):
        across, down = k % 2, k // 2
        placed.append(_placed(chart.title, drawn(chart), 380 * across, at + 250 * down))
    height = at + 250 * math.ceil(len(small) / 2)
    attributes: dict[str, Attribute] = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {_short(width)} {_short(height)}",
        "width": _short(width),
        "height": _short(height),
        "role": "img",
    }
    return tag("svg", attributes, tag("title", None, title), tag("style", None, _STYLE), *placed)


def _height(chart: Chart) -> float:
    entries = _named(chart)
    rows = _legend_rows(entries, 720) if len(entries) > 1 else []
    return 300 + _LINE * len(rows)


def _placed(title: str, picture: Markup, x: float, y: float) -> Markup:
    moved = {"transform": f"translate({_short(x)} {_short(y)})"}
    return tag(
        "g",
        moved,
        _words(title, _LEFT, 12, "start", {"class": "title"}),
        tag("g", {"transform": "translate(0 18)"}, picture),
    )
