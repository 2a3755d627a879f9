"""`charlm test`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm import config
from charlm.cli.base import DEFAULT_MODEL, PATH, GroupedCommand, option
from charlm.cli.given import Given
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.texts import STDIN
from charlm.errors import DataError, UsageError

if TYPE_CHECKING:
    from charlm.converter import Converter
    from charlm.gold import Labeller
    from charlm.tagger import Tagger
    from charlm.text.sequences import Kind

_model = option("Model")
_input = option("Input")
_target = option("Targets")


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm test -m questions gold.tsv
  charlm test -m ours -m theirs gold.tsv --json
  charlm test -m sounds --beam 5 gold.tsv
  zcat gold.txt.gz | charlm test -m questions --labels prefix -""")  # fmt: skip
@click.argument("gold", nargs=-1, type=PATH, metavar="GOLD... | -")
@_model("-m", "--model", "models", metavar="PATH", multiple=True, type=PATH, default=[DEFAULT_MODEL],
        show_default=True, envvar="CHARLM_MODEL", show_envvar=True,
        help="Model directory or .safetensors file; several are compared with the first.")  # fmt: skip
@_model(
    "--threads",
    type=int,
    metavar="N",
    help="Threads that compute. [default: as many as there are processors]",
)
@_input(
    "--labels",
    type=click.Choice(config.LABELS),
    help="Where labels stand. [default: as in training]",
)
@_input(
    "--encoding",
    default="utf-8",
    show_default=True,
    metavar="NAME",
    help="Encoding of the files or of stdin.",
)
@option("Labels")("--prior", type=click.Choice(config.PRIORS), default=config.PRIORS[0], show_default=True,
                  help="How probable a label is before the text is read (models of labelled texts).")  # fmt: skip
@_target("--beam", type=click.IntRange(1), default=1, show_default=True, metavar="K",
         help="Search with a beam of width K, and greedily too.")  # fmt: skip
@_target("--chrf", is_flag=True, help="chrF too, which needs sacrebleu.")
@option("Output")("--json", "as_json", is_flag=True, help="One JSON object.")
def test(
    gold: tuple[str, ...], models: tuple[str, ...], threads: int | None, labels: str | None, encoding: str,
    prior: str, beam: int, chrf: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say how well a classifier, a tagger or a converter does on GOLD, files of texts with their
    labels, of sentences with their tags or of pairs (or -, stdin).

    First what the commonest label alone would reach; then accuracy, macro F1 or that of spans,
    nats, each label's figures and the commonest confusions; of several models how far they differ.
    A language model of labelled texts says by Bayes which label a text has. Of a converter: exact
    match, word and symbol errors against the nearest reference.
    """
    if not gold:
        raise UsageError("give gold files, lines with their labels, or - for stdin")
    from charlm.converter import Converter
    from charlm.labelled import LabelledModel
    from charlm.loading import load_labeller
    from charlm.tagger import Tagger

    asked = Given(click.get_current_context())
    opened: list[Any] = [load_labeller(path, threads, "charlm score --corpus") for path in models]
    converters = [model for model in opened if isinstance(model, Converter)]
    taggers = [model for model in opened if isinstance(model, Tagger)]
    if len(opened) not in (len(converters), len(taggers)) and (converters or taggers):
        raise UsageError(
            "labels of texts, tags and targets are other answers: test such models one by one"
        )
    if not converters:
        asked.refuse("only a converter writes targets", "beam", "chrf")
    if not any(isinstance(model, LabelledModel) for model in opened):
        asked.refuse("only a language model of labelled texts takes a prior", "prior")
    if converters:
        asked.refuse("a line of a converter has its target after a tab", "labels")
        _test_pairs(models, converters, gold, asked)
        return
    if taggers:
        asked.refuse("a tagger finds tags where they stood in training", "labels")
        _test_tags(models, taggers, gold, encoding, as_json)
        return
    if _bytes_alone(opened):
        asked.refuse("a model of bytes reads them as they are", "encoding")
    known = [
        model.weighed(prior) if isinstance(model, LabelledModel) else model for model in opened
    ]
    _test_labels(models, known, gold, labels or _form(known), encoding, as_json)


def _test_labels(
    models: Sequence[str], opened: Sequence[Labeller], gold: Sequence[str], form: str,
    encoding: str, as_json: bool,
) -> None:  # fmt: skip
    from charlm.cli.figures import print_comparison, print_figures
    from charlm.gold import answer_all

    every, differences = answer_all(opened, _pairs(opened, gold, form, encoding))
    if not every[0].figures.texts:
        raise DataError(f"{', '.join(gold)}: holds no text")
    if len(models) == 1:
        print_figures(every[0], as_json)
    else:
        print_comparison(models, every, differences, as_json)


def _test_tags(
    models: Sequence[str], opened: Sequence[Tagger], gold: Sequence[str], encoding: str, as_json: bool
) -> None:  # fmt: skip
    from charlm.cli.tag_figures import print_comparison, print_figures
    from charlm.tag_gold import answer_all, gold_form
    from charlm.text.folders import open_all, text_files
    from charlm.text.tagged import gold_sentences

    if STDIN in gold:
        tell_what_is_awaited("tagged sentences")
    named, notes = text_files(gold)
    for note in notes:
        click.echo(f"charlm: {note}", err=True)
    files = open_all(named)[0]
    form = gold_form(opened, files, encoding)
    every = answer_all(opened, gold_sentences(files, form, encoding))
    if len(models) == 1:
        print_figures(every[0], as_json)
    else:
        print_comparison(models, every, as_json)


def _test_pairs(
    models: Sequence[str], opened: Sequence[Converter], gold: Sequence[str], asked: Given
) -> None:
    from charlm.chrf import check_chrf
    from charlm.cli.convert_figures import print_comparison, print_figures
    from charlm.convert_gold import answer_all, gathered
    from charlm.text.folders import open_all, text_files
    from charlm.text.pairs import read_pairs

    beam, chrf, as_json = (asked.values[name] for name in ("beam", "chrf", "as_json"))
    if chrf:
        check_chrf()
    if STDIN in gold:
        tell_what_is_awaited("pairs")
    named, notes = text_files(gold)
    for note in notes:
        click.echo(f"charlm: {note}", err=True)
    files, encoding = open_all(named)[0], asked.values["encoding"]
    references = gathered(pair for file in files for pair in read_pairs(file, encoding))
    if not references:
        raise DataError(f"{', '.join(gold)}: holds no pair")
    every = answer_all(opened, references, beam, keep=chrf)
    if len(models) == 1:
        print_figures(every[0], references, chrf, as_json)
    else:
        print_comparison(models, every, references, chrf, as_json)


def _form(models: Sequence[Labeller]) -> str:
    forms = {model.form: None for model in models}
    if len(forms) > 1:
        raise UsageError(
            f"the models were trained with labels {' and '.join(forms)}: say which with --labels"
        )
    return next(iter(forms))


def _kind(models: Sequence[Labeller]) -> Kind:
    kinds = {model.kind: None for model in models}
    if len(kinds) > 1:
        raise UsageError(
            "some of these models have lines as their texts and some paragraphs: test them one by one"
        )
    return next(iter(kinds))


def _pairs(models: Sequence[Labeller], gold: Sequence[str], form: str, encoding: str) -> Any:
    """Return label and text of each gold line; notes on the files go to stderr."""
    from charlm.text.folders import open_all, text_files
    from charlm.text.labelled import gold_lines

    if STDIN in gold:
        if form == "file":
            raise UsageError(
                "labels file takes the label from a file's name, and standard input has none: name files"
            )
        tell_what_is_awaited("labelled texts")
    named, notes = text_files(gold)
    for note in notes:
        click.echo(f"charlm: {note}", err=True)
    files = open_all(named)[0]
    names = list(dict.fromkeys(name for model in models for name in model.labels))
    tokenizer = min(
        (model.tokenizer for model in models), key=lambda tokenizer: tokenizer.kind == "byte"
    )
    return gold_lines(files, tokenizer, names, form, encoding, _kind(models))


def _bytes_alone(models: Sequence[Labeller]) -> bool:
    return all(model.tokenizer.kind == "byte" for model in models)
