"""`charlm score` with a tagger: the log-probability of the tags that each sentence of a file
has."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.asked import Asked
from charlm.cli.base import visible
from charlm.cli.label_scores import the_only
from charlm.cli.records import to_field, to_json
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.texts import STDIN, part_of_lines, tell_of_line_ends
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.tagger import Tagger, TagScore

_OF_TEXTS = (
    "eos", "corpus", "dynamic", "cache", "count_cache", "nbest", "weight", "known", "lines",
    "label", "html", "color",
)  # fmt: skip
_FIGURES = ("logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char")
_WHY_NO_BITS = "tags are scored, and no text"
_ROW = "{:>12} {:>8} {:>8}  {}"


def score_tags(asked: Asked, models: Sequence[Any]) -> None:
    """Print how probable the tags of each sentence are, which stand in its columns."""
    model: Tagger = the_only(asked, models, "tagger", "tags", _OF_TEXTS)
    if asked.file is None:
        raise UsageError("a tagger scores tags, which stand in columns: give --file FILE or -")
    if asked.file == STDIN:
        tell_what_is_awaited("tagged sentences")
    from charlm import tag_inputs

    shard = part_of_lines(asked.shard)
    incoming = tag_inputs.of_tagged(model.tags, asked.file, asked.encoding, shard, sys.stdout.flush)
    if incoming.lines:
        tell_of_line_ends(asked.file, incoming.lines)
    pairs = ((sentence.tokens, sentence.tags) for sentence in incoming.sentences)
    _print(model.scores(pairs, asked.per_token, incoming.ready), asked, model)


def _print(scores: Iterator[TagScore], asked: Asked, model: Tagger) -> None:
    """Print a line a sentence as `asked` has it, or a line a token, and at the end the totals."""
    form, between = asked.format, "" if model.tags.of_characters else " "
    nats, tags, unknown, count = 0.0, 0, 0, 0
    if form == "tsv":
        columns = (
            ("text_number", "token", "tag", "logprob") if asked.per_token else (*_FIGURES, "text")
        )
        sys.stdout.write("\t".join(columns) + "\n")
    for score in scores:
        if not count and form == "table":
            sys.stdout.write(_ROW.format("logprob", "tags", "unknown", "text") + "\n")
        count, nats = count + 1, nats + score.logprob
        tags, unknown = tags + len(score.tags), unknown + score.unknown
        text = between.join(score.tokens)
        if form == "json":
            sys.stdout.write(_json(score, text, asked.per_token) + "\n")
        elif form == "tsv":
            sys.stdout.write(_tsv(count, score, text, asked.per_token))
        else:
            sys.stdout.write(_table(score, text, asked.per_token))
    if count > 1 or unknown:
        sys.stdout.flush()  # where the product cannot be written, that alone is told
        texts = "sentence" if count == 1 else "sentences"
        of_tags = f"{tags:,} tags, {unknown:,} of them unknown"
        told = f"total of {count:,} {texts}: {nats:.4f} nats, {of_tags}"
        click.echo(told, err=True)


def _figures(score: TagScore) -> dict[str, Any]:
    """Return what the score of a text has, of its tags in place of its tokens."""
    found = {"logprob": score.logprob, "tokens": len(score.tags), "unknown": score.unknown}
    return dict.fromkeys(_FIGURES) | found


def _json(score: TagScore, text: str, per_token: bool) -> str:
    values = (
        {"text": text, "tags": score.tags}
        | _figures(score)
        | {"why_no_bits_per_char": _WHY_NO_BITS}
    )
    rows = _rows(score)
    tokens = [{"token": token, "tag": tag, "logprob": logp} for token, tag, logp in rows]
    return to_json(values | ({"per_token": tokens} if per_token else {}))


def _tsv(number: int, score: TagScore, text: str, per_token: bool) -> str:
    if not per_token:
        return "\t".join(map(to_field, (*_figures(score).values(), text))) + "\n"
    return "".join("\t".join(map(to_field, (number, *row))) + "\n" for row in _rows(score))


def _table(score: TagScore, text: str, per_token: bool) -> str:
    line = _ROW.format(
        f"{score.logprob:.4f}", len(score.tags), score.unknown, visible(text, keep="")
    )
    rows = _rows(score) if per_token else []
    each = (
        f"{'-' if logp is None else f'{logp:.4f}':>12} nats  {_shown(token, tag)}"
        for token, tag, logp in rows
    )
    return "".join(f"{row}\n" for row in (line, *each))


def _shown(token: str, tag: str) -> str:
    return f"{visible(token, keep='')}  {visible(tag, keep='') or '(keep)'}"


def _rows(score: TagScore) -> list[tuple[str, str, float | None]]:
    """Return token, tag and log p of each, nothing where that was not asked for."""
    return list(zip(score.tokens, score.tags, score.per_token, strict=False))
