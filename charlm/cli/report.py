"""`charlm report` and `charlm plot`: what a model is and how it learnt, as a page and as a
drawing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from charlm.cli.base import DEFAULT_MODEL, PATH, GroupedCommand, option
from charlm.cli.export_page import WEIGHTS, warn_if_large
from charlm.cli.given import Given
from charlm.cli.outputs import check_free, writing
from charlm.errors import UsageError

STDOUT = STDIN = "-"
LEFT_OUT = "The text was left out of this page, as --no-text said."
_output = option("Output")
_text = option("Text")
_write_option = option("Writing")


def _models(help_text: str) -> Callable[[Any], Any]:
    return option("Model")(
        "-m", "--model", "models", metavar="PATH", multiple=True, type=PATH, default=[DEFAULT_MODEL],
        show_default=True, envvar="CHARLM_MODEL", show_envvar=True, help=help_text,
    )  # fmt: skip


def _file(default: str) -> Callable[[Any], Any]:
    return _output(
        "-o", "--output", type=PATH, metavar="FILE", default=default, show_default=True,
        help="The file to write; - is standard output.",
    )  # fmt: skip


_force = _output("--force", is_flag=True, help="Replace FILE where there is one already.")


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm report
  charlm report -m names -o names.html
  charlm report -m names --text others.txt
  charlm report -m gru -m lstm -o both.html --force""")  # fmt: skip
@_models("Model directory or .safetensors file; several are laid over each other.")
@_text("--text", type=PATH, metavar="FILE",
       help="Show how surprising this text is. [default: what training held out]")  # fmt: skip
@_text(
    "--no-text",
    is_flag=True,
    help="Show none: the page then has no text but the samples of the log.",
)
@_text("--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of FILE.")
@_write_option(
    "--weights",
    type=click.Choice(WEIGHTS),
    default=WEIGHTS[0],
    show_default=True,
    help="How the page has the weights of the model that writes in it.",
)
@_write_option(
    "--no-model",
    is_flag=True,
    help="Leave out the model that writes in the page, which is most of its size.",
)
@_file("report.html")
@_force
def report(
    models: tuple[str, ...],
    text: str | None,
    no_text: bool,
    encoding: str,
    weights: str,
    no_model: bool,
    output: str,
    force: bool,
) -> None:
    """Write a page of a model to look at in a browser: what it is, how it learnt, how it reads a
    text.

    It is one file, which asks for nothing from the network and can be sent to others. The text in
    it is the beginning of what training held out, which the page says, or of --text FILE. The first
    language model is in it, too: it reads what is typed there, and writes.
    """
    given = Given(click.get_current_context())
    if text is None:
        given.refuse("there is no --text FILE to read", "encoding")
    if no_text:
        given.refuse("--no-text leaves no text to show", "text")
    if no_model:
        given.refuse("--no-model leaves no weights in the page", "weights")
    if output != STDOUT:
        check_free(output, force)
    from charlm.page.report import report as page_of
    from charlm.page.report import writing_section
    from charlm.page.subject import subjects_of
    from charlm.page.texts import readers_of, texts_for

    subjects = subjects_of(_different(models))
    shown = LEFT_OUT if no_text else texts_for(readers_of(subjects), text, encoding)
    if text is not None and isinstance(shown, str):
        raise UsageError(f"--text has no model to read it: {shown}")
    again = None if text == STDIN else text  # which can be read only once
    own = None if no_model else writing_section(subjects, weights, again, encoding)
    page = page_of(subjects, shown, own)
    _write(output, page)
    smaller = [
        name for name, said in (("--no-model", no_model), ("--no-text", no_text)) if not said
    ]
    warn_if_large(output, len(page), "int8" if no_model else weights, *smaller)


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm plot
  charlm plot -m gru -m lstm -o both.svg
  charlm plot -m names -o - > names.svg""")  # fmt: skip
@_models("Model directory, with the log of its training; several are laid over each other.")
@_file("curves.svg")
@_force
def plot(models: tuple[str, ...], output: str, force: bool) -> None:
    """Draw how a model learnt, as SVG for a paper or a chat: loss, learning rate, gradients and
    speed.

    The best step is marked; of several models validated on the same text the difference is drawn,
    too.
    """
    if output != STDOUT:
        check_free(output, force)
    from charlm.page.curves import why_not
    from charlm.page.report import plot as drawing_of
    from charlm.page.subject import subjects_of

    subjects = subjects_of(_different(models))
    for its in subjects:
        if reason := why_not(its):
            raise UsageError(f"{its.path} has no curves to draw: {reason}")
    _write(output, drawing_of(subjects))


def _different(models: tuple[str, ...]) -> tuple[str, ...]:
    """Return the models; UsageError where one is there twice, which would hide what it is laid
    over."""
    twice = next((path for path in models if models.count(path) > 1), None)
    if twice is not None:
        raise UsageError(f"-m {twice} is there twice: leave one out")
    return models


def _write(output: str, content: bytes) -> None:
    """Write a file, whole or not at all (OutputError, StorageError), or to standard output."""
    if output == STDOUT:
        sys.stdout.write(content.decode())
        return
    with writing(output) as file:
        file.write(content)
