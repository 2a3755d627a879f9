"""`charlm score` with several models: each text under every model, and how they stand to the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import shown_line, visible, write_line
from charlm.cli.formats import Totals, figure, share
from charlm.cli.records import to_json
from charlm.comparison import FEWEST_TEXTS, Comparison, Pair

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.scoring import Score

_WINDOW_TEXTS = 4096  # texts read before any model scores them

Row = Sequence["Score"]  # of one text, by each model


def rows_of(
    models: Sequence[Model], texts: Iterable[str], eos: bool, ready: Callable[[], bool]
) -> Iterator[tuple[Score, ...]]:
    """Score texts that can be read only once by every model, a window at a time."""
    rest = iter(texts)
    while window := list(_until_waiting(islice(rest, _WINDOW_TEXTS), ready)):
        yield from zip(*(model.scores(window, eos) for model in models), strict=True)


def _until_waiting(texts: Iterator[str], ready: Callable[[], bool]) -> Iterator[str]:
    for text in texts:
        yield text
        if not ready():
            return


def print_comparison(
    names: Sequence[str], models: Sequence[Model], rows: Iterable[Row], eos: bool, known: bool, as_json: bool
) -> None:
    """Print a row a text, and at the end what can be said of each model against the first.

    As JSON: an object a text (`text`, `logprob` and `unknown` by model, `best`), and last one with `comparisons`.
    """
    pairs = [Pair(models[0].tokenizer, model.tokenizer, known) for model in models[1:]]
    every = [Totals() for _ in models]
    for number, row in enumerate(rows):
        added = [pair.add(row[0], score) for pair, score in zip(pairs, row[1:], strict=True)]
        for total, score in zip(every, row, strict=True):
            total.add(score)
        if not as_json and not number:
            write_line("  ".join(f"{shown_line(name)[-14:]:>14}" for name in names) + "  text")
        write_line(to_json(_values(names, row, all(added))) if as_json else _row(row))
    if every[0].total is None:
        return
    _warn(names, models, every, eos)
    for name, pair in zip(names[1:], pairs, strict=True):
        _say(names[0], name, pair, eos, as_json)
    if as_json:
        by_model = [_total_values(name, total.total) for name, total in zip(names, every, strict=True)]
        found = [_pair_values(names[0], name, pair) for name, pair in zip(names[1:], pairs, strict=True)]
        write_line(
            to_json({"texts": every[0].count, "eos": eos, "totals": by_model, "comparisons": found})
        )


def _row(row: Row) -> str:
    return "  ".join(f"{score.logprob:14.4f}" for score in row) + f"  {visible(row[0].text, keep='')}"


def _values(names: Sequence[str], row: Row, comparable: bool) -> dict[str, Any]:
    values = [score.logprob for score in row]
    best = [name for name, value in zip(names, values, strict=True) if value == max(values)]
    return {
        "text": row[0].text,
        "logprob": values,
        "unknown": [score.unknown for score in row],
        "best": best[0] if comparable and len(best) == 1 else None,
    }


def _total_values(name: str, total: Score | None) -> dict[str, Any]:
    figures = ("logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char")
    return {"model": name} | {each: getattr(total, each) for each in figures}


def _pair_values(first: str, second: str, pair: Pair) -> dict[str, Any]:
    found = pair.verdict()
    values: dict[str, Any] = {"first": first, "second": second, "texts_known_to_both": pair.full}
    if found is None:
        return values | {"texts": 0, "better": None, "why_no_verdict": pair.why_no_verdict}
    return values | {
        "texts": found.texts,
        "better": None if not found.total else first if found.total > 0 else second,
        "ahead": found.better,
        "difference": found.total,
        "difference_per_text": found.mean,
        "difference_per_token": _per(found, pair.tokens) if pair.same_units else None,
        "difference_per_char": _per(found, pair.characters),
        "interval": None if found.low is None else [found.low, found.high],
    }


def _say(first: str, second: str, pair: Pair, eos: bool, as_json: bool) -> None:
    """Say how the first model stands to another; where nothing can be said, say so on stderr."""
    found = pair.verdict()
    names = f"{shown_line(first)} against {shown_line(second)}"
    if found is None:
        way = f"; --known compares the {pair.full:,} of {pair.texts:,} texts that are" if pair.full else ""
        way = way if pair.same_text and not pair.known_only else ""
        click.echo(f"charlm: {names}: no verdict, as {pair.why_no_verdict}{way}", err=True)
        return
    unit, count = ("token", pair.tokens) if pair.same_units else ("character", pair.characters)
    each = f"{figure(_per(found, count), '+')} a {unit}, ends of texts {'scored' if eos else 'not scored'}"
    texts = f"{found.texts:,} texts" + (f" known in full to both, of {pair.texts:,}" if pair.known_only else "")
    click.echo(
        f"{names}: {found.total:+.4f} nats in total ({each}), ahead in {found.better:,} of {texts}; "
        f"a text {found.mean:+.4f} nats ({_interval(found)})",
        err=as_json,
    )


def _interval(found: Comparison) -> str:
    if found.low is None:
        return f"no interval from fewer than {FEWEST_TEXTS} texts"
    return f"95 % interval {found.low:+.4f} to {found.high:+.4f}, paired bootstrap"


def _warn(names: Sequence[str], models: Sequence[Model], every: Sequence[Any], eos: bool) -> None:
    """Say on stderr what a reader of the figures must know."""
    for name, total in zip(names, every, strict=True):
        if total.total.unknown:
            count = f"{total.total.unknown:,} of {total.total.tokens:,} tokens ({share(total.total)})"
            click.echo(f"charlm: {shown_line(name)} does not know {count}", err=True)
    documents = [name for name, model in zip(names, models, strict=True) if model.language.document]
    if documents and len(documents) < len(names):
        what = "scored" if eos else "not scored, as it is not by such models unless --eos is given"
        click.echo(
            f"charlm: {shown_line(documents[0])} is a model of documents: the ends of texts are {what}",
            err=True,
        )
    words = [name for name, model in zip(names, models, strict=True) if model.tokenizer.kind == "word"]
    if words and len(words) < len(names):
        click.echo(
            f"charlm: {shown_line(words[0])} is a model of words: white space costs it nothing",
            err=True,
        )


def _per(found: Comparison, count: int) -> float | None:
    return found.total / count if count else None
