"""`charlm score --html`: a page of the texts, coloured by how surprising each place was."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.asked import Asked
from charlm.cli.outputs import check_free, writing
from charlm.cli.texts import part_of_lines, texts_of
from charlm.errors import DataError, UsageError

if TYPE_CHECKING:
    from charlm.model import Model

STDOUT = "-"


def check_page(asked: Asked) -> None:
    """Raise OutputError where the page must not be written, before anything is computed."""
    if asked.html not in (None, STDOUT):
        check_free(asked.html, asked.force)


def write_page(asked: Asked, models: Sequence[Model]) -> None:
    """Write the page of the texts as the models read them, or as much of them as it holds."""
    from charlm.page.document import document
    from charlm.page.parts import read_by
    from charlm.page.surprise import MOST_BYTES, beginning, section

    taken = beginning(_texts(asked, models, MOST_BYTES))
    name = asked.file or ("a text" if len(asked.texts) == 1 else f"{len(asked.texts):,} texts")
    name = "standard input" if asked.file == STDOUT else name
    if not taken.complete:
        name = f"the beginning of {name}, up to {MOST_BYTES:,} bytes"
        click.echo(f"charlm: the page holds {name}", err=True)
    found = section(
        read_by(asked.models, models, taken.texts, asked.counts_eos(models) and not taken.cut),
        f"What is read: {name}",
    )
    if found is None:
        raise DataError(f"there is nothing to score in {name}: give a text with a token in it")
    page = document(found.title, [found])
    if asked.html == STDOUT:
        sys.stdout.write(page.decode())
    else:
        with writing(str(asked.html)) as file:
            file.write(page)


def _texts(asked: Asked, models: Sequence[Any], most: int) -> Iterable[str]:
    from charlm import inputs
    from charlm.labelled import LabelledModel

    if asked.file is None:
        return asked.texts
    if asked.label is None and any(isinstance(model, LabelledModel) for model in models):
        raise UsageError("--html shows texts that all have one label: say with --label which")
    if asked.whole(models):
        return [inputs.file_beginning(models, asked.file, asked.encoding, most)]
    kind = asked.kind(models)
    return texts_of(models, kind, asked.file, asked.encoding, part_of_lines(asked.shard))
