r"""N-grams as an ARPA file, the text that kenlm, SRILM and others read; and theirs as a table.

    \data\
    ngram 1=5
    ngram 2=7

    \1-grams:
    -0.60205999	a	-0.30103000
    ...
    \end\

A line holds log10 p, the n-gram, and log10 of its back-off weight, left out where it is 0. Names of
tokens are those of names.py, in UTF-8. Of the texts' beginnings and ends:

- where the beginning is a counted context (lines), that context is <s>;
- else (documents) what follows <s> is what follows a newline, all n-grams that begin with one being
  written once more: so a query that begins with <s> agrees with charlm there too;
- <s> is never predicted: its log10 p is -99, as is the custom. </s> is predicted, and nothing
  follows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from charlm.counts.names import BEGIN, END
from charlm.counts.table import Counts
from charlm.errors import DataError
from charlm.nn.params import Array
from charlm.text.tokenizers import EOS

_NEVER = "-99"  # log10 of what has no probability
_LEAST = -99.0
_ONE = "0.00000000"  # log10 of the back-off weight of what nothing follows
_LINES = 10_000  # joined at a time
_LEAST_ORDERS = 2  # kenlm reads no file of 1-grams alone


def write_arpa(file: IO[bytes], counts: Counts, names: Sequence[str]) -> None:
    """Write a table as an ARPA file in UTF-8, under the names [V] of its tokens (`arpa_names`).

    log10 p has 8 decimals, from which any float32 p comes back. Raises DataError where n-grams go
    on after EOS, OSError as the file does.
    """
    for block in arpa_blocks(counts, names):
        file.write(block.encode())


def arpa_blocks(counts: Counts, names: Sequence[str]) -> Iterator[str]:
    """Yield the text of an ARPA file, many lines at a time (DataError as `write_arpa`)."""
    levels = _levels(counts)
    yield "\n\\data\\\n"
    for k, level in enumerate(levels, start=1):
        more = 1 if k == 1 else len(level.again)  # <s> itself, then what begins with it
        yield f"ngram {k}={len(level.token) + more}\n"
    texts = [""]
    for k, level in enumerate(levels, start=1):
        yield f"\n\\{k}-grams:\n"
        ends = map(names.__getitem__, level.token.tolist())
        before = map(texts.__getitem__, level.parent.tolist())
        texts = [f"{text} {end}" if text else end for text, end in zip(before, ends, strict=True)]
        lines = _unigrams(level, texts, counts.begin) if k == 1 else _section(level, texts)
        while block := "".join(itertools.islice(lines, _LINES)):
            yield block
        if k == 1:
            texts[EOS] = BEGIN
    yield "\n\\end\\\n"


@dataclass(frozen=True)
class _Level:
    """N-grams of one order as the table has them; parent: the place in the order before, of each [n].

    again: those that begin with the newline and stand under <s> once more.
    """

    parent: Array
    token: Array
    p: Array
    backoff: Array
    again: range


def _levels(counts: Counts) -> list[_Level]:
    """Cut a table into its orders, 2-grams among them though there be none."""
    sizes = [1, *counts.ngrams()]
    sizes += [0] * (1 + _LEAST_ORDERS - len(sizes))
    ends = np.cumsum(sizes)
    beyond = max(0, int(ends[-1]) - len(counts.children))  # nodes of the highest order
    children = np.concatenate([counts.children, np.zeros(beyond, counts.children.dtype)])
    backoff = np.concatenate([counts.backoff, np.ones(beyond, np.float32)])
    levels: list[_Level] = []
    again = range(0)
    for k, end in enumerate(ends[1:].tolist(), start=1):
        start = end - sizes[k]
        parent = np.repeat(np.arange(sizes[k - 1]), children[start - sizes[k - 1] : start])
        if k == 2 and counts.begin not in (None, EOS):
            again = range(counts.begin, counts.begin + 1)
        again = range(*np.searchsorted(parent, [again.start, again.stop]).tolist())
        own = slice(start - 1, end - 1)
        level = _Level(parent, counts.token[own], counts.p[own], backoff[start:end], again)
        levels.append(level)
    _refuse_after_end(levels, counts.begin)
    return levels


def _refuse_after_end(levels: list[_Level], begin: int | None) -> None:
    """Raise DataError where EOS stands inside an n-gram, which no text has and ARPA cannot spell."""
    for k, (level, after) in enumerate(itertools.pairwise(levels), start=1):
        if not (k == 1 and begin == EOS) and (level.token[after.parent] == EOS).any():
            raise DataError("its counts go on after a text's end: give a file as charlm wrote it")


def _unigrams(level: _Level, names: list[str], begin: int | None) -> Iterator[str]:
    """Yield the lines of 1-grams, and that of <s>, which has its back-off weight from the beginning's context."""
    weight = 1.0 if begin is None else float(level.backoff[begin])
    yield _line(_NEVER, BEGIN, _logarithms(np.array([weight]))[0])
    for k, line in enumerate(_section(level, names)):
        yield line if k != EOS else _line(line.split("\t")[0], END, _ONE)


def _section(level: _Level, texts: list[str]) -> Iterator[str]:
    """Yield the lines of an order, whose n-grams are `texts`."""
    p, backoff = _logarithms(np.minimum(level.p, 1)), _logarithms(level.backoff)
    yield from map(_line, p, texts, backoff)
    for place in level.again:
        text = f"{BEGIN} {texts[place].split(' ', 1)[1]}"
        yield _line(p[place], text, backoff[place])


def _line(p: str, text: str, backoff: str) -> str:
    return f"{p}\t{text}\n" if backoff == _ONE else f"{p}\t{text}\t{backoff}\n"


def _logarithms(values: Array) -> list[str]:
    """Return log10 of numbers as text, that of 0 as -99."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log10(values.astype(np.float64)), _LEAST)
    return [f"{value:.8f}" for value in (logs + 0.0).tolist()]
