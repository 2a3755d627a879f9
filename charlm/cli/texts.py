"""Texts of a command line, of standard input or of a file: what the commands that take them have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import GroupedCommand, visible
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.text.sequences import Kind
    from charlm.text.stream import InOrder

STDIN = "-"
_AFTER_DASHES = "charlm.after_dashes"


class TextsCommand(GroupedCommand):
    """A command of texts, which may look like options: after -- all of them are texts, and so is -."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_AFTER_DASHES] = len(args) - args.index("--") - 1 if "--" in args else 0
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            how = f"A text that begins with - comes after --: charlm {self.name} -- TEXT"
            raise click.UsageError(f"{error.format_message()} {how}") from None


def texts_or_stdin(context: click.Context, texts: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """Return the texts, and whether standard input is meant: - told from a text that reads so (UsageError)."""
    before = texts[: len(texts) - context.meta[_AFTER_DASHES]]
    stdin = texts == before == (STDIN,)
    if STDIN in before and not stdin:
        raise UsageError(
            "- means standard input and stands alone: put -- before texts of which one is a dash"
        )
    return (() if stdin else texts), stdin


def part_of_lines(shard: str | None) -> tuple[int, int]:
    """Return which lines are asked for: (i, n) for every nth from the ith on (UsageError)."""
    if shard is None:
        return 1, 1
    first, _, count = shard.partition("/")
    numbers = first.isascii() and first.isdecimal() and count.isascii() and count.isdecimal()
    if not (numbers and len(shard) < 40 and 1 <= int(first) <= int(count)):
        raise UsageError(f"shard must be I/N with I from 1 to N, such as 1/4, not {shard!r}")
    return int(first), int(count)


def hint_at_files(texts: Sequence[str], done: str, does: str) -> None:
    """Say where a text is the name of a file, which is more often meant: it is `done` as a text, --file `does`."""
    files = [text for text in texts if os.path.isfile(text)]
    if files:
        more = f" (and {len(files) - 1:,} more)" if len(files) > 1 else ""
        name = visible(files[0], keep="")
        click.echo(
            f"charlm: {done} as a text, but a file has this name: {name}{more}; --file {does} a file",
            err=True,
        )


def texts_of(
    models: Sequence[Any], kind: Kind, path: str, encoding: str, shard: tuple[int, int]
) -> InOrder:
    """Return the lines or paragraphs of a file; what is printed goes out before the next one is
    waited for.
    """
    from charlm import inputs

    texts = inputs.texts_of(models, kind, path, encoding, shard, sys.stdout.flush)
    tell_of_line_ends(path, texts)
    return texts


def tell_of_line_ends(name: str, lines: InOrder) -> None:
    """Say at the command's end what may be wrong with the lines of a file."""

    def tell() -> None:
        if lines.note:
            where = "standard input" if name == STDIN else visible(name, keep="")
            click.echo(f"charlm: {where}: {lines.note}", err=True)

    click.get_current_context().call_on_close(tell)
