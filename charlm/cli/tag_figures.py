"""How the figures of `charlm test` with taggers are printed, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import visible, write_line
from charlm.cli.figures import interval_shown, percent_shown, ratio_shown
from charlm.cli.records import to_json
from charlm.comparison import Comparison, compare_ratios
from charlm.metrics import ClassFigures, LabelFigures
from charlm.scoring import percent

if TYPE_CHECKING:
    from charlm.tag_gold import TagAnswers
    from charlm.tag_metrics import SpanFigures

_FIGURES = ("majority", "accuracy", "span_f1", "precision", "recall", "unknown_accuracy", "nats")
_CONFUSIONS = 10  # the commonest ones, which are shown
_ROW = "{:>9} {:>10} {:>8} {:>8}  {}"
_UNSEEN_SHOWN = 5


def print_figures(answers: TagAnswers, as_json: bool) -> None:
    """Print what a tagger reached on gold sentences: the majority baseline first, or an object."""
    if as_json:
        write_line(to_json(_values(answers)))
        return
    for name, value in _lines(answers):
        write_line(f"{name:14}  {value}")
    spans = answers.figures.by_kind() if answers.figures.spans else []
    if spans:
        write_line("\n" + _ROW.format("spans", "precision", "recall", "F1", "type"))
    elif not answers.model.tags.of_characters:
        write_line("\n" + _ROW.format("tokens", "precision", "recall", "F1", "tag"))
    for one in spans or ([] if answers.model.tags.of_characters else _of_tags(answers)):
        count, name = (
            (one.texts, one.label) if isinstance(one, LabelFigures) else (one.gold, one.kind or "")
        )
        write_line(
            _ROW.format(
                f"{count:,}", *map(ratio_shown, (one.precision, one.recall, one.f1)), _shown(name)
            )
        )
    if answers.confusions:
        write_line(f"\n{'times':>9}  gold -> said")
    for (gold, said), count in _commonest(answers):
        write_line(f"{count:>9,}  {_shown(gold)} -> {_shown(said)}")


def print_comparison(names: Sequence[str], every: Sequence[TagAnswers], as_json: bool) -> None:
    """Print what each tagger reached, and how the first stands to each of the others."""
    found = [compare_ratios(every[0].ratios, answers.ratios) for answers in every[1:]]
    figure = "span_f1" if every[0].figures.spans else "accuracy"
    if as_json:
        by_model = [
            {"model": name} | _values(answers) for name, answers in zip(names, every, strict=True)
        ]
        pairs = [
            _compared(names[0], name, one, figure)
            for name, one in zip(names[1:], found, strict=True)
        ]
        write_line(
            to_json({"sentences": every[0].sentences, "models": by_model, "comparisons": pairs})
        )
        return
    for name, answers in zip(names, every, strict=True):
        figures = answers.figures
        f1 = [f"span F1 {ratio_shown(figures.span_f1)}"] if figures.spans else []
        said = ", ".join([
            f"majority {percent_shown(figures.majority)}",
            f"accuracy {percent_shown(figures.accuracy)}", *f1,
            f"{ratio_shown(figures.nats)} nats",
        ])  # fmt: skip
        write_line(f"{_shown(name)}: {said}")
        for what, value in _odd(answers):
            click.echo(f"charlm: {_shown(name)}: {what}: {value}", err=True)
    for name, one in zip(names[1:], found, strict=True):
        what = "span F1" if figure == "span_f1" else "accuracy"
        write_line(
            f"{_shown(names[0])} against {_shown(name)}: {100 * one.mean:+.2f} points of {what} "
            f"({interval_shown(one)}), ahead in {one.better:,} of {one.texts:,} sentences"
        )


def _lines(answers: TagAnswers) -> Iterator[tuple[str, str]]:
    """Yield the figures over all tokens."""
    figures, tags = answers.figures, answers.model.tags
    if tags.of_characters:
        kept = answers.kept_figures
        words = f"{percent_shown(kept.word_accuracy)} of words"
        each = f"{percent_shown(kept.accuracy)} of characters, {words}"
        yield "kept", f"{each}, if all were kept as they are"
    else:
        yield (
            "majority",
            f"{percent_shown(figures.majority)} if it were always "
            f"{_shown(tags.names[tags.common])}",
        )
    yield (
        "accuracy",
        f"{percent_shown(figures.accuracy)} ({figures.right:,} of {figures.tokens:,} {tags.unit})",
    )
    if tags.of_characters:
        yield (
            "words",
            f"{percent_shown(figures.word_accuracy)} of {figures.words:,} have all characters "
            "right",
        )
    if figures.unknown:
        share = percent(figures.unknown, figures.tokens)
        what = f"{figures.unknown:,} {tags.unit} that training has not ({share})"
        yield "unknown", f"{percent_shown(figures.unknown_accuracy)} of {what}"
    if figures.spans:
        each = f"precision {ratio_shown(figures.precision)}, recall {ratio_shown(figures.recall)}"
        yield "span F1", f"{ratio_shown(figures.span_f1)} ({each}), by conlleval's rule"
    yield "nats", f"{ratio_shown(figures.nats)} for a tag"
    yield from _odd(answers)


def _odd(answers: TagAnswers) -> Iterator[tuple[str, str]]:
    """Yield what was not known and what was read in pieces, where there is any."""
    figures = answers.figures
    unseen = figures.tokens - answers.tally.count
    if unseen:
        names = list(map(_shown, answers.unseen))
        more = f", ... ({len(names):,} in all)" if len(names) > _UNSEEN_SHOWN else ""
        listed = ", ".join(names[:_UNSEEN_SHOWN])
        yield "unseen tags", f"{unseen:,}, counted as wrong: {listed}{more}"
    if answers.pieces:
        longest = f"{answers.model.tags.max_length:,} steps, read in pieces"
        yield (
            "long",
            f"{answers.pieces:,} of {answers.sentences:,} sentences of more than {longest}",
        )


def _values(answers: TagAnswers) -> dict[str, Any]:
    figures, tags = answers.figures, answers.model.tags
    values: dict[str, Any] = {
        name: getattr(figures, name)
        for name in _FIGURES
    } | {
        "sentences": answers.sentences, "tokens": figures.tokens, "unknown": figures.unknown,
        "unseen": figures.tokens - answers.tally.count, "pieces": answers.pieces,
    }  # fmt: skip
    if tags.of_characters:
        kept = answers.kept_figures
        values |= {"words": figures.words, "word_accuracy": figures.word_accuracy,
                   "kept_accuracy": kept.accuracy,
                   "kept_word_accuracy": kept.word_accuracy}  # fmt: skip
    else:
        values |= {"spans": [_span(one) for one in figures.by_kind()] if figures.spans else [],
                   "tags": [_tag(one) for one in _of_tags(answers)]}  # fmt: skip
    confusions = [
        {"gold": gold, "said": said, "tokens": count} for (gold, said), count in _commonest(answers)
    ]
    return values | {"confusions": confusions}


def _span(of: SpanFigures) -> dict[str, Any]:
    return {"type": of.kind, "gold": of.gold, "said": of.said, "right": of.right,
            "precision": of.precision, "recall": of.recall, "f1": of.f1}  # fmt: skip


def _tag(of: LabelFigures) -> dict[str, Any]:
    return {
        "tag": of.label,
        "tokens": of.texts,
        "precision": of.precision,
        "recall": of.recall,
        "f1": of.f1,
    }


def _compared(first: str, second: str, found: Comparison, figure: str) -> dict[str, Any]:
    return {
        "first": first, "second": second, "figure": figure, "difference": found.mean,
        "interval": None if found.low is None else [found.low, found.high], "ahead": found.better,
        "better": None if not found.mean else first if found.mean > 0 else second,
    }  # fmt: skip


def _of_tags(answers: TagAnswers) -> list[LabelFigures]:
    """Return the figures of each tag: the model's own that are gold or were said, then those that
    it has not."""
    unseen = [
        LabelFigures(name, count, 0, None, 0.0, 0.0) for name, count in answers.unseen.items()
    ]
    return (
        ClassFigures(answers.tally, answers.model.tags.common).of_labels(answers.model.names)
        + unseen
    )


def _commonest(answers: TagAnswers) -> list[tuple[tuple[str, str], int]]:
    """Return the commonest confusions; equally common ones in the order of their names."""
    return sorted(answers.confusions.items(), key=lambda item: (-item[1], item[0]))[:_CONFUSIONS]


def _shown(text: str) -> str:
    return visible(text, keep="") or "(keep)"
