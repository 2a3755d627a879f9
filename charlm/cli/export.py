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
from charlm.cli.outputs import check_free, writing
from charlm.errors import UsageError

STDOUT = "-"


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm export counts.arpa
  charlm export -m names names.arpa.gz --force
  charlm export -m names - | head""")  # fmt: skip
@click.argument("file", type=PATH, metavar="FILE | -")
@model_option()
@option("Output")("--force", is_flag=True, help="Replace FILE where there is one already.")
def export(file: str, model: str, force: bool) -> None:
    r"""Write the counts of a model, its n-grams, to FILE (- is stdout) as ARPA, which kenlm and SRILM read.

    A FILE named .gz, .bz2 or .xz is compressed. White space in tokens is written as bytes in hex: a
    space is \x20, a backslash \x5c. <s> is the beginning of a text, </s> its end.
    """
    if file != STDOUT:
        check_free(file, force)
    from charlm.counts.arpa import arpa_blocks
    from charlm.counts.names import arpa_names
    from charlm.loading import load

    opened = load(model, threads=1)
    counts = getattr(opened, "counts", None)
    if counts is None:
        raise UsageError(f"{model} has no counts to export: train a model with counts")
    blocks = arpa_blocks(counts, arpa_names(opened.tokenizer))
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
