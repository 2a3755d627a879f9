"""`charlm score --nbest`: lists of candidates, re-ordered by another score and the model's."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from charlm.cli.records import to_field, to_json
from charlm.errors import DataError

if TYPE_CHECKING:
    from charlm.scoring import Score


class Entry(NamedTuple):
    """A line of a list: which list, the other score and how it is written there, the text."""

    list: str
    other: float
    written: str
    text: str


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Read lists from lines of list, TAB, score, TAB, text, which may have tabs of its own (DataError)."""
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition("\t")
        other, tab, text = rest.partition("\t")
        try:
            value = float(other)
        except ValueError:
            value = math.nan
        if not tab or math.isnan(value):
            raise DataError(f"line {number} is not: list, TAB, score, TAB, text")
        yield Entry(name, value, other, text)


def print_lists(scored: Iterable[tuple[Entry, Score]], weight: float, form: str) -> None:
    """Print lists re-ordered, best first, each as soon as it is over: list, total, other score, log-probability, text.

    The other score is written as the list has it. The text is the last field and may have tabs, as it may in the
    lists; `form` tsv escapes it, json gives objects.
    """
    if form == "tsv":
        sys.stdout.write("list\ttotal\tscore\tlogprob\ttext\n")
    for _, group in itertools.groupby(scored, key=lambda pair: pair[0].list):
        rows = [(entry.other + weight * score.logprob, entry, score.logprob) for entry, score in group]
        for total, entry, logprob in sorted(rows, key=lambda row: -row[0]):
            sys.stdout.write(_line(total, entry, logprob, form) + "\n")


def _line(total: float, entry: Entry, logprob: float, form: str) -> str:
    if form == "json":
        return to_json(
            {"list": entry.list, "total": total, "score": entry.other, "logprob": logprob, "text": entry.text}
        )
    shown = to_field if form == "tsv" else str
    return "\t".join([shown(entry.list), f"{total:.6f}", shown(entry.written), f"{logprob:.6f}", shown(entry.text)])
