"""Memory that can be seen: how fast gradients vanish, model beside model, and what moved a single
token.

The curves are those of Hochreiter (1991) and of Pascanu, Mikolov and Bengio (2013), measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inspection import (
    MOST_BACK,
    Inspection,
    Memory,
    inspect,
    memory_of,
    spread,
    steps_learnt,
)
from charlm.model import Model
from charlm.page.data import packed
from charlm.page.document import Section, absent
from charlm.page.markup import Markup, join, quoted, table, tag
from charlm.page.parts import name_of
from charlm.page.passage import coloured, legend, passage_of
from charlm.page.svg import Chart, Line, scrolling

NAME, TITLE = "memory", "Memory, measured"
_TOKENS = 5000  # of the texts, from which those whose gradients are taken are spread
_PASSAGE, _BACK = 250, 100  # tokens that are explained one by one, and how far back each
_ROWS = (1, 2, 5, 10, 20, 50, 100, 150, 200)
_FADED = 0.01  # of the gradient of one step before
_FLOOR = 1e-12  # the smallest length that is drawn
_LENGTH = "gradient's length, nats per unit of the state"
_HOW_TO = "Click a token, or go there with the arrow keys: what was read before it is coloured by what it is worth."


@dataclass(frozen=True)
class _Curve:
    """The memory of a model, by its name, and after how many steps its training cut gradients."""

    name: str
    memory: Memory
    cut: int | None

    @property
    def faded(self) -> int | None:
        """The first step back at which the median is below a hundredth of that of one step."""
        median = self.memory.quartiles[1]
        below = np.flatnonzero(median < _FADED * median[:1])
        return int(below[0]) + 1 if len(below) else None


def section(named: Sequence[tuple[str, Model]], texts: Sequence[str], source: str) -> Section:
    """Return the section of how far back models look in texts; `named` are models with their names.

    `source` says what the texts are: "the validation part". One token is explained by the first
    model that has a network.
    """
    networks = [(name, model) for name, model in named if model.config.layers]
    if not networks:
        return absent(
            NAME, TITLE, "Counts alone have no states, and so no gradients with respect to them."
        )
    curves = [_curve(name, model, texts) for name, model in networks]
    if not any(curve.memory.tokens.size for curve in curves):
        return absent(NAME, TITLE, "There is no text here that is long enough to look back in.")
    explained, data = _explained(*networks[0], texts)
    body = join(
        tag(
            "p", None,
            f"How strongly the loss of a token in {source} still depends on the state so many steps before: the "
            "length of the gradient, over the states of all layers, as the median of up to 200 tokens "
            "and, thin, their quartiles. A line that falls fast forgets fast: gradients that "
            "vanish cannot teach. Where training cut the gradients, an upright line stands: what lies to "
            "its right was never taught by a gradient, only carried. Counts have no part in it.",
        ),
        tag("figure", None, scrolling(_chart(curves))),
        *(tag("p", None, *_summary(curve)) for curve in curves),
        *(_figures(curve) for curve in curves),
        explained,
    )  # fmt: skip
    return Section(
        NAME,
        TITLE,
        body,
        data,
        ("passage.js", "memory.js"),
        ("curves.css", "surprise.css", "units.css"),
    )


def _curve(name: str, model: Model, texts: Sequence[str]) -> _Curve:
    passage = passage_of(model.tokenizer, texts, _TOKENS)
    if not passage.texts:
        return _Curve(name, memory_of(np.zeros((0, MOST_BACK))), steps_learnt(model))
    inspection = inspect(model, passage.texts)
    slope = inspection.recall(spread(_old(inspection))).slope
    return _Curve(name, memory_of(slope), steps_learnt(model))


def _old(inspection: Inspection) -> NDArray[np.int64]:
    """Return the tokens that have as much before them as is looked back, all where few have."""
    tokens = inspection.tokens
    old = tokens[tokens - inspection.texts.begins[tokens] >= MOST_BACK]
    return old if 2 * len(old) >= len(tokens) else tokens


def _summary(curve: _Curve) -> Iterator[object]:
    yield quoted(curve.name)
    if not len(curve.memory.tokens):
        yield ": the text is too short"
        return
    if curve.faded is None:
        yield f": after {len(curve.memory.tokens)} steps more than a hundredth of the gradient of one step is left"
    else:
        yield f": less than a hundredth of the gradient of one step is left after {curve.faded} steps"
    yield "" if curve.cut is None else f"; training cut the gradients after {curve.cut} steps"


def _figures(curve: _Curve) -> Markup:
    header = ["Steps back", "Lower quartile", "Median", "Upper quartile", "Tokens"]
    rows: list[list[object]] = [
        [f"{k}", *(f"{value:.2e}" for value in quartiles), f"{tokens:,}"]
        for k, (quartiles, tokens) in enumerate(
            zip(curve.memory.quartiles.T.tolist(), curve.memory.tokens.tolist(), strict=True),
            start=1,
        )
        if k in _ROWS
    ]
    caption = f"Length of the gradient in nats per unit of the state: {curve.name}"
    summary = tag("summary", None, "The figures of ", quoted(curve.name))
    return tag("details", None, summary, table(caption, header, rows))


def _chart(curves: Sequence[_Curve]) -> Chart:
    """Return medians and quartiles over the steps back, on a scale of powers of ten, and where
    training cut.
    """
    drawable = [curve for curve in curves if len(curve.memory.tokens)]
    lines = [line for number, curve in enumerate(drawable) for line in _lines(curve, number)]
    ends = np.concatenate([line.y for line in lines])
    far = max(len(curve.memory.tokens) for curve in drawable)
    for cut in sorted({curve.cut for curve in curves if curve.cut and curve.cut <= far}):
        whose = ", ".join(curve.name for curve in curves if curve.cut == cut)
        label = f"gradients cut after {cut} steps" + (f": {whose}" if len(curves) > 1 else "")
        upright = np.array([ends.min(), ends.max()])
        lines.append(Line(label, np.array([cut, cut], float), upright, colour=5, dotted=True))
    title = "How strongly the loss of a token depends on the state before"
    return Chart(title, "steps back", _LENGTH, lines, log=True)


def _lines(curve: _Curve, number: int) -> Iterator[Line]:
    back = np.arange(1, len(curve.memory.tokens) + 1, dtype=np.float64)
    names = ("", f"{curve.name}: median, and quartiles", "")
    for name, values in zip(names, np.maximum(curve.memory.quartiles, _FLOOR), strict=True):
        yield Line(name, back, values, number, faint=not name)


def _explained(name: str, model: Model, texts: Sequence[str]) -> tuple[Markup, dict[str, Any]]:
    """Return a passage in which the tokens before one are coloured by what they are worth to it."""
    passage = passage_of(model.tokenizer, texts, _PASSAGE)
    inspection = inspect(model, passage.texts)
    steps = inspection.tokens
    found = inspection.recall(steps, _BACK)
    worth = np.nan_to_num(found.worth)
    pieces = [piece for text in passage.texts for piece in model.tokenizer.pieces(text)]
    chosen = int(np.argmax(np.abs(worth[:, 10:]).sum(axis=1)))
    # of each token what it is worth to the chosen one: that read k steps before stands k + 1 before
    # it
    ago = chosen - 1 - np.arange(len(pieces))
    age = steps - inspection.texts.begins[steps]
    before = (ago >= 0) & (ago < min(_BACK, int(age[chosen])))
    values = np.where(before, worth[chosen, np.clip(ago, 0, _BACK - 1)], 0.0)
    shown = coloured(passage.shown, passage.of_part(values), float(np.abs(values).max()))
    body = join(
        tag("h3", None, "What moved one token"),
        tag(
            "p", None,
            "Each token that ", quoted(name), " read is worth so many nats of the log-probability of the one in "
            "question: to first order, what would be lost without it (gradient times input). Orange made it "
            "more likely, blue less.",
        ),
        tag("p", {"class": "watched"}, _told(pieces[chosen], -float(found.nats[chosen]))),
        legend("less likely", "more likely"),
        tag("div", {"class": "text", "dir": "auto"}, tag("p", None, *shown)),
        tag("p", {"class": "note", "hidden": True}, _HOW_TO),
    )  # fmt: skip
    data = {
        "parts": passage.shown,
        "read": packed(passage.read.astype(np.uint16)),
        "names": [name_of(piece) for piece in pieces],
        "age": packed(np.minimum(age, _BACK).astype(np.uint8)),
        "worth": packed(worth.astype(np.float16)),
        "logprob": packed((-found.nats).astype(np.float32)),
        "chosen": chosen,
    }
    return body, data


def _told(token: str, logprob: float) -> str:
    return f"{name_of(token)}, log-probability {logprob:.2f} nats"
