"""`charlm predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from charlm import config
from charlm.cli.answers import print_answers
from charlm.cli.base import PATH, as_utf8, model_option, option
from charlm.cli.converting import predict_targets
from charlm.cli.given import Given
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.tagging import predict_tags
from charlm.cli.texts import (
    STDIN,
    TextsCommand,
    hint_at_files,
    part_of_lines,
    texts_of,
    texts_or_stdin,
)
from charlm.errors import UsageError

_model = option("Model")
_input = option("Input")
_figures = option("Labels")
_target = option("Targets")
_output = option("Output")


@click.command(cls=TextsCommand, epilog="""\b
Examples:
  charlm predict "Who has the key?" "When did it rain?"
  cat lines.txt | charlm predict - --json > labels.jsonl
  charlm predict --file lines.txt --top 3
  charlm predict -m tagger --file words.conll > tagged.conll
  charlm predict -m sounds --beam 5 --top 3 through tough
  charlm predict -- "-5 C" - "after --, whatever it begins with is a text\"""")  # fmt: skip
@click.argument("texts", nargs=-1, metavar="TEXT... | -", callback=as_utf8)
@model_option()
@_model(
    "--threads",
    type=int,
    metavar="N",
    help="Threads that compute. [default: as many as there are processors]",
)
@_input(
    "--file",
    "path",
    type=PATH,
    metavar="FILE",
    help="Take the lines of a file, or its paragraphs.",
)
@_input("--columns/--plain", "columns", default=None,
        help="Tags: a token a line, in columns, or a sentence a line. [default: by the first line]")  # fmt: skip
@_input(
    "--shard",
    metavar="I/N",
    help="Only every Nth line, paragraph or sentence of columns, from the Ith on.",
)
@_input(
    "--encoding",
    default="utf-8",
    show_default=True,
    metavar="NAME",
    help="Encoding of the file or of stdin.",
)
@_figures(
    "--top",
    type=int,
    default=1,
    show_default=True,
    metavar="K",
    help="The K most probable labels of each text, or targets of each source.",
)
@_figures("--threshold", type=float, default=0.0, show_default=True, metavar="P",
          help="Only labels of this probability or more; - (NA with --tsv, null with --json) where none.")  # fmt: skip
@_figures("--prior", type=click.Choice(config.PRIORS), default=config.PRIORS[0], show_default=True,
          help="How probable a label is before the text is read (models of labelled texts).")  # fmt: skip
@_target("--beam", type=click.IntRange(1), metavar="K",
         help="Search with a beam of width K. [default: as many as --top says]")  # fmt: skip
@_target("--unknown", type=click.Choice(["mark", "copy"]), default="mark", show_default=True,
         help="Read an unknown token as <unk>, or let its source be its own target.")  # fmt: skip
@_target("--align", is_flag=True,
         help="Also what each token of the target looked at in the source.")  # fmt: skip
@_output("--json", "as_json", is_flag=True, help="One JSON object a text.")
@_output(
    "--tsv",
    "as_tsv",
    is_flag=True,
    help="With a header line; tabs and newlines in texts as escapes.",
)
def predict(**options: Any) -> None:
    """Say which label, tags or target suits each text best: each argument, each line of stdin (-)
    or of a file.

    A classifier of paragraphs takes the paragraphs of stdin and files, which blank lines part.

    A line a text: label, probability and text, parted by tabs. A language model of labelled texts
    answers by Bayes; before the text it says how surprising that is whatever its label, in nats a
    token, and how many of 100 validation texts surprise less. Of a tagger: the tag of each token,
    as one more column; or where characters are tagged, the restored text. Of a converter: the
    target, with --top each with its log-probability.
    """
    context = click.get_current_context()
    texts, stdin = texts_or_stdin(context, options["texts"])
    path = STDIN if stdin else options["path"]
    _check(Given(context), texts, stdin, path)
    hint_at_files(texts, "taken", "reads")
    from charlm.converter import Converter
    from charlm.labelled import LabelledModel
    from charlm.loading import load_labeller
    from charlm.tagger import Tagger

    model = load_labeller(
        options["model"], options["threads"], instead="charlm score and charlm sample"
    )
    asked = Given(context)
    if isinstance(model, Converter):
        predict_targets(model, asked, texts, path)
        return
    asked.refuse("only a converter writes targets", "beam", "unknown", "align")
    if not isinstance(model, LabelledModel):
        asked.refuse("only a language model of labelled texts takes a prior", "prior")
    if isinstance(model, Tagger):
        predict_tags(model, asked, texts, path)
        return
    asked.refuse("texts get labels, not tokens tags", "columns")
    if model.tokenizer.kind == "byte":
        asked.refuse("a model of bytes reads them as they are", "encoding")
    lines, ready = _lines(model, texts, path, options)
    top = min(options["top"], len(model.labels))
    form = "json" if options["as_json"] else "tsv" if options["as_tsv"] else "plain"
    wanted = options["top"], options["threshold"], ready
    if isinstance(model, LabelledModel):
        print_answers(model.predict(lines, *wanted, options["prior"]), form, top, surprise=True)
        return
    print_answers(model.predict(lines, *wanted), form, top, model.max_length)


def _lines(
    model: Any, texts: Sequence[str], path: str | None, options: dict[str, Any]
) -> tuple[Iterable[str], Callable[[], bool]]:
    """Return the texts, and what tells whether the next one is there."""
    if path is None:
        return texts, lambda: True
    if path == STDIN:
        tell_what_is_awaited("the texts")
    shard = part_of_lines(options["shard"])
    read = texts_of([model], model.kind, path, options["encoding"], shard)
    return read, read.ready


def _check(asked: Given, texts: Sequence[str], stdin: bool, path: str | None) -> None:
    """Raise UsageError for what does not go together, before anything is read."""
    if (bool(texts), stdin, asked.values["path"] is not None).count(True) != 1:
        raise UsageError('give texts to label ("a sentence"), - for stdin or --file FILE')
    if path is None:
        asked.refuse("texts of the command line are not lines of a file", "shard", "encoding")
    if asked.values["as_json"] and asked.values["as_tsv"]:
        raise UsageError("--json and --tsv do not go together: leave one out")
    part_of_lines(asked.values["shard"])
    from charlm.classifier import check_wanted

    check_wanted(asked.values["top"], asked.values["threshold"])
