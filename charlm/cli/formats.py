"""How scores are printed: for people, as JSON lines, as TSV, and as kenlm's `query` prints them."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from charlm.cli.base import visible
from charlm.cli.records import to_field, to_json

if TYPE_CHECKING:
    from charlm.scoring import Score, TokenScore

_COLUMNS = ("logprob", "tokens", "unknown", "perplexity", "ppl known", "bits/char")
_ROW = "{:>12} {:>8} {:>8} {:>11} {:>11} {:>10}  {}"
_FIGURES = ("logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char")
_KENLM_UNKNOWN, _KENLM_END = 0, 2  # kenlm's ids; ours follow, moved by one


class _Totals:
    """Adds up the scores that pass by."""

    def __init__(self, scores: Iterable[Score]) -> None:
        self._scores = scores
        self.total: Score | None = None
        self.count = 0

    def __iter__(self) -> Iterator[Score]:
        for score in self._scores:
            self.total, self.count = score if self.total is None else self.total + score, self.count + 1
            yield score


def print_table(scores: Iterable[Score], per_token: bool) -> None:
    """Print one score in full, or several as a table with their total."""
    every = _Totals(scores)
    rest = iter(every)
    first, second = next(rest, None), next(rest, None)
    if first is None:
        return
    if second is None:
        _print_one(first)
        return
    _write(_ROW.format(*_COLUMNS, "text"))
    for score in itertools.chain([first, second], rest):
        _write(_row(score, _shown(score.text)))
        for token in score.per_token:
            _write(_token_line(token))
    if every.total is not None:
        _write(_row(every.total, f"total of {every.count:,} texts"))


def print_json(scores: Iterable[Score], per_token: bool) -> None:
    """Print an object a text, and the total of several on stderr."""
    every = _Totals(scores)
    for score in every:
        _write(to_json(_values(score, per_token)))
    _summarise(every)


def print_tsv(scores: Iterable[Score], per_token: bool) -> None:
    """Print a header and a line for each text, or each token; tabs and newlines in texts as escapes, no value empty."""
    names = ("text_number", "token", "logprob", "bits", "rank", "unknown") if per_token else (*_FIGURES, "text")
    _write("\t".join(names))
    every = _Totals(scores)
    for number, score in enumerate(every, start=1):
        for token in score.per_token:
            _write_row(number, token.token, token.logprob, token.bits, token.rank, int(token.unknown))
        if not per_token:
            _write_row(*(getattr(score, name) for name in _FIGURES), score.text)
    _summarise(every)


def print_kenlm(scores: Iterable[Score], per_token: bool) -> None:
    """Print what `query -v sentence` prints, or `query -v word` with tokens: base 10, and a summary at the end."""
    every = _Totals(scores)
    for score in every:
        for place, token in enumerate(score.per_token, start=2):
            number = _KENLM_UNKNOWN if token.unknown else _KENLM_END if token.end else token.id + 1
            name = "</s>" if token.end else token.token
            sys.stdout.write(f"{name}={number} {place} {_float32(token.logprob / math.log(10))}\t")
        _write(f"Total: {_float32(score.log10)} OOV: {score.unknown}")
    total = every.total
    if total is not None:
        _write(f"Perplexity including OOVs:\t{_number(total.perplexity)}")
        _write(f"Perplexity excluding OOVs:\t{_number(total.perplexity_known)}")
        _write(f"OOVs:\t{total.unknown}\nTokens:\t{total.tokens}")


PRINTERS = {"table": print_table, "json": print_json, "tsv": print_tsv, "kenlm": print_kenlm}


def figure(value: float | None) -> str:
    """Return a figure for people."""
    return "-" if value is None else f"{value:,.4f}"


def _print_one(score: Score) -> None:
    for token in score.per_token:
        _write(_token_line(token))
    _write(f"log-probability  {score.logprob:.4f} nats ({score.log10:.4f} in log10)")
    _write(f"tokens           {score.tokens:,}, {score.unknown:,} unknown")
    known = f" ({figure(score.perplexity_known)} without unknown tokens)" if score.unknown else ""
    _write(f"perplexity       {figure(score.perplexity)}{known}")
    bits = f"- ({score.why_no_bits})" if score.why_no_bits else figure(score.bits_per_char)
    _write(f"bits per char    {bits}")
    if score.n_bytes is not None:
        _write(f"bits per byte    {figure(score.bits_per_byte)}")


def _token_line(token: TokenScore) -> str:
    others = "  ".join(f"{_shown(name)} {math.exp(logprob):.2f}" for name, logprob in token.alternatives)
    mark = "unknown" if token.unknown else ""
    line = f"{token.logprob:10.4f} nats {token.bits:8.3f} bits  rank {token.rank:<5,}"
    return f"{line} {_shown(token.token):<12} {mark:<8} best: {others}"


def _values(score: Score, per_token: bool) -> dict[str, Any]:
    values: dict[str, Any] = {"text": score.text} | {name: getattr(score, name) for name in _FIGURES}
    if score.why_no_bits:
        values["why_no_bits_per_char"] = score.why_no_bits
    if score.n_bytes is not None:
        values["bits_per_byte"] = score.bits_per_byte
    if per_token:
        values["per_token"] = [_token_values(token) for token in score.per_token]
    return values


def _token_values(token: TokenScore) -> dict[str, Any]:
    names = ("token", "id", "logprob", "bits", "rank", "unknown")
    best = [{"token": name, "logprob": logprob} for name, logprob in token.alternatives]
    return {name: getattr(token, name) for name in names} | {"alternatives": best}


def _row(score: Score, label: str) -> str:
    figures = (score.perplexity, score.perplexity_known, score.bits_per_char)
    return _ROW.format(f"{score.logprob:.4f}", score.tokens, score.unknown, *map(figure, figures), label)


def _summarise(every: _Totals) -> None:
    total = every.total
    if total is not None and every.count > 1:
        line = (
            f"total of {every.count:,} texts: {total.logprob:.4f} nats, {total.tokens:,} tokens, {total.unknown:,} "
            f"unknown, perplexity {figure(total.perplexity)}, bits per char {figure(total.bits_per_char)}"
        )
        click.echo(line, err=True)


def _write(line: str) -> None:
    """Write a line without flushing it, as a million of them need; the end of the command flushes."""
    sys.stdout.write(line + "\n")


def _write_row(*values: Any) -> None:
    _write("\t".join([to_field(value) for value in values]))


def _float32(value: float) -> str:
    """Return the shortest digits of a float32, which is what kenlm computes in."""
    return str(np.float32(value))


def _number(value: float | None) -> str:
    return "nan" if value is None else repr(value)


def _shown(text: str) -> str:
    """Show a text on one line, with nothing in it that drives a terminal."""
    return visible(text, keep="")
