"""`charlm export`."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import click

from charlm.cli.base import PATH, GroupedCommand, model_option, option
from charlm.errors import OutputError, UsageError

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
        _check_free(file, force)
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
        _write(file, blocks)


def _check_free(path: str, force: bool) -> None:
    """Raise OutputError where a file stands that must not be replaced; a pipe or a device is written into."""
    from charlm import checkpoint
    from charlm.ownership import is_model

    with checkpoint.storing(path):
        if not os.path.lexists(path) or _is_device(path):
            return
        if os.path.isdir(path):
            raise OutputError(f"{path} is a directory: name a file in it")
        if is_model(Path(path)):
            raise OutputError(f"{path} is a model of charlm's: choose another name")
    if not force:
        raise OutputError(
            f"{path} is there already: choose another name, or replace it with --force"
        )


def _is_device(path: str) -> bool:
    """Return whether what stands at a path takes bytes and keeps none: a pipe or a device."""
    if not os.path.exists(path):
        return False
    mode = os.stat(path).st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write(path: str, blocks: Iterable[str]) -> None:
    """Write a file, whole or not at all (OutputError, StorageError)."""
    from charlm import checkpoint

    with contextlib.ExitStack() as stack:
        stack.enter_context(checkpoint.storing(path))
        opened = open(path, "wb") if _is_device(path) else checkpoint.replacing(path)  # noqa: SIM115
        packed = stack.enter_context(_packing(path, stack.enter_context(opened)))
        for block in blocks:
            packed.write(block.encode())


def _packing(path: str, file: IO[bytes]) -> contextlib.AbstractContextManager[Any]:
    """Return what packs bytes into a file as its name says, the same bytes each time."""
    ending = os.path.splitext(path)[1].lower()
    if ending == ".gz":
        return gzip.GzipFile("", "wb", fileobj=file, mtime=0)
    if ending == ".bz2":
        return bz2.BZ2File(file, "wb")
    return lzma.LZMAFile(file, "wb") if ending == ".xz" else contextlib.nullcontext(file)
