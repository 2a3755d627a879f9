"""How the figures of `charlm test` are printed, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import shown_line, write_line
from charlm.cli.records import to_json
from charlm.comparison import FEWEST_TEXTS, Comparison, compare_right
from charlm.metrics import LabelFigures
from charlm.scoring import percent

if TYPE_CHECKING:
    from charlm.gold import Answers, Difference

_CONFUSIONS = 10  # the commonest ones, which are shown
_ROW = "{:>9} {:>10} {:>8} {:>8}  {}"
_UNSEEN_SHOWN = 5


def print_figures(answers: Answers, as_json: bool) -> None:
    """Print what a model reached on gold texts: the majority baseline first, or an object."""
    if as_json:
        write_line(to_json(_values(answers)))
        return
    figures = answers.figures
    common = shown_line(answers.model.labels[answers.model.common])
    write_line(f"majority        {percent_shown(figures.majority)} if it were always {common}")
    write_line(
        f"accuracy        {percent_shown(figures.accuracy)} ({figures.right:,} of {_texts(figures.texts)})"
    )
    write_line(f"macro F1        {ratio_shown(figures.macro_f1)}")
    write_line(f"nats            {ratio_shown(figures.nats)} for the label of a text")
    for name, value in _odd(answers):
        write_line(f"{name:14}  {value}")
    write_line("\n" + _ROW.format("texts", "precision", "recall", "F1", "label"))
    for of in _of_labels(answers):
        write_line(
            _ROW.format(
                f"{of.texts:,}",
                *map(ratio_shown, (of.precision, of.recall, of.f1)),
                shown_line(of.label),
            )
        )
    if answers.confusions:
        write_line(f"\n{'times':>9}  gold -> said")
    for (gold, said), count in _commonest(answers):
        write_line(f"{count:>9,}  {shown_line(gold)} -> {shown_line(said)}")


def print_comparison(
    names: Sequence[str], every: Sequence[Answers], differences: Sequence[Difference], as_json: bool
) -> None:
    """Print what each model reached, and how the first stands to each of the others in accuracy."""
    texts = every[0].figures.texts
    found = [compare_right(each.ahead, each.behind, texts) for each in differences]
    if as_json:
        by_model = [
            {"model": name} | _values(answers) for name, answers in zip(names, every, strict=True)
        ]
        pairs = [
            _compared(names[0], name, one, each)
            for name, one, each in zip(names[1:], found, differences, strict=True)
        ]
        write_line(to_json({"texts": texts, "models": by_model, "comparisons": pairs}))
        return
    for name, answers in zip(names, every, strict=True):
        figures = answers.figures
        write_line(
            f"{shown_line(name)}: majority {percent_shown(figures.majority)}, "
            f"accuracy {percent_shown(figures.accuracy)}, "
            f"macro F1 {ratio_shown(figures.macro_f1)}, {ratio_shown(figures.nats)} nats"
        )
        for what, value in _odd(answers):
            click.echo(f"charlm: {shown_line(name)}: {what}: {value}", err=True)
    for name, one, each in zip(names[1:], found, differences, strict=True):
        write_line(
            f"{shown_line(names[0])} against {shown_line(name)}: {100 * one.mean:+.2f} points of accuracy "
            f"({interval_shown(one)}); of {_texts(texts)} it alone has {each.ahead:,} right, the other {each.behind:,}"
        )


def _values(answers: Answers) -> dict[str, Any]:
    figures = answers.figures
    return {
        **{
            name: getattr(figures, name)
            for name in ("majority", "accuracy", "macro_f1", "nats", "texts")
        },
        "unseen": figures.texts - answers.tally.count,
        "tokens": answers.tokens,
        "unknown": answers.unknown,
        "cut": answers.cut,
        "labels": [
            {name: getattr(of, name) for name in ("label", "texts", "precision", "recall", "f1")}
            for of in _of_labels(answers)
        ],
        "confusions": [
            {"gold": gold, "said": said, "texts": count}
            for (gold, said), count in _commonest(answers)
        ],
    }


def _compared(first: str, second: str, found: Comparison, difference: Difference) -> dict[str, Any]:
    total = found.total
    return {
        "first": first, "second": second, "difference": found.mean,
        "interval": None if found.low is None else [found.low, found.high],
        "ahead": difference.ahead, "behind": difference.behind,
        "better": None if not total else first if total > 0 else second,
    }  # fmt: skip


def _odd(answers: Answers) -> Iterator[tuple[str, str]]:
    """Yield what was not known and what was not read, where there is any."""
    unseen = answers.figures.texts - answers.tally.count
    if unseen:
        names = list(map(shown_line, answers.unseen))
        more = f", ... ({len(names):,} in all)" if len(names) > _UNSEEN_SHOWN else ""
        yield (
            "unseen labels",
            f"{_texts(unseen)}, counted as wrong: {', '.join(names[:_UNSEEN_SHOWN])}{more}",
        )
    if answers.unknown:
        share = percent(answers.unknown, answers.tokens)
        yield "unknown tokens", f"{answers.unknown:,} of {answers.tokens:,} ({share})"
    if answers.cut:
        yield "cut", f"{_texts(answers.cut)} of more than {answers.model.max_length:,} tokens"


def _of_labels(answers: Answers) -> list[LabelFigures]:
    """Return the figures of each label: the model's own that are gold or were said, then those that it has not."""
    unseen = [
        LabelFigures(name, count, 0, None, 0.0, 0.0) for name, count in answers.unseen.items()
    ]
    return answers.figures.of_labels(answers.model.labels) + unseen


def _commonest(answers: Answers) -> list[tuple[tuple[str, str], int]]:
    """Return the commonest confusions; equally common ones in the order of their names."""
    return sorted(answers.confusions.items(), key=lambda item: (-item[1], item[0]))[:_CONFUSIONS]


def interval_shown(found: Comparison) -> str:
    """Return an interval in points for people."""
    if found.low is None or found.high is None:
        return f"no interval from fewer than {FEWEST_TEXTS} texts"
    return f"95 % interval {100 * found.low:+.2f} to {100 * found.high:+.2f}, paired bootstrap"


def percent_shown(value: float | None) -> str:
    """Return a share in percent for people."""
    return "-" if value is None else f"{100 * value:.2f} %"


def ratio_shown(value: float | None) -> str:
    """Return a ratio for people."""
    return "-" if value is None else f"{value:.4f}"


def _texts(count: int) -> str:
    return "1 text" if count == 1 else f"{count:,} texts"
