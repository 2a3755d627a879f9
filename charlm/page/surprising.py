"""What of a long text deserves a look: a strip of the whole, and its most surprising words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from charlm.page.markup import Attribute, Markup, join, table, tag
from charlm.page.parts import Parts, Reading

_BARS = 100
_WIDTH, _HEIGHT = 10, 60  # of a bar, of a strip, in its own units
_WORDS = 20  # that are listed
_LONGEST = 40  # characters that are shown of a word, and before it
_USUAL = 20  # characters: longer words on average are those of a script without spaces


def strips(readings: Sequence[Reading], parts: Parts) -> Markup:
    """Return a strip of the whole text for each reading, and for each but the first one of how the
    first differs from it.
    """
    lengths = np.array([len(part) for part in parts.shown])
    several = len(readings) > 1
    means = [_means(parts.sums(k, reading.bits), lengths) for k, reading in enumerate(readings)]
    names = [
        f"Bits per character along the text{f': {its.name}' if several else ''}" for its in readings
    ]
    first = readings[0].name
    for other, its in zip(means[1:], readings[1:], strict=True):
        means.append(means[0] - other)
        names.append(f"Bits per character along the text: {first} less {its.name}")
    return join(*(_strip(name, values) for name, values in zip(names, means, strict=False)))


def _means(bits: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the bits per character in each of _BARS stretches of as many parts."""
    count = min(_BARS, len(lengths))
    bar = np.arange(len(lengths)) * count // len(lengths)
    return np.bincount(bar, bits) / np.bincount(bar, lengths)


def _strip(name: str, values: NDArray[np.float64]) -> Markup:
    """Return bars up from zero, and down, with the same as a table."""
    top, bottom = max(float(values.max()), 0.0), min(float(values.min()), 0.0)
    scale = _HEIGHT / ((top - bottom) or 1.0)
    bars = [
        tag("rect", {
            "x": _WIDTH * k, "y": round(scale * (top - max(value, 0)), 2),
            "width": _WIDTH - 1, "height": round(scale * abs(value), 2),
            "class": ("less" if value < 0 else "more") if bottom < 0 else None,
        })
        for k, value in enumerate(values.tolist())
    ]  # fmt: skip
    box = {
        "viewBox": f"0 0 {_WIDTH * len(values)} {_HEIGHT}", "preserveAspectRatio": "none",
        "role": "img", "aria-label": f"{name}: from {values.min():.2f} to {values.max():.2f}",
    }  # fmt: skip
    rows: list[list[object]] = [
        [f"{100 * k / len(values):.0f} %", f"{value:.2f}"]
        for k, value in enumerate(values.tolist())
    ]
    header = ["From this place on", "Bits per character"]
    more = tag("details", None, tag("summary", None, "As a table"), table(name, header, rows))
    caption = f"{name}, from {values.min():.2f} to {values.max():.2f}"
    return tag(
        "figure", {"class": "strip"}, tag("svg", box, *bars), tag("figcaption", None, caption), more
    )


@dataclass
class _Word:
    """A word where it cost the most, by the parts that it is, and how often it stands in the
    text."""

    first: int
    last: int
    bits: float = -1.0
    times: int = 0


def surprising_words(reading: Reading, parts: Parts) -> Markup | None:
    """Return a table of the words of a text that cost a model the most, the worst first."""
    words = list(_words(parts.shown))
    alone = sum(len(part) for part in parts.shown) > _USUAL * len(words)
    if alone:  # no spaces between words: characters
        words = [(k, k + 1) for k, part in enumerate(parts.shown) if not part[-1].isspace()]
    found: dict[str, _Word] = {}
    sums = np.append(0, parts.sums(0, reading.bits).cumsum())
    for first, last in words:
        bits = float(sums[last] - sums[first])
        known = found.setdefault("".join(parts.shown[first:last]), _Word(first, last))
        known.times += 1
        if bits > known.bits:
            known.first, known.last, known.bits = first, last, bits
    worst = sorted(found.values(), key=lambda word: -word.bits)[:_WORDS]
    if not worst:
        return None
    title = f"The most surprising {'characters' if alone else 'words'}, where they surprised most"
    rows = [_row(its, parts) for its in worst]
    listed = table(title, ["The word, after what", "Bits", "Times in the text"], rows)
    return tag("div", {"class": "words"}, listed)


def _words(shown: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the first part of each word and that behind its last: what white space parts."""
    first = 0
    for k, part in enumerate([*shown, "\n"]):
        if part[-1].isspace():
            if first < k:
                yield first, k
            first = k + 1


def _row(its: _Word, parts: Parts) -> list[object]:
    shown, begin = parts.shown, its.first
    while begin and not shown[begin - 1].endswith("\n"):
        if sum(map(len, shown[begin - 1 : its.first])) > _LONGEST:
            break
        begin -= 1
    block = bisect_right(parts.blocks, its.first) - 1
    link: dict[str, Attribute] = {"href": f"#surprise-{block}", "data-part": its.first}
    word = tag("a", link, _short(shown[its.first : its.last]))
    place = tag("bdi", None, "".join(shown[begin : its.first]), word)
    return [place, f"{its.bits:.1f}", f"{its.times:,}"]


def _short(shown: Sequence[str]) -> str:
    """Return parts of a text as one, cut between them where they are many characters."""
    count = bisect_right(list(accumulate(map(len, shown))), _LONGEST)
    return "".join(shown[:count]) + ("…" if count < len(shown) else "")
