"""Units that can be watched: a text coloured by what one of them holds, and what each of them
follows.

Colouring a text by a unit's value is of Karpathy, Johnson and Fei-Fei (2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.cells import CELLS
from charlm.following import Follower, followers, properties
from charlm.inspection import Inspection, inspect
from charlm.model import Model
from charlm.page.data import packed
from charlm.page.document import Section, absent
from charlm.page.markup import Markup, join, quoted, table, tag
from charlm.page.passage import Passage, coloured, legend, passage_of

NAME, TITLE = "units", "Units that can be watched"
MOST_TOKENS = 5000
_MOST_BYTES = 6_000_000  # of the values of all units, a byte each
_BEST = 3  # units that are named for each property
_STATIC = 600  # parts that stand coloured without the script
_LEVELS = 127  # values are whole numbers from -127 to 127 in the page
_HOW_TO = (
    "Click a place in the text, or go there with the arrow keys; click again with Shift for a stretch. "
    "Mark stretches in which a unit should be high, and others in which it should be low: the "
    "units that differ most between the two are then listed first."
)


@dataclass(frozen=True)
class _Tracks:
    """What can be watched: names, the unit that each is of, and values [tokens, tracks].

    `middle` [tracks] is the value that has no colour: a half for gates, which go from 0 to 1, and
    0 for all else.
    """

    names: list[str]
    units: NDArray[np.int64]
    middle: NDArray[np.floating]
    values: NDArray[np.floating]

    def only(self, kept: NDArray[np.int64]) -> _Tracks:
        names = [self.names[k] for k in kept]
        return _Tracks(names, self.units[kept], self.middle[kept], self.values[:, kept])

    @property
    def reach(self) -> NDArray[np.floating]:
        """How far each goes from its middle: a half or 1, but for units that know no bound."""
        found = np.abs(self.values - self.middle).max(axis=0)
        return np.asarray(np.maximum(found, np.where(self.middle > 0, 0.5, 1)))


def section(model: Model, texts: Sequence[str], source: str, name: str = "") -> Section:
    """Return the section of a model's units, as they read the beginning of texts.

    `source` says what the texts are: "the validation part"; `name` is the model's, where there are
    several.
    """
    config = model.config
    if not config.layers:
        return absent(NAME, TITLE, "This model is counts alone, which have no units.")
    units = config.layers * config.hidden
    passage = passage_of(model.tokenizer, texts, min(MOST_TOKENS, _MOST_BYTES // units))
    if not len(passage.first):
        return absent(NAME, TITLE, "There is no text here by which units could be watched.")
    every = _tracks(inspect(model, passage.texts))
    found = _followers(every, passage)
    told = [one.unit for best in found.values() for one in best]
    named = np.isin(every.units, every.units[told])  # whose gates come along
    kept = np.flatnonzero(named | (np.arange(len(every.names)) < units))
    tracks, place = every.only(kept), dict(zip(kept.tolist(), range(len(kept)), strict=True))
    order = list(dict.fromkeys(place[k] for k in told)) or [0]
    body = join(
        tag("p", None, *_about(passage, source, name, units, CELLS[config.cell].states)),
        _table(found, every, place),
        _text(passage, tracks, order[0]),
    )
    styles = ("surprise.css", "units.css")
    return Section(
        NAME, TITLE, body, _data(passage, tracks, order), ("passage.js", "units.js"), styles
    )


def _tracks(inspection: Inspection) -> _Tracks:
    """Return the states of all units, and then the gates."""
    config, seen, read = inspection.config, inspection.trace, inspection.read
    kind, shape = CELLS[config.cell], (len(read), -1)
    cell = kind.states == 2  # an LSTM's h is c, let through by a gate
    states = np.tanh(seen.states[1][read]) if cell else seen.states[0][read]
    units = np.arange(config.layers * config.hidden).reshape(config.layers, 1, config.hidden)
    gates = np.broadcast_to(units, (config.layers, len(kind.gate_names), config.hidden))
    parts = np.array([part if part == "candidate" else f"{part} gate" for part in kind.gate_names])
    middle = np.array([0.0 if part == "candidate" else 0.5 for part in kind.gate_names])
    names = [_name(k, "memory" if cell else "state", config.hidden) for k in units.ravel().tolist()]
    of_gates = np.broadcast_to(parts[:, None], gates.shape).ravel().tolist()
    names += [
        _name(k, part, config.hidden)
        for k, part in zip(gates.ravel().tolist(), of_gates, strict=True)
    ]
    return _Tracks(
        names,
        np.concatenate([units.ravel(), gates.ravel()]),
        np.concatenate(
            [np.zeros(units.size), np.broadcast_to(middle[:, None], gates.shape).ravel()]
        ),
        np.concatenate([states.reshape(shape), seen.gates[read].reshape(shape)], axis=1),
    )


def _name(unit: int, part: str, hidden: int) -> str:
    layer, number = divmod(unit, hidden)
    return f"layer {layer + 1}, unit {number + 1}, {part}"


def _followers(every: _Tracks, passage: Passage) -> dict[str, list[Follower]]:
    return {
        name: followers(every.values, wanted[passage.first], _BEST)
        for name, wanted in properties(passage.joined).items()
    }


def _about(passage: Passage, source: str, name: str, units: int, states: int) -> list[object]:
    of = [" of ", quoted(name)] if name else []
    what = "memories c, as tanh c" if states == 2 else "states h"
    return [
        f"What the {units:,} units", *of, f" hold after each of {len(passage.first):,} tokens of {source}: "
        f"their {what}, and the gates of the units named here. A unit is chosen by its correlation with "
        "a property on the first half of these tokens; the last column is its correlation on the second "
        "half, which had no part in the choice. Correlation is no cause: that the network needs the "
        "unit for this is not said.",
    ]  # fmt: skip


def _table(found: dict[str, list[Follower]], every: _Tracks, place: dict[int, int]) -> Markup:
    rows: list[list[object]] = []
    for name, best in found.items():
        if not best:
            rows.append([name, "none: not in these tokens", "–", "–"])
        for one in best:
            what = tag("span", {"data-track": place[one.unit]}, every.names[one.unit])
            figures = (one.chosen, one.measured)
            rows.append([name, what, *(f"{r:+.2f}".replace("-", "−") for r in figures)])
    header = ["Property", "Unit", "First half", "Second half"]
    return table("Units by their correlation with what can be named", header, rows)


def _text(passage: Passage, tracks: _Tracks, first: int) -> Markup:
    """Return the beginning of the text as it is coloured by one unit, all of it to the script."""
    values = passage.of_part(tracks.values[:, first] - tracks.middle[first])[:_STATIC]
    colours = coloured(passage.shown[:_STATIC], values, float(tracks.reach[first]))
    more = "…" if len(passage.shown) > _STATIC else None
    return join(
        tag("p", {"class": "watched"}, tracks.names[first]),
        legend("low", "high"),
        tag("div", {"class": "text", "dir": "auto"}, tag("p", None, *colours, more)),
        tag("div", {"class": "watch", "hidden": True}, tag("p", {"class": "note"}, _HOW_TO)),
    )


def _data(passage: Passage, tracks: _Tracks, order: list[int]) -> dict[str, Any]:
    reach = tracks.reach
    levels = np.round(_LEVELS * (tracks.values - tracks.middle) / reach).T.astype(np.int8)
    return {
        "parts": passage.shown,
        "read": packed(passage.read.astype(np.uint16)),
        "names": tracks.names,
        "values": packed(levels),
        "middle": packed(tracks.middle.astype(np.float32)),
        "reach": packed(reach.astype(np.float32)),
        "order": order,
    }
