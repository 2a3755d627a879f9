"""`charlm explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import as_utf8, model_option, option, visible
from charlm.cli.given import Given
from charlm.cli.label_scores import labelled_as
from charlm.cli.records import to_json
from charlm.cli.texts import TextsCommand, hint_at_files, texts_or_stdin
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.explanation import Explanation

_input = option("Input")
_output = option("Output")

_BACK = (1, 2, 3, 5, 10, 20, 30, 50, 70, 100, 150, 200)  # the steps that the table for people has


@click.command(cls=TextsCommand, epilog="""\b
Examples:
  charlm explain "the dogs which the old cat chased we"
  charlm explain --token 5 Tyrannosaurus
  charlm explain --json "a sentence" > explained.json
  charlm explain -- "-5 C\"""")  # fmt: skip
@click.argument("text", metavar="TEXT", callback=as_utf8)
@model_option()
@_input("--token", type=int, default=-1, metavar="N",
        help="Explain the Nth token, counted from 1, or below 0 from the end. [default: the last]")  # fmt: skip
@_input(
    "--label",
    metavar="L",
    callback=as_utf8,
    help="The text has this label (models of labelled texts).",
)
@_output("--top", type=int, default=10, show_default=True, metavar="K",
         help="Show the K earlier tokens that moved it most.")  # fmt: skip
@_output("--json", "as_json", is_flag=True, help="One JSON object, with all earlier tokens.")
def explain(text: str, model: str, token: int, label: str | None, top: int, as_json: bool) -> None:
    """Say what made a token of TEXT likely or not: which earlier ones, and from how far back.

    What an earlier token is worth is the gradient of log p times its vector: to first order, how
    many nats of log p would be lost without it. How far a model looks back is the gradient of a
    token's loss with respect to the state so many steps before: this token's, and the median and
    quartiles of all tokens of TEXT (of 200 where it has more). Counts beside the network have no
    part in this.
    """
    context = click.get_current_context()
    if texts_or_stdin(context, (text,))[1]:
        raise UsageError("explain takes a TEXT, not standard input: give the text itself")
    if as_json:
        Given(context).refuse("JSON has all earlier tokens", "top")
    if top < 1:
        raise UsageError(f"top must be at least 1, not {top}")
    hint_at_files((text,), "explained", "of charlm score reads")
    from charlm.explanation import explain as explained
    from charlm.loading import load_language

    opened = labelled_as(load_language(model), label)
    found = explained(opened, text, token)
    if as_json:
        click.echo(to_json(_values(found)))
        return
    for line in _lines(found, top):
        click.echo(line)
    if opened.counts is not None:
        click.echo(
            "charlm: of the network alone: counts look back at what they were counted by", err=True
        )


def _lines(found: Explanation, top: int) -> Iterator[str]:
    yield (
        f"token {found.place:,} of {found.tokens:,}: {_shown(found.token)}  "
        f"{found.logprob:.4f} nats  {found.bits:.3f} bits"
    )
    yield f"\n{'steps back':>10} {'nats':>10}  token"
    strongest = sorted(found.earlier, key=lambda one: -abs(one.worth))[:top]
    for one in strongest:
        yield f"{one.back:>10,} {one.worth:>+10.4f}  {_shown(one.token)}"
    columns = ("this token", "quartile", "median", "quartile", "tokens")
    yield f"\n{'steps back':>10} {' '.join(f'{name:>10}' for name in columns)}"
    for back, *figures, tokens in _reach(found):
        if back in _BACK:
            shown = ("-" if value is None else f"{value:.2e}" for value in figures)
            yield f"{back:>10,} {' '.join(f'{value:>10}' for value in shown)} {tokens:>10,}"
    if found.seq_len is not None:
        yield f"\ntraining cut the gradients after {found.seq_len:,} steps"


def _reach(found: Explanation) -> Iterator[tuple[Any, ...]]:
    """Yield for each number of steps back the gradient of this token, the quartiles of all, and of
    how many.
    """
    own = [one.gradient for one in found.earlier]
    quartiles = found.memory.quartiles.T.tolist()
    for k, (values, tokens) in enumerate(zip(quartiles, found.memory.tokens.tolist(), strict=True)):
        yield k + 1, own[k] if k < len(own) else None, *values, tokens


def _values(found: Explanation) -> dict[str, Any]:
    earlier = [
        {name: getattr(one, name) for name in ("token", "place", "back", "worth", "gradient")}
        for one in found.earlier
    ]
    names = ("back", "gradient", "lower_quartile", "median", "upper_quartile", "tokens")
    memory = [dict(zip(names, row, strict=True)) for row in _reach(found)]
    own = {
        name: getattr(found, name)
        for name in ("text", "token", "place", "tokens", "logprob", "bits", "seq_len")
    }
    return own | {"earlier": earlier, "memory": memory}


def _shown(token: str) -> str:
    """Show a token in quotes on one line, with nothing in it that drives a terminal."""
    return f'"{visible(token, keep="")}"'
