"""What notebooks show of a model and of a score: tables, and a text whose surprises are underlined.

Neither style nor script, which sites that show notebooks take out, and no colours, which are wrong
on a dark ground: underlines and bold letters alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from charlm.markup import Markup, join, tag
from charlm.text.spans import Spans, units_of

_MOST = 2000  # parts of a text that are shown
_UNDERLINED, _BOLD = 4, 5  # steps of surprise


def as_table(caption: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return names and their values as an HTML table; what is None is left out."""
    body = (
        tag("tr", None, tag("th", None, name), tag("td", None, value))
        for name, value in rows
        if value is not None
    )
    return str(tag("table", None, tag("caption", None, caption), tag("tbody", None, *body)))


def as_text(
    text: str, tokens: Sequence[str], bits: Sequence[float], ends: bool, steps: Sequence[float]
) -> str:
    """Return a text in which what cost many bits is underlined, and what cost the most is bold too.

    `tokens` are those of the text, with `ends` its end after them, and `bits` what each cost; it is
    bold from the last of `steps` on. A character in several tokens is one, whose bits are summed.
    """
    parts = _parts(text, tokens[: len(tokens) - ends], bits)
    shown = [_marked(part, bisect_right(steps, cost)) for part, cost in parts[:_MOST]]
    if len(parts) > _MOST:
        shown.append(Markup(f"… and {len(parts) - _MOST:,} more"))
    elif ends:
        shown.append(_marked("¶", bisect_right(steps, bits[-1])))
    about = f"Underlined: {steps[3]:g} bits and more. Bold, too: {steps[4]:g} and more."
    return str(join(tag("pre", None, *shown), tag("p", None, tag("small", None, about))))


def _parts(text: str, tokens: Sequence[str], bits: Sequence[float]) -> list[tuple[str, float]]:
    """Return the parts of a text, and what each cost; tokens that do not stand there are parts
    themselves."""
    places, end = [], 0
    for token in tokens:
        start = text.find(token, end)
        if start < 0:  # bytes, or small letters for great ones
            return [(f"{token} ", cost) for token, cost in zip(tokens, bits, strict=False)]
        end = start + len(token)
        places.append((start, end))
    spans = Spans(*np.array(places, np.int64).reshape(-1, 2).T)
    ends = units_of(text, [spans])
    of_part = np.searchsorted(ends, spans.starts, "right")
    sums = np.bincount(of_part, bits[: len(tokens)], len(ends)).tolist()
    bounds = pairwise([0, *ends.tolist()])
    return [(text[a:b], cost) for (a, b), cost in zip(bounds, sums, strict=True)]


def _marked(part: str, step: int) -> Markup | str:
    """Return a part of a text underlined or bold, as its step of surprise is."""
    if step < _UNDERLINED:
        return part
    shown = part.replace("\n", "↵\n")
    return tag("u", None, tag("b", None, shown) if step >= _BOLD else shown)
