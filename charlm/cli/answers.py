"""How the answers of `charlm predict` are printed: for people, as TSV and as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import visible
from charlm.cli.records import to_field, to_json

if TYPE_CHECKING:
    from charlm.classifier import Answer

_FIGURES = ("surprise", "percentile")  # which only a language model of labelled texts has


def print_answers(
    answers: Iterable[Answer], form: str, top: int, longest: int = 0, surprise: bool = False
) -> None:
    """Print a line a text: `top` labels with their probabilities and the text, or an object (`form` json).

    With `surprise`, before the text how surprising it is and its percentile.

    Where fewer labels are as probable as asked for, NA stands in their place in TSV, - for people.
    At the end it is told on stderr how many texts were cut to the `longest` number of tokens.
    """
    line, count, cut = _LINES[form], 0, 0
    if form == "tsv":
        more = (name for k in range(2, top + 1) for name in (f"label_{k}", f"probability_{k}"))
        figures = _FIGURES if surprise else ()
        sys.stdout.write("\t".join(["label", "probability", *more, *figures, "text"]) + "\n")
    for answer in answers:
        sys.stdout.write(line(answer, top) + "\n")
        count, cut = count + 1, cut + answer.cut
    tell_of_cuts(cut, count, longest)


def tell_of_cuts(cut: int, count: int, longest: int) -> None:
    """Say how many of the texts were longer than what is read of one."""
    if cut:
        sys.stdout.flush()  # where the product cannot be written, that alone is told
        verb = "was" if cut == 1 else "were"
        texts = "text" if count == 1 else "texts"
        click.echo(
            f"charlm: {cut:,} of {count:,} {texts} {verb} longer than {longest:,} tokens and {verb} cut there",
            err=True,
        )


def _plain(answer: Answer, top: int) -> str:
    fields = [
        field for label, p in answer.labels for field in (visible(label, keep=""), f"{p:.4f}")
    ]
    fields += ["-"] * (2 * top - len(fields))
    if answer.surprise is not None:
        rank = "-" if answer.percentile is None else f"{answer.percentile:.1f}"
        fields += [f"{answer.surprise:.4f}", rank]
    return "\t".join([*fields, visible(answer.text, keep="\t")])


def _tsv(answer: Answer, top: int) -> str:
    values: list[Any] = [value for pair in answer.labels for value in pair]
    values += [None] * (2 * top - len(values))
    if answer.surprise is not None:
        values += [answer.surprise, answer.percentile]
    return "\t".join(map(to_field, [*values, answer.text]))


def _json(answer: Answer, _: int) -> str:
    labels = [{"label": label, "probability": p} for label, p in answer.labels]
    return to_json(
        {
            "text": answer.text, "label": answer.label, "probability": answer.probability, "labels": labels,
            "unknown": answer.unknown, "cut": answer.cut,
            **({} if answer.surprise is None else {name: getattr(answer, name) for name in _FIGURES}),
        }
    )  # fmt: skip


_LINES = {"plain": _plain, "tsv": _tsv, "json": _json}
