"""`charlm score`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import GroupedCommand, model_option, option, visible
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.scoring import Score

_input = option("Input")
_figures = option("Figures")

_COLUMNS = ("logprob", "tokens", "unknown", "perplexity", "ppl known", "bits/char")
_ROW = "{:>12} {:>8} {:>8} {:>11} {:>11} {:>10}  {}"


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm score "a sentence" "another one"
  charlm score --per-token "a sentence"
  cat lines.txt | charlm score - --json > scores.jsonl""")  # fmt: skip
@click.argument("texts", nargs=-1, metavar="TEXT... | -")
@model_option()
@_input("--file", "path", metavar="FILE", help="Score a file: its lines, or the whole for a model of documents.")
@_input("--lines/--whole", "lines", default=None, help="Take --file by lines, or as one text.")
@_input("--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of the file.")
@_input("--corpus", metavar="FILE|valid|test", help="Score as training validates: a file, or a part of the run's own.")
@_figures("--eos/--no-eos", default=None, help="Score the end of each text. [default: for models of lines]")
@_figures("--per-token", is_flag=True, help="Also each token.")
@_figures("--json", "as_json", is_flag=True, help="One JSON object a text on stdout, the total on stderr.")
def score(
    texts: tuple[str, ...], model: str, path: str | None, lines: bool | None, encoding: str, corpus: str | None,
    eos: bool | None, per_token: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say how probable texts are under a model: each argument, each line of stdin (-), or a file."""
    if sum((bool(texts), path is not None, corpus is not None)) != 1:
        raise UsageError('give texts to score ("a sentence"), - for stdin, --file FILE or --corpus FILE')
    from charlm.model import load

    scores = _scores(load(model), model, texts, path, lines, encoding, corpus, eos, per_token)
    if as_json:
        _print_json(scores, per_token)
    else:
        _print_table(iter(scores), per_token)


def _scores(
    scorer: Model, model: str, texts: tuple[str, ...], path: str | None, lines: bool | None, encoding: str,
    corpus: str | None, eos: bool | None, per_token: bool,
) -> Iterable[Score]:  # fmt: skip
    """Return the scores that the arguments ask for."""
    from charlm import inputs

    if corpus is not None:
        return [inputs.score_corpus(scorer, Path(model), corpus, encoding)]
    if path is None:
        return scorer.scores(inputs.stdin_lines(scorer, encoding) if texts == ("-",) else texts, eos, per_token)
    if not scorer.language.document if lines is None else lines:
        return scorer.scores(inputs.file_lines(scorer, path, encoding), eos, per_token)
    if per_token:
        return scorer.scores([inputs.file_text(scorer, path, encoding)], eos, per_token)
    return [inputs.score_file(scorer, path, encoding, scorer.counts_eos(eos))]


def _print_json(scores: Iterable[Score], per_token: bool) -> None:
    total, count = None, 0
    for score in scores:
        click.echo(json.dumps(_values(score, per_token), ensure_ascii=False))
        total, count = score if total is None else total + score, count + 1
    if total is not None and count > 1:
        click.echo(_summary(total, count), err=True)


def _values(score: Score, per_token: bool) -> dict[str, Any]:
    names = ("text", "logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char")
    values: dict[str, Any] = {name: _finite(getattr(score, name)) for name in names}
    if score.why_no_bits:
        values["why_no_bits_per_char"] = score.why_no_bits
    if score.n_bytes is not None:
        values["bits_per_byte"] = score.bits_per_byte
    if per_token:
        values["per_token"] = [dataclasses.asdict(token) for token in score.per_token]
    return values


def _finite(value: Any) -> Any:
    """JSON has no infinity: a perplexity beyond float's range is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_one(score: Score, per_token: bool) -> None:
    for token in score.per_token if per_token else ():
        mark = "  unknown" if token.unknown else ""
        click.echo(f"{token.logprob:10.4f} nats {-token.logprob / math.log(2):8.3f} bits  {_shown(token.token)}{mark}")
    click.echo(f"log-probability  {score.logprob:.4f} nats ({score.log10:.4f} in log10)")
    click.echo(f"tokens           {score.tokens:,}, {score.unknown:,} unknown")
    known = f" ({_figure(score.perplexity_known)} without unknown tokens)" if score.unknown else ""
    click.echo(f"perplexity       {_figure(score.perplexity)}{known}")
    bits = f"- ({score.why_no_bits})" if score.why_no_bits else _figure(score.bits_per_char)
    click.echo(f"bits per char    {bits}")
    if score.n_bytes is not None:
        click.echo(f"bits per byte    {_figure(score.bits_per_byte)}")


def _print_table(scores: Iterator[Score], per_token: bool) -> None:
    """Print one score in full, or several as a table with their total."""
    first, second = next(scores, None), next(scores, None)
    if first is None:
        return
    if second is None:
        _print_one(first, per_token)
        return
    click.echo(_ROW.format(*_COLUMNS, "text"))
    total, count = None, 0
    for score in itertools.chain([first, second], scores):
        click.echo(_row(score, _shown(score.text)))
        for token in score.per_token:
            click.echo(f"{token.logprob:12.4f}  {_shown(token.token)}{'  unknown' if token.unknown else ''}")
        total, count = score if total is None else total + score, count + 1
    if total is not None:
        click.echo(_row(total, f"total of {count:,} texts"))


def _row(score: Score, label: str) -> str:
    figures = (score.perplexity, score.perplexity_known, score.bits_per_char)
    return _ROW.format(f"{score.logprob:.4f}", score.tokens, score.unknown, *map(_figure, figures), label)


def _summary(total: Score, count: int) -> str:
    return (
        f"total of {count:,} texts: {total.logprob:.4f} nats, {total.tokens:,} tokens, {total.unknown:,} unknown, "
        f"perplexity {_figure(total.perplexity)}, bits per char {_figure(total.bits_per_char)}"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _shown(text: str) -> str:
    """Show a text on one line, with nothing in it that drives a terminal."""
    return visible(text, keep="")
