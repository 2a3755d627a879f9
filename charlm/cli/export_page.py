"""`charlm export FILE.html`: a model in a page, to be put on a web site."""

from __future__ import annotations

import os
from pathlib import Path

import click

from charlm.cli.outputs import writing
from charlm.errors import UsageError

WEIGHTS = ("float16", "float32", "int8")  # as charlm.page.weights has them, which needs NumPy


def export_page(file: str, path: str, weights: str, text: str | None, encoding: str | None) -> None:
    """Write a page in which the model of a directory or a file writes (errors as `charlm.load`).

    weights: float16, float32 or int8. text: a file on which the cost of rounding is measured.
    """
    from charlm.loading import load_language
    from charlm.page.document import document
    from charlm.page.write import held_out, section

    if encoding is not None and text is None:
        raise UsageError("--encoding is that of --text FILE, and none was given: leave it out")
    model = load_language(path)
    found = held_out(model, path, text, encoding or "utf-8")
    if isinstance(found, str):  # it names places of this machine: the page has none of it
        click.echo(f"charlm: what rounding costs is not measured: {found}", err=True)
    measured_on = None if isinstance(found, str) else found
    page = document(_title(path), [section(model, weights, measured_on)])
    with writing(file) as opened:
        opened.write(page)
    warn_if_large(file, len(page), weights)


def _title(path: str) -> str:
    """Return what a page is called: as the model's directory, or its file."""
    whole = Path(os.path.abspath(path))
    return whole.name.removesuffix(".safetensors") or "A model"


def warn_if_large(file: str, size: int, weights: str, *others: str) -> None:
    """Say on stderr that a page is large, and which options make it smaller: `--weights`, or
    `others`."""
    from charlm.page.write import LARGE

    if size > LARGE:
        ways = " or ".join([*(["--weights int8"] if weights != "int8" else []), *others])
        hint = f": {ways} makes it smaller" if ways else ""
        click.echo(f"charlm: {file} has {size / 1e6:.1f} MB, much for a page{hint}", err=True)
