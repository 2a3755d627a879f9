"""`charlm score` with a classifier: the log-probability of the label that each text is given."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.answers import tell_of_cuts
from charlm.cli.asked import Asked, spelled
from charlm.cli.base import visible
from charlm.cli.records import to_field, to_json
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.texts import STDIN, part_of_lines, tell_of_line_ends
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.classifier import Classifier, LabelScore
    from charlm.model import Model

_OF_TEXTS = (
    "eos", "per_token", "corpus", "dynamic", "cache", "count_cache", "nbest", "weight", "known", "lines",
    "html", "color",
)  # fmt: skip
_FIGURES = ("logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char")
_WHY_NO_BITS = "a label is scored, and no text"
_ROW = "{:>12} {:>12}  {}"

Pairs = Iterable[tuple[str, str]]  # labels and texts


def score_labels(asked: Asked, models: Sequence[Any]) -> None:
    """Print how probable the label of each text is: of --label for arguments, else that of its line."""
    model = _the_only(asked, models)
    pairs, ready = _pairs(asked, model)
    _print(model.scores(pairs, ready), asked, model)


def labelled_as(model: Model, label: str | None) -> Model:
    """Return a language model of labelled texts with the label asked for (UsageError where that
    cannot be).
    """
    from charlm.labelled import LabelledModel

    if isinstance(model, LabelledModel):
        return model.given(label)
    if label is not None:
        raise UsageError(
            "this language model knows no labels: leave --label out, or give a model that does"
        )
    return model


def texts_labelled_as(asked: Asked, models: Sequence[Any]) -> list[Any]:
    """Return language models, those of labelled texts with --label, or as they are, which sum
    labels out (UsageError where it is in the way).
    """
    from charlm.labelled import LabelledModel

    labelled = [model for model in models if isinstance(model, LabelledModel)]
    if asked.label is not None and not labelled:
        raise UsageError(
            "a language model of texts without labels knows none: leave --label out, or give another model"
        )
    if asked.corpus is None:
        return [model.given(asked.label) if model in labelled else model for model in models]
    if asked.label is not None:
        raise UsageError("the texts of --corpus have labels of their own: leave --label out")
    if labelled and len(labelled) < len(models):
        raise UsageError(
            "--corpus is read with labels or without: give models that have both, or give texts"
        )
    return list(models)


def tell_of_left_out(parts: Sequence[Any]) -> None:
    """Say how many texts of --corpus have labels that a model has not, and are not scored."""
    if left_out := max(getattr(part, "left_out", 0) for part in parts):
        texts = "text has a label" if left_out == 1 else "texts have labels"
        click.echo(f"charlm: {left_out:,} {texts} that the model has not: left out", err=True)


def _the_only(asked: Asked, models: Sequence[Any]) -> Classifier:
    """Return the classifier (UsageError as `the_only`, and for bytes with an encoding)."""
    model: Classifier = the_only(asked, models, "classifier", "labels", _OF_TEXTS)
    if "encoding" in asked.given and model.tokenizer.kind == "byte":
        raise UsageError("a model of bytes reads them as they are: leave --encoding out")
    return model


def the_only(
    asked: Asked, models: Sequence[Any], kind: str, scored: str, of_texts: Sequence[str]
) -> Any:
    """Return the model, a `kind` that scores the `scored`; raises UsageError where several are
    asked, or for the options that only texts have."""
    if len(models) > 1:
        raise UsageError(
            f"several -m are compared by charlm test where they are {kind}s: give one to score"
        )
    for name in of_texts:
        if name in asked.given:
            raise UsageError(
                f"a {kind} scores {scored}, not texts: leave {spelled(asked, name)} out"
            )
    if asked.format == "kenlm":
        raise UsageError(
            f"kenlm's format has no place for {scored}: leave --format out, or choose another"
        )
    return models[0]


def _pairs(asked: Asked, model: Classifier) -> tuple[Pairs, Callable[[], bool]]:
    """Return labels and texts, and what tells whether the next is there (UsageError)."""
    if asked.file is None:
        label = _known(asked.label, model.labels)
        return ((label, text) for text in asked.texts), lambda: True
    if asked.label is not None:
        raise UsageError(
            "lines have labels of their own: leave --label out, which is for texts of the command line"
        )
    if asked.file == STDIN:
        tell_what_is_awaited("labelled texts")
    from charlm import inputs

    shard = part_of_lines(asked.shard)
    pairs, lines = inputs.labelled_texts_of(
        model, asked.file, asked.encoding, shard, sys.stdout.flush
    )
    tell_of_line_ends(asked.file, lines)
    return pairs, lines.ready


def _known(label: str | None, labels: Sequence[str]) -> str:
    if label is None:
        raise UsageError(
            "a classifier scores labels: say with --label which one, or let predict find the best"
        )
    if label not in labels:
        from charlm.text.label_names import no_such_label

        raise UsageError(no_such_label(label, labels))
    return label


def _print(scores: Iterator[LabelScore], asked: Asked, model: Classifier) -> None:
    """Print a line a text as `asked` has it, the header that it needs, and at the end the totals."""
    line = {"json": _json, "tsv": _tsv, "table": _row}[asked.format]
    if asked.format == "tsv":
        sys.stdout.write("\t".join((*_FIGURES, "label", "text")) + "\n")
    nats, known, count, cut = 0.0, 0, 0, 0
    for score in scores:
        if not count and asked.format == "table":
            sys.stdout.write(_ROW.format("logprob", "probability", "label and text") + "\n")
        sys.stdout.write(line(score) + "\n")
        count, cut = count + 1, cut + score.cut
        if score.logprob is not None:
            nats, known = nats + score.logprob, known + 1
    if count > 1 or known < count:
        sys.stdout.flush()  # where the product cannot be written, that alone is told
        texts = "text" if count == 1 else "texts"
        told = f"total of {count:,} {texts}: {nats:.4f} nats, {count - known:,} of their labels unknown"
        click.echo(told, err=True)
    tell_of_cuts(cut, count, model.classes.max_length)


def _figures(score: LabelScore) -> dict[str, Any]:
    """Return what the score of a text has, of its one label in place of its tokens."""
    unknown = int(score.logprob is None)
    return dict.fromkeys(_FIGURES) | {"logprob": score.logprob, "tokens": 1, "unknown": unknown}


def _json(score: LabelScore) -> str:
    why = {"why_no_bits_per_char": _WHY_NO_BITS}
    return to_json(
        {"text": score.text, "label": score.label} | _figures(score) | why | {"cut": score.cut}
    )


def _tsv(score: LabelScore) -> str:
    return "\t".join(map(to_field, [*_figures(score).values(), score.label, score.text]))


def _row(score: LabelScore) -> str:
    found = score.logprob
    figures = ("-", "-") if found is None else (f"{found:.4f}", f"{math.exp(found):.4f}")
    return _ROW.format(
        *figures, "\t".join(visible(part, keep="") for part in (score.label, score.text))
    )
