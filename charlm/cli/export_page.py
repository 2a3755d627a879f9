"""`charlm export FILE.html`: a model in a page, to be put on a web site."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charlm.cli.outputs import writing
from charlm.errors import CharlmError, UsageError

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.page.write import HeldOut


def export_page(file: str, path: str, weights: str, text: str | None, encoding: str | None) -> None:
    """Write a page in which the model of a directory or a file writes (errors as `charlm.load`).

    weights: float16, float32 or int8. text: a file on which the cost of rounding is measured.
    """
    from charlm.loading import load_language
    from charlm.page.document import document
    from charlm.page.write import LARGE, section

    if encoding is not None and text is None:
        raise UsageError("--encoding is that of --text FILE, and none was given: leave it out")
    model = load_language(path)
    page = document(_title(path), [section(model, weights, _held_out(model, path, text, encoding))])
    with writing(file) as opened:
        opened.write(page)
    if len(page) > LARGE:
        smaller = "" if weights == "int8" else ": --weights int8 makes it smaller"
        click.echo(
            f"charlm: {file} has {len(page) / 1e6:.1f} MB, much for a page{smaller}", err=True
        )


def _held_out(model: Model, path: str, text: str | None, encoding: str | None) -> HeldOut | None:
    """Return the text given, or the validation part of the run in a directory; None where there is neither."""
    from charlm.inputs import corpus_parts, held_out
    from charlm.page.write import HeldOut

    if text is not None:
        (part,) = corpus_parts([model], [Path(path)], text, encoding or "utf-8")
        return HeldOut(part, "text given")
    if not os.path.isdir(path):
        return None
    try:
        return HeldOut(held_out(Path(path), "valid", model, "--text FILE"), "validation part")
    except CharlmError as error:
        click.echo(f"charlm: what rounding costs is not measured: {error}", err=True)
        return None


def _title(path: str) -> str:
    """Return what a page is called: as the model's directory, or its file."""
    whole = Path(os.path.abspath(path))
    return whole.name.removesuffix(".safetensors") or "A model"
