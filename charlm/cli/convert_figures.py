"""How the figures of `charlm test` with converters are printed, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from charlm.chrf import chrf
from charlm.cli.base import shown_line, write_line
from charlm.cli.figures import interval_shown, percent_shown, ratio_shown
from charlm.cli.records import to_json
from charlm.comparison import Comparison, compare_right
from charlm.convert_metrics import ConvertFigures
from charlm.scoring import percent

if TYPE_CHECKING:
    from charlm.convert_gold import ConvertAnswers, Found, References

_FIGURES = ("exact_match", "word_error_rate", "symbol_error_rate")
_ROW = "{:>9}  {}"


def print_figures(
    answers: ConvertAnswers, gold: References, with_chrf: bool, as_json: bool
) -> None:
    """Print what a converter reached on gold pairs: the baselines first, or an object."""
    if as_json:
        write_line(to_json(_values(answers, gold, with_chrf)))
        return
    for name, value in _lines(answers, gold, with_chrf):
        write_line(f"{name:14}  {value}")
    worst = answers.found[-1].worst
    if worst:
        write_line("\n" + _ROW.format("edits", "source: gold -> said, the farthest"))
    for one in worst:
        source, right, said = map(shown_line, (one.source, one.gold, one.said))
        write_line(_ROW.format(f"{one.edits:,}", f"{source}: {right} -> {said}"))


def print_comparison(
    names: Sequence[str], every: Sequence[ConvertAnswers], gold: References, with_chrf: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Print what each converter reached, and how the first stands to each of the others in exact
    match."""
    pairs = [_compared(every[0].found[-1], answers.found[-1]) for answers in every[1:]]
    if as_json:
        by_model = [
            {"model": name} | _values(answers, gold, with_chrf)
            for name, answers in zip(names, every, strict=True)
        ]
        told = [
            _comparison(names[0], name, *pair) for name, pair in zip(names[1:], pairs, strict=True)
        ]
        write_line(to_json({"sources": len(gold), "models": by_model, "comparisons": told}))
        return
    majority = percent_shown(ConvertFigures(every[0].majority).exact_match)
    write_line(f"majority {majority} if it were always {shown_line(every[0].common)}")
    for name, answers in zip(names, every, strict=True):
        last = answers.found[-1]
        more = [f"chrF {chrf(last.said, list(gold.values())):.2f}"] if with_chrf else []
        nats = f"{ratio_shown(answers.found[0].figures.nats)} nats"
        write_line(f"{shown_line(name)}: {', '.join([_short(last.figures), nats, *more])}")
        for what, value in _odd(answers, len(gold)):
            click.echo(f"charlm: {shown_line(name)}: {what}: {value}", err=True)
    for name, (found, ahead, behind) in zip(names[1:], pairs, strict=True):
        write_line(
            f"{shown_line(names[0])} against {shown_line(name)}: {100 * found.mean:+.2f} points of exact "
            f"match ({interval_shown(found)}); of {_sources(len(gold))} it alone has {ahead:,} "
            f"right, the other {behind:,}"
        )


def _lines(answers: ConvertAnswers, gold: References, with_chrf: bool) -> Iterator[tuple[str, str]]:
    """Yield the figures over all sources."""
    greedy, last = answers.found[0].figures, answers.found[-1]
    common = f"if it were always {shown_line(answers.common)}"
    yield "majority", f"{_short(ConvertFigures(answers.majority))}, {common}"
    yield "copied", f"{_short(ConvertFigures(answers.copied))}, if it were the source itself"
    if last.beam > 1:
        yield "greedy", _short(greedy)
    figures = last.figures
    how = f"beam of {last.beam}" if last.beam > 1 else "greedy"
    of = f"{figures.right:,} of {_sources(figures.sources)}; {how}"
    yield "exact match", f"{percent_shown(figures.exact_match)} ({of})"
    yield "word errors", f"{percent_shown(figures.word_error_rate)} of the targets"
    symbols = int(figures.tally.sums["symbols"])
    yield (
        "symbol errors",
        f"{percent_shown(figures.symbol_error_rate)} of {symbols:,} tokens of the references",
    )
    if with_chrf:
        yield "chrF", f"{chrf(last.said, list(gold.values())):.2f}"
    yield "nats", f"{ratio_shown(greedy.nats)} for a token of the references"
    several = sum(len(set(references)) > 1 for references in gold.values())
    if several:
        yield "references", f"{_sources(several)} with several, of which any counts"
    yield from _odd(answers, len(gold))


def _odd(answers: ConvertAnswers, count: int) -> Iterator[tuple[str, str]]:
    """Yield what was not known and what went astray, where there is any."""
    last = answers.found[-1]
    if last.figures.unseen:
        of = f"{_sources(last.figures.unseen)} with tokens in all references that training has not"
        yield "unseen", f"{of}, counted as wrong"
    if answers.unknown:
        share = percent(answers.unknown, answers.tokens)
        of = f"{answers.unknown:,} of {answers.tokens:,} tokens of the sources"
        yield "unknown", f"{of} ({share})"
    if last.limited:
        yield "no end", f"{last.limited:,} of {count:,} targets stopped at the length limit"
    if last.short:
        of = f"{last.short:,} of {count:,} targets"
        yield "short", f"{of} with less than half of the tokens of the nearest reference"


def _values(answers: ConvertAnswers, gold: References, with_chrf: bool) -> dict[str, Any]:
    greedy, last = answers.found[0], answers.found[-1]
    values: dict[str, Any] = {
        "majority": ConvertFigures(answers.majority).exact_match,
        "copied": ConvertFigures(answers.copied).exact_match,
    }
    values |= _of(last.figures) | {"nats": greedy.figures.nats, "beam": last.beam}
    if last.beam > 1:
        values["greedy"] = _of(greedy.figures)
    if with_chrf:
        values["chrf"] = chrf(last.said, list(gold.values()))
    return values | {
        "sources": len(gold), "references": sum(map(len, gold.values())),
        "unseen": last.figures.unseen, "tokens": answers.tokens, "unknown": answers.unknown,
        "limited": last.limited, "short": last.short,
        "worst": [one._asdict() for one in last.worst],
    }  # fmt: skip


def _of(figures: ConvertFigures) -> dict[str, float | None]:
    return {name: getattr(figures, name) for name in _FIGURES}


def _compared(first: Found, second: Found) -> tuple[Comparison, int, int]:
    """Return how two converters stand, and how many sources each alone has right."""
    ours, theirs = first.every_right, second.every_right
    ahead, behind = (int(np.count_nonzero(a & ~b)) for a, b in ((ours, theirs), (theirs, ours)))
    return compare_right(ahead, behind, len(ours)), ahead, behind


def _comparison(
    first: str, second: str, found: Comparison, ahead: int, behind: int
) -> dict[str, Any]:
    return {
        "first": first, "second": second, "figure": "exact_match", "difference": found.mean,
        "interval": None if found.low is None else [found.low, found.high],
        "ahead": ahead, "behind": behind,
        "better": None if not found.total else first if found.total > 0 else second,
    }  # fmt: skip


def _short(figures: ConvertFigures) -> str:
    exact, symbols = map(percent_shown, (figures.exact_match, figures.symbol_error_rate))
    return f"exact match {exact}, symbol errors {symbols}"


def _sources(count: int) -> str:
    return "1 source" if count == 1 else f"{count:,} sources"
