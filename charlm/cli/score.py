"""`charlm score`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from charlm import config
from charlm.cli.asked import Asked, check, check_models
from charlm.cli.base import DEFAULT_MODEL, PATH, as_utf8, option
from charlm.cli.convert_scores import score_targets
from charlm.cli.label_scores import score_labels, tell_of_left_out, texts_labelled_as
from charlm.cli.painting import Paint, colours_are_welcome
from charlm.cli.score_page import check_page, write_page
from charlm.cli.streams import let_controls_through, tell_what_is_awaited
from charlm.cli.tag_scores import score_tags
from charlm.cli.texts import (
    STDIN,
    TextsCommand,
    hint_at_files,
    part_of_lines,
    texts_of,
    texts_or_stdin,
)
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.scoring import Score
    from charlm.text.stream import InOrder

_model = option("Model")
_input = option("Input")
_figures = option("Figures")
_output = option("Output")

_DYNAMIC_RATE = 1e-4
_CACHE_TOKENS = 2000
_CACHE_ORDER = 6

_FORMATS = ("table", "json", "tsv", "kenlm")


@click.command(cls=TextsCommand, epilog="""\b
Examples:
  charlm score "a sentence" "another one"
  charlm score --per-token "a sentence"
  cat lines.txt | charlm score - --json > scores.jsonl
  charlm score -m ours -m theirs --file held-out.txt
  charlm score --file held-out.txt --html held-out.html
  charlm score -- "-5 C" - "after --, whatever it begins with is a text\"""")  # fmt: skip
@click.argument("texts", nargs=-1, metavar="TEXT... | -", callback=as_utf8)
@_model("-m", "--model", "models", metavar="PATH", multiple=True, type=PATH, default=[DEFAULT_MODEL],
        show_default=True, envvar="CHARLM_MODEL", show_envvar=True,
        help="Model directory or .safetensors file; several are compared.")  # fmt: skip
@_model("--mix", metavar="W,W...", help="Mix the models, of one vocabulary, with these weights.")
@_model("--engine", type=click.Choice(config.ENGINES), default="numpy", show_default=True,
        help="What computes; torch: on a GPU.")  # fmt: skip
@_model("--device", metavar="NAME", default="auto", help="Of engine torch: cpu, cuda, cuda:1, mps.")
@_model("--no-counts", is_flag=True, help="Let the networks predict alone, without the counts of their texts.")
@_input("--file", "path", type=PATH, metavar="FILE",
        help="Score a file: its lines, its paragraphs or the whole, whatever the model's texts are.")  # fmt: skip
@_input("--lines/--whole", "lines", default=None, help="Take --file or - by lines, or as one text.")
@_input("--shard", metavar="I/N", help="Only every Nth line, or paragraph, from the Ith on.")
@_input("--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of the file or of stdin.")
@_input("--corpus", type=PATH, metavar="FILE|valid|test",
        help="Score as training validates: a file, or a part of the run's own.")  # fmt: skip
@_input("--dynamic", type=float, is_flag=False, flag_value=_DYNAMIC_RATE, metavar="[RATE]",
        help="With --corpus: go on learning from the text once it is scored (dynamic evaluation), "
        f"at {_DYNAMIC_RATE:g} or RATE.")  # fmt: skip
@_input("--cache", type=int, is_flag=False, flag_value=_CACHE_TOKENS, metavar="[N]",
        help="With --corpus: look up what came in places like this one among the last "
        f"{_CACHE_TOKENS} or N tokens (continuous cache).")  # fmt: skip
@_input("--count-cache", type=int, is_flag=False, flag_value=_CACHE_ORDER, metavar="[N]",
        help=f"With --corpus: count n-grams of up to {_CACHE_ORDER} or N tokens of the text so far, and blend in "
        "what they say.")  # fmt: skip
@_input("--nbest", is_flag=True, help="Lines are lists to be re-ordered: list, other score and text, by tabs.")
@_input("--label", metavar="L", callback=as_utf8,
        help="Each text has this label. A classifier says how probable the label is; of its lines, of a file or stdin, "
        "each has its own, as its corpus had. A model of labelled texts says how probable the text is, and takes "
        "--file and - as texts alone, all of this label.")  # fmt: skip
@_input(
    "--source",
    metavar="TEXT",
    callback=as_utf8,
    help="Each text is a target of this source (converters). [default: each line has its own, by a tab]",
)
@_figures("--weight", type=float, default=1.0, show_default=True, metavar="W",
          help="With --nbest: a total is the other score + W times the log-probability.")  # fmt: skip
@_figures("--known", is_flag=True, help="Of several models: compare the texts that all know in full.")
@_figures("--eos/--no-eos", default=None,
          help="Score the end of each text. [default: unless the model is of documents]")
@_figures("--per-token", is_flag=True, help="Also each token: log-probability, bits, rank, and the three best.")
@_output("--format", "form", type=click.Choice(_FORMATS), help="[default: table; json and tsv: totals on stderr]")
@_output("--json", "as_json", is_flag=True, help="Short for --format json.")
@_output("--tsv", "as_tsv", is_flag=True, help="Short for --format tsv.")
@_output("--color/--no-color", default=None,
         help="Colour by surprise: the tokens of --per-token, else the texts. "
         "[default: with --per-token on a terminal, unless NO_COLOR is set]")  # fmt: skip
@_output("--html", type=PATH, metavar="FILE|-",
         help="Write a page instead: texts coloured by surprise; of several models, the difference too.")  # fmt: skip
@_output("--force", is_flag=True, help="With --html: replace FILE where there is one already.")
def score(**options: Any) -> None:
    """Say how probable texts are under a model: each argument, each line of stdin (-), or a file.

    A model of paragraphs takes stdin and files by paragraphs, which blank lines part.

    Of a classifier: how probable the label of each text is; of a tagger: the tags of each sentence;
    of a converter: each target, given its source.
    """
    asked = _asked(click.get_current_context(), options)
    check(asked)
    check_page(asked)
    hint_at_files(asked.texts, "scored", "scores")
    from charlm.classifier import Classifier
    from charlm.converter import Converter
    from charlm.loading import load
    from charlm.model import without_counts
    from charlm.tagger import Tagger

    models = [load(path, engine=asked.engine, device=asked.device) for path in asked.models]
    if asked.no_counts:
        models = without_counts(models)
    if any(isinstance(model, Converter) for model in models):
        score_targets(asked, models)
        return
    if asked.source is not None:
        raise UsageError("only a converter has sources: leave --source out, or give another model")
    if any(isinstance(model, Tagger) for model in models):
        score_tags(asked, models)
    elif any(isinstance(model, Classifier) for model in models):
        score_labels(asked, models)
    else:
        _score_texts(asked, texts_labelled_as(asked, models))


def _score_texts(asked: Asked, models: Sequence[Model]) -> None:
    check_models(asked, models)
    if STDIN in (asked.file, asked.corpus):
        tell_what_is_awaited("the texts")
    from charlm.model import mix

    if asked.html is not None:
        write_page(asked, models)
        return
    scorers = models if asked.mix is None else [mix(models, asked.weights())]
    if asked.compares:
        _compare(asked, models)
    elif asked.nbest:
        _re_order(asked, scorers[0])
    else:
        _print(asked, models, scorers[0])


def _asked(context: click.Context, options: dict[str, Any]) -> Asked:
    """Return what is asked for, - told from a text that reads so."""
    given = frozenset(
        name for name in options if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )
    texts, stdin = texts_or_stdin(context, options["texts"])
    return Asked(**options | {"texts": texts}, stdin=stdin, given=given)


def _print(asked: Asked, models: Sequence[Model], scorer: Model) -> None:
    from charlm import inputs
    from charlm.cli.formats import PRINTERS, print_long, print_one, print_table

    form, whole, paint = asked.format, asked.whole(models), _paint(asked, scorer)
    if whole and asked.per_token and asked.file is not None:
        print_long(
            inputs.long_text(scorer, asked.file, asked.encoding, asked.counts_eos(models)),
            form,
            paint,
        )
        return
    scores = _scores(asked, models, scorer, whole)
    if form == "table" and (whole or asked.corpus is not None or len(asked.texts) == 1):
        for one in scores:
            print_one(one, asked.adapts, paint)
    elif form == "table":
        print_table(scores, asked.per_token, paint)
    else:
        PRINTERS[form](scores, asked.per_token)


def _paint(asked: Asked, scorer: Model) -> Paint | None:
    """Return what colours the lines of tokens, or the texts; None where there are to be no
    colours."""
    usual = asked.per_token and asked.format == "table" and colours_are_welcome()
    if not (usual if asked.color is None else asked.color):
        return None
    let_controls_through()
    return Paint(scorer.tokenizer, asked.paints_texts)


def _scores(asked: Asked, models: Sequence[Model], scorer: Model, whole: bool) -> Iterable[Score]:
    """Return the scores of one model, or of a mixture of `models`."""
    from charlm import inputs
    from charlm.labelled import LabelledModel

    eos, per_token = asked.counts_eos(models), asked.per_token or asked.paints_texts
    if asked.corpus is not None:
        part = inputs.corpus_parts(models, _places(asked), asked.corpus, asked.encoding)[0]
        tell_of_left_out([part])
        return [
            inputs.score_part(
                scorer, part, asked.corpus, eos, asked.dynamic, asked.cache, asked.count_cache
            )
        ]
    if asked.file is None:
        return scorer.scores(asked.texts, eos, per_token)
    if whole:
        part = inputs.whole_parts(models, asked.file, asked.encoding)[0]
        return [inputs.score_whole(scorer, part, asked.file, eos)]
    if isinstance(scorer, LabelledModel) and asked.label is None:  # each text has its own
        shard = part_of_lines(asked.shard)
        pairs, lines = inputs.labelled_texts_of(scorer, asked.file, asked.encoding, shard)
        return scorer.scores_given(pairs, eos, per_token, lines.ready)
    lines = _lines(asked, models)
    return scorer.scores(lines, eos, per_token, lines.ready)


def _compare(asked: Asked, models: Sequence[Model]) -> None:
    from charlm import inputs
    from charlm.cli.comparing import print_comparison, rows_of

    eos, whole = asked.counts_eos(models), asked.whole(models)
    rows: Iterable[Sequence[Score]]
    if asked.corpus is not None:
        parts = inputs.corpus_parts(models, _places(asked), asked.corpus, asked.encoding)
        tell_of_left_out(parts)
        rows = [[inputs.score_part(model, part, asked.corpus, eos, asked.dynamic, asked.cache, asked.count_cache)
                 for model, part in zip(models, parts, strict=True)]]  # fmt: skip
    elif asked.file is not None and whole:
        wholes = inputs.whole_parts(models, asked.file, asked.encoding)
        rows = [[inputs.score_whole(model, part, asked.file, eos)
                 for model, part in zip(models, wholes, strict=True)]]  # fmt: skip
    elif asked.file is not None:
        lines = _lines(asked, models)
        rows = rows_of(models, lines, eos, lines.ready)
    else:
        rows = rows_of(models, asked.texts, eos, lambda: True)
    print_comparison(asked.models, models, rows, eos, asked.known, asked.format == "json")


def _re_order(asked: Asked, scorer: Model) -> None:
    """Print n-best lists by both scores, each list as soon as the next one begins."""
    from charlm.cli.lists import entries, print_lists

    lines = asked.texts if asked.file is None else _lines(asked, [scorer])
    ready = getattr(lines, "ready", lambda: True)
    listed, copies = itertools.tee(entries(lines))
    scores = scorer.scores((entry.text for entry in copies), scorer.counts_eos(asked.eos), ready=ready)
    print_lists(zip(listed, scores, strict=True), asked.weight, asked.format)


def _lines(asked: Asked, models: Sequence[Model]) -> InOrder:
    kind = asked.kind(models)
    return texts_of(models, kind, asked.file or STDIN, asked.encoding, part_of_lines(asked.shard))


def _places(asked: Asked) -> list[Path]:
    return [Path(path) for path in asked.models]
