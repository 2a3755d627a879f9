"""A text coloured by surprise: how many bits each part of it cost each model, and what else the
model would have written there.

All figures are those of `charlm score --per-token`, rounded to hundredths of a bit; what several
tokens of a part cost is summed, and the worst of their ranks is the part's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.page.data import packed
from charlm.page.document import Section
from charlm.page.markup import Attribute, Markup, join, quoted, table, tag
from charlm.page.parts import Parts, Reading, hundredths, name_of, parts_of, smallest
from charlm.page.surprising import strips, surprising_words
from charlm.scoring import surprise_steps
from charlm.text.graphemes import ends as cluster_ends
from charlm.text.spans import utf8_lengths
from charlm.text.tokenizers import EOS

NAME, TITLE = "surprise", "A text, coloured by surprise"
MOST_BYTES = 200_000  # of the texts, in UTF-8
# Where each next step begins: ranks, and by how much two models differ, in units of the second of
# bits.
_RANKS, _DIFFERENCES = (2, 3, 6, 11, 101), (-4, -1, -0.25, 0.25, 1, 4)
_HOW_TO = (
    "Point at a place, tap it, or move with the arrow keys: what the model held to be most likely "
    "there is then shown here. Up and down go from line to line, n to the next great surprise."
)


def section(readings: Sequence[Reading], source: str) -> Section | None:
    """Return the section of texts that models read; None where nothing is in them. `source` says
    what the texts are: "the first 200,000 bytes of the validation part".
    """
    if not readings or not any(reading.tokens for reading in readings):
        return None
    parts = parts_of(readings)
    bits = surprise_steps(readings[0].tokenizer.kind)
    steps: dict[str, list[float]] = {
        "bits": bits,
        "rank": list(_RANKS),
        "difference": [bits[1] * each for each in _DIFFERENCES],
    }
    body = join(
        _figures(readings, source),
        _choice(readings),
        *(_legend(name, steps[name]) for name in steps),
        tag("div", {"class": "read"}, _text(parts), _place()),
        strips(readings, parts),
        surprising_words(readings[0], parts),
    )
    return Section(
        NAME, TITLE, body, _data(readings, parts, steps), ("surprise.js",), ("surprise.css",)
    )


class Beginning(NamedTuple):
    """The texts of a page: whether the last is cut, and whether these are all there are."""

    texts: list[str]
    cut: bool
    complete: bool


def beginning(texts: Iterable[str], most: int = MOST_BYTES) -> Beginning:
    """Return as many of the texts, from the first on, as make up `most` bytes.

    They are whole, unless the first is longer by itself: it is cut after a space, if there is one.
    """
    taken: list[str] = []
    for text in texts:
        size = int(utf8_lengths(text).sum())
        if size > most and not taken:
            return Beginning([_cut(text, most)], cut=True, complete=False)
        if size > most:
            return Beginning(taken, cut=False, complete=False)
        most -= size + 1
        taken.append(text)
    return Beginning(taken, cut=False, complete=True)


def _cut(text: str, most: int) -> str:
    end = int(np.searchsorted(utf8_lengths(text).cumsum(), most, "right"))
    whole = [0, *cluster_ends(text[: end + 1]).tolist()][-2]  # the last one may go on
    spaces = [match.end() for match in re.finditer(r"\s", text[:whole])]
    return text[: spaces[-1] if spaces and whole - spaces[-1] < most // 10 else whole]


def _figures(readings: Sequence[Reading], source: str) -> Markup:
    """Return what the texts are and what they cost each model, as a table."""
    rows: list[list[object]] = []
    for reading in readings:
        total = reading.total
        bits, perplexity = total.bits_per_char, total.perplexity
        rows.append([
            quoted(reading.name), f"{total.tokens:,}", f"{total.unknown:,}",
            f"– ({total.why_no_bits})" if bits is None else f"{bits:.4f}",
            "–" if perplexity is None else f"{perplexity:,.4f}", f"{total.logprob:,.2f}",
        ])  # fmt: skip
    header = [
        "Model", "Tokens", "Unknown", "Bits per character", "Perplexity", "Log-probability in nats",
    ]  # fmt: skip
    return table(source, header, rows)


def _choice(readings: Sequence[Reading]) -> Markup:
    """Return what chooses the figure that colours the text, and moves the cursor in it."""
    several = len(readings) > 1
    options = [
        tag("option", {"value": f"{name} {k}"}, text + (f": {reading.name}" if several else ""))
        for k, reading in enumerate(readings)
        for name, text in (("bits", "bits of surprise"), ("rank", "rank of what came"))
    ]
    first = readings[0].name
    options += [
        tag(
            "option", {"value": f"difference {k}"}, f"difference in bits: {first} less {other.name}"
        )
        for k, other in enumerate(readings[1:], start=1)
    ]
    moves = ("ArrowLeft", "Previous"), ("ArrowRight", "Next"), ("n", "Next great surprise")
    buttons = [tag("button", {"type": "button", "value": key}, text) for key, text in moves]
    choose = tag("label", None, "Colours show ", tag("select", None, *options))
    return tag("p", {"class": "choice", "hidden": True}, choose, *buttons)


def _legend(name: str, steps: Sequence[float]) -> Markup:
    """Return the legend of the colours: from where to where each step goes."""
    letter = "d" if name == "difference" else "s"
    ranges = enumerate(_ranges(name, steps))
    samples = [tag("span", {"class": f"{letter}{k}"}, f" {text} ") for k, text in ranges]
    title = {"bits": "Bits: ", "rank": "Rank: ", "difference": "Bits more or less: "}[name]
    attributes: dict[str, Attribute] = {
        "class": "legend",
        "data-legend": name,
        "hidden": name != "bits",
    }
    return tag("p", attributes, title, *(join(sample, " ") for sample in samples))


def _ranges(name: str, steps: Sequence[float]) -> Iterator[str]:
    shown = [f"{each:g}".replace("-", "−") for each in steps]
    if name == "rank":
        for low, high in pairwise([1, *map(int, steps)]):
            yield str(low) if high == low + 1 else f"{low}–{high - 1}"
    else:
        yield f"below {shown[0]}"
        yield from (f"{low} to {high}" for low, high in pairwise(shown))
    yield f"{shown[-1]} and more"


def _text(parts: Parts) -> Markup:
    """Return the texts in blocks, so that a browser draws only those that are looked at."""
    bounds = pairwise([*parts.blocks, len(parts.shown)])
    texts = ["".join(parts.shown[first:last]) for first, last in bounds]
    blocks = (tag("p", {"id": f"{NAME}-{k}"}, text) for k, text in enumerate(texts))
    label = "The text; the arrow keys move from token to token"
    return tag(
        "div", {"class": "text", "tabindex": 0, "role": "group", "aria-label": label}, *blocks
    )


def _place() -> Markup:
    """Return where the script shows what stands at a place."""
    return tag("div", {"class": "place", "hidden": True}, tag("p", {"class": "note"}, _HOW_TO))


def _data(
    readings: Sequence[Reading], parts: Parts, steps: dict[str, list[float]]
) -> dict[str, Any]:
    lengths = [len(part) + sum(character > "\uffff" for character in part) for part in parts.shown]
    return {
        "lengths": packed(smallest(lengths)),  # in UTF-16
        "blocks": parts.blocks,
        "steps": steps,
        "models": [_said(reading, parts.counts[k]) for k, reading in enumerate(readings)],
    }


def _said(reading: Reading, counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return what a model said of each token; names are places in a list of all there are."""
    places: dict[tuple[str, bool], int] = {}
    tokens, ending = reading.tokens, reading.tokenizer.token(EOS)

    def place(token: str, end: bool) -> int:
        return places.setdefault((token, end), len(places))

    own = [place(token.token, token.end) for token in tokens]
    best = [[place(name, name == ending) for name, _ in token.alternatives] for token in tokens]
    chances = np.exp([[logprob for _, logprob in token.alternatives] for token in tokens])
    return {
        "name": reading.name,
        "size": reading.tokenizer.size,
        "counts": packed(smallest(counts)),
        "bits": packed(hundredths(reading.bits)),
        "ranks": packed(smallest([token.rank for token in tokens])),
        "own": packed(smallest(own)),
        "best": packed(smallest(best)),
        "chances": packed(hundredths(100 * chances)),  # of a percent
        "unknown": [k for k, token in enumerate(tokens) if token.unknown],
        "names": [name_of(*its) for its in places],
    }
