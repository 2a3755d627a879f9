"""`charlm export`."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import sys
from typing import IO, Any

import click

from charlm.cli.base import PATH, GroupedCommand, model_option, option
from charlm.cli.export_page import WEIGHTS, export_page
from charlm.cli.outputs import check_free, writing
from charlm.errors import UsageError

STDOUT = "-"
_PAGES = (".html", ".htm")


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm export counts.arpa
  charlm export -m names names.arpa.gz --force
  charlm export -m names - | head
  charlm export -m names names.html""")  # fmt: skip
@click.argument("file", type=PATH, metavar="FILE | -")
@model_option()
@option("Page")(
    "--weights",
    type=click.Choice(WEIGHTS),
    help="How the page has the weights: the smaller, the less exact.  [default: float16]",
)
@option("Page")("--text", type=PATH, metavar="FILE",
                help="Measure what rounding costs on this text, which is no part of the page.  "
                     "[default: the validation part]")
@option("Page")(
    "--encoding", metavar="NAME", help="Character encoding of that text.  [default: utf-8]"
)
@option("Output")("--force", is_flag=True, help="Replace FILE where there is one already.")
def export(
    file: str, model: str, weights: str | None, text: str | None, encoding: str | None, force: bool
) -> None:  # fmt: skip
    r"""Write a model in a form for other programs to FILE: its counts, or all of it as a page.

    A FILE named .html is a page in which the model writes, in the reader's browser, and which asks
    for nothing outside itself. It holds no text, only the model.

    Any other FILE (- is stdout) has the counts, the n-grams, as ARPA, which kenlm and SRILM read.
    One named .gz, .bz2 or .xz is compressed. White space in tokens is written as bytes in hex: a
    space is \x20, a backslash \x5c. <s> is the beginning of a text, </s> its end.
    """
    if file != STDOUT:
        check_free(file, force)
    if file.lower().endswith(_PAGES):
        export_page(file, model, weights or WEIGHTS[0], text, encoding)
        return
    for name, value in (("weights", weights), ("text", text), ("encoding", encoding)):
        if value is not None:
            raise UsageError(
                f"--{name} is for a page, and {file} will be none: name a FILE in .html"
            )
    _export_counts(file, model)


def _export_counts(file: str, model: str) -> None:
    from charlm.counts.arpa import arpa_blocks
    from charlm.counts.names import arpa_names
    from charlm.loading import load

    opened = load(model, threads=1)
    counts = getattr(opened, "counts", None)
    if counts is None:
        raise UsageError(f"{model} has no counts to export: train a model with counts")
    every, *own = counts.tables
    if own:
        click.echo("charlm: the counts of all texts, without those of each label's own", err=True)
    blocks = arpa_blocks(every, arpa_names(opened.tokenizer))
    if file == STDOUT:
        sys.stdout.writelines(blocks)
    else:
        with writing(file) as plain, _packing(file, plain) as packed:
            packed.writelines(block.encode() for block in blocks)


def _packing(path: str, file: IO[bytes]) -> contextlib.AbstractContextManager[Any]:
    """Return what packs bytes into a file as its name says, the same bytes each time."""
    ending = os.path.splitext(path)[1].lower()
    if ending == ".gz":
        return gzip.GzipFile("", "wb", fileobj=file, mtime=0)
    if ending == ".bz2":
        return bz2.BZ2File(file, "wb")
    return lzma.LZMAFile(file, "wb") if ending == ".xz" else contextlib.nullcontext(file)
