"""How models learnt: their losses, learning rates, gradients and speed, and what they wrote on the
way.

Models whose figures have the same unit share a chart; where they were validated on the same text,
their difference is drawn, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.model import Model
from charlm.page.document import Section
from charlm.page.log import LoggedSample
from charlm.page.markup import Markup, join, quoted, table, tag
from charlm.page.subject import Subject
from charlm.page.svg import Chart, Level, Line, Mark, drawn, number, scrolling

NAME, TITLE = "curves", "How it learnt"
_TOKENS = "tokens read"
_METRICS = {  # of the validation part, shares of one: what the best weights are chosen by
    "valid_exact_match": "exact matches, %",
    "valid_span_f1": "F1 of spans, %",
    "valid_accuracy": "accuracy, %",
}
_TARGETS = {"classify": "text", "tag": "tag", "convert": "symbol"}
_SIDE = {  # title, axis, what the figure is multiplied by, whether the axis is logarithmic
    "lr": ("Learning rate", "learning rate", 1.0, False),
    "grad_norm": ("Norm of the gradient", "norm of the gradient", 1.0, True),
    "tokens_per_second": ("Speed", "thousand tokens per second", 0.001, False),
}
_MOST_ROWS = 40  # of a table
_MOST_SAMPLES = 6  # side by side


@dataclass(frozen=True)
class Unit:
    """What a model's loss is shown in."""

    name: str
    perplexity: bool = False

    def of(self, nats: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return nats per token in this unit."""
        if self.perplexity:
            return np.exp(np.minimum(nats, 700))
        return nats / math.log(2) if self.name.startswith("bits") else nats


def unit_of(subject: Subject) -> Unit:
    """Return the unit of a model: bits a character or byte, perplexity for words, nats for other
    tasks."""
    model = subject.model
    if not isinstance(model, Model):
        task = model.metadata().get("charlm.task", "")
        return Unit(f"nats per {_TARGETS.get(task, 'target')}")
    kind = model.tokenizer.kind
    if kind == "word":
        return Unit("perplexity per word", perplexity=True)
    known = not model.facts.get("valid_unknown")
    return Unit(f"bits per {'byte' if kind == 'byte' else 'character' if known else 'token'}")


def section(subjects: Sequence[Subject]) -> Section:
    """Return the section of the curves; of models without a log it says why there are none."""
    told = [
        tag("p", {"class": "note"}, quoted(its.name), f": {why}.")
        for its in subjects
        if (why := why_not(its))
    ]
    logged = [its for its in subjects if not why_not(its)]
    charts = list(charts_of(subjects))
    wide = [_figure(chart) for chart in charts if chart.wide]
    small = [_figure(chart) for chart in charts if not chart.wide]
    body = [*told, *map(_story, logged), *wide]
    body += [tag("div", {"class": "panels"}, *small)] if small else []
    body += [_figures_behind(its, len(logged) > 1) for its in logged]
    body += [_samples(its, len(logged) > 1) for its in logged if its.log.samples]
    return Section(NAME, TITLE, join(*body), styles=("curves.css",))


def why_not(subject: Subject) -> str:
    """Return why a model has no curves; an empty text where it has some."""
    if not getattr(subject.model.config, "layers", 1):
        return "this model is counts alone, which are counted and not trained"
    return subject.log.why_not


def charts_of(subjects: Sequence[Subject]) -> Iterator[Chart]:
    """Yield the charts of the models that have a log, the wide ones first."""
    coloured = [(its, k) for k, its in enumerate(subjects) if not why_not(its)]
    units = dict.fromkeys(unit_of(its) for its, _ in coloured)
    for unit in units:
        group = [(its, colour) for its, colour in coloured if unit_of(its) == unit]
        yield _losses(group, unit, _of(group, coloured))
        if (difference := _differences(group, unit)) is not None:
            yield difference
    metrics = {colour: next(filter(its.log.has, _METRICS), "") for its, colour in coloured}
    for name, words in _METRICS.items():
        judged = [(its, colour) for its, colour in coloured if metrics[colour] == name]
        lines = [_line(its, name, colour, 100.0, dots=True) for its, colour in judged]
        if lines:
            yield Chart(f"Validation: {words}{_of(judged, coloured)}", _TOKENS, words, lines)
    for name, (title, words, factor, log) in _SIDE.items():
        lines = [_line(its, name, colour, factor) for its, colour in coloured if its.log.has(name)]
        if lines:
            yield Chart(title, _TOKENS, words, lines, log=log, wide=False)


def _line(
    subject: Subject, name: str, colour: int, factor: float = 1.0, dots: bool = False
) -> Line:
    log = subject.log
    return Line(subject.name, log["tokens"], log[name] * factor, colour, dots=dots)


def _of(group: Sequence[tuple[Subject, int]], every: Sequence[tuple[Subject, int]]) -> str:
    """Return, for a title, which models a chart is of where it is not of all."""
    return "" if len(group) == len(every) else f": {', '.join(its.name for its, _ in group)}"


def _losses(group: Sequence[tuple[Subject, int]], unit: Unit, of: str) -> Chart:
    """Return the chart of the losses: of one model all that the log has, of several what they are
    compared by."""
    if len(group) == 1:
        return _loss(*group[0], unit, of)
    lines = [
        Line("", its.log["tokens"], unit.of(its.log["train_nats"]), k, faint=True)
        for its, k in group
    ]
    validated = [(its, k) for its, k in group if its.log.has("valid_nats")]
    lines += [
        Line(its.name, its.log["tokens"], unit.of(its.log["valid_nats"]), k, dots=True)
        for its, k in validated
    ]
    counted = [(value, its.name) for its, _ in group if (value := _counts(its, unit)) is not None]
    counts = dict(reversed(counted))
    levels = [
        Level("n-grams alone" + (f": {name}" if len(counts) > 1 else ""), value)
        for value, name in counts.items()
    ]  # fmt: skip
    marks = [Mark("", *point, k) for its, k in validated if (point := _best_point(its, unit))]
    title = f"Validation loss in {unit.name} over the tokens read, thin lines: training loss{of}"
    return Chart(title, _TOKENS, unit.name, lines, levels, marks, log=unit.perplexity)


def _loss(its: Subject, colour: int, unit: Unit, of: str) -> Chart:
    log, tokens = its.log, its.log["tokens"]
    lines = [Line("training", tokens, unit.of(log["train_nats"]), colour, faint=True)]
    levels, marks = [], []
    if log.has("valid_nats"):
        lines.append(Line("validation", tokens, unit.of(log["valid_nats"]), colour, dots=True))
    if log.has("valid_nats_network"):
        alone = unit.of(log["valid_nats_network"])
        lines.append(Line("network alone, validation", tokens, alone, colour, dotted=True))
    if (counts := _counts(its, unit)) is not None:
        levels.append(Level("n-grams alone, validation", counts))
    if (point := _best_point(its, unit)) is not None:
        step = its.model.facts["step"]
        marks.append(Mark(f"best {number(point[1])} at step {step:,}", *point, colour))
    title = f"Loss in {unit.name} over the tokens read{of}"
    return Chart(title, _TOKENS, unit.name, lines, levels, marks, log=unit.perplexity)


def _counts(subject: Subject, unit: Unit) -> float | None:
    """Return what the n-grams alone reach, the yardstick; None where there are none."""
    nats = subject.log["valid_nats_counts"]
    known = nats[np.isfinite(nats)]
    return float(unit.of(known[-1:])[0]) if len(known) else None


def _best_point(subject: Subject, unit: Unit) -> tuple[float, float] | None:
    """Return where the weights that were kept lie in the chart."""
    best, log = _best(subject), subject.log
    if best is None:
        return None
    return float(log["tokens"][best]), float(unit.of(log["valid_nats"][best : best + 1])[0])


def _best(subject: Subject) -> int | None:
    """Return the line of the log at which the model was saved; None where nothing was validated."""
    at = np.flatnonzero(subject.log["step"] == subject.model.facts.get("step"))
    found = int(at[-1]) if len(at) else None
    return found if found is not None and math.isfinite(subject.log["valid_nats"][found]) else None


def _differences(group: Sequence[tuple[Subject, int]], unit: Unit) -> Chart | None:
    """Return the chart of each model's validation loss less the first one's, where the text is the
    same."""
    validated = [(its, colour) for its, colour in group if its.log.has("valid_nats")]
    if not validated:
        return None
    first, *others = validated
    lines = [
        _difference(first[0], its, colour, unit)
        for its, colour in others
        if _validated_on(its) is not None and _validated_on(its) == _validated_on(first[0])
    ]
    if not lines:
        return None
    what = f"difference in {unit.name}"
    title = f"Validation loss less that of {first[0].name}: below 0 is better"
    return Chart(title, _TOKENS, what, lines, [Level(first[0].name, 0.0, first[1])])


def _difference(first: Subject, other: Subject, colour: int, unit: Unit) -> Line:
    """Return how a model differs from the first at each of its own evaluations."""
    (x, y), (over, under) = _validation(other, unit), _validation(first, unit)
    between = np.interp(x, over, under, left=math.nan, right=math.nan)
    return Line(f"{other.name} less {first.name}", x, y - between, colour, dots=True)


def _validation(subject: Subject, unit: Unit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nats = subject.log["valid_nats"]
    known = np.isfinite(nats) & np.isfinite(subject.log["tokens"])
    return subject.log["tokens"][known], unit.of(nats[known])


def _validated_on(subject: Subject) -> str | None:
    """Return the digest of the ids that a model is validated on, which the tokenizer decides
    too."""
    digest = (subject.model.facts.get("digests") or {}).get("valid")
    return digest if isinstance(digest, str) else None


def _figure(chart: Chart) -> Markup:
    picture = scrolling(chart) if chart.wide else drawn(chart)
    return tag("figure", None, tag("figcaption", None, chart.title), picture)


def _story(subject: Subject) -> Markup:
    """Say in a sentence or two what the curves show."""
    log, unit, facts = subject.log, unit_of(subject), subject.model.facts
    best = _best(subject)
    if best is None:
        words = "Nothing was held out, so the curves are of the training loss alone."
    else:
        value = float(unit.of(log["valid_nats"][best : best + 1])[0])
        words = (
            f"The model kept is that of step {int(log['step'][best]):,}, {number(value)} {unit.name} on text that "
            "it was not trained on."
        )
        counts = facts.get("valid_nats_counts")
        if isinstance(counts, float):
            alone = number(float(unit.of(np.array([counts]))[0]))
            words += f" N-grams alone, the yardstick, reach {alone}."
    dropout = subject.model.config.dropout
    words += (
        " The training loss is measured with dropout, which makes it larger." if dropout else ""
    )
    return tag("p", None, quoted(subject.name), ": ", words)


def _figures_behind(subject: Subject, several: bool) -> Markup:
    """Return the table behind the charts: the evaluations, or reports where there are none."""
    log, unit = subject.log, unit_of(subject)
    at = np.flatnonzero(
        np.isfinite(log["valid_nats"]) if log.has("valid_nats") else log["step"] > 0
    )
    at = at[np.unique(np.linspace(0, len(at) - 1, min(len(at), _MOST_ROWS)).astype(int))]
    columns = {
        "step": log["step"],
        "epochs": log["epoch"],
        "tokens read": log["tokens"],
        "seconds": log["seconds"],
        f"training, {unit.name}": unit.of(log["train_nats"]),
        f"validation, {unit.name}": unit.of(log["valid_nats"]),
        "network alone": unit.of(log["valid_nats_network"]),
        **{words: 100 * log[name] for name, words in _METRICS.items()},
        "learning rate": log["lr"],
        "norm of the gradient": log["grad_norm"],
        "tokens per second": log["tokens_per_second"],
    }
    shown = {name: values for name, values in columns.items() if np.isfinite(values[at]).any()}
    rows = [[_cell(values[line]) for values in shown.values()] for line in at]
    name = f"The figures behind these curves{f': {subject.name}' if several else ''}"
    return tag("details", None, tag("summary", None, name), table(name, list(shown), rows))


def _cell(value: float) -> str:
    return number(float(value)) if math.isfinite(value) else ""


def _samples(subject: Subject, several: bool) -> Markup:
    samples = subject.log.samples
    chosen = np.unique(
        np.linspace(0, len(samples) - 1, min(len(samples), _MOST_SAMPLES)).astype(int)
    )
    name = f"What it wrote on the way{f': {subject.name}' if several else ''}"
    figures = (_sample(subject, samples[k]) for k in chosen)
    return join(tag("h3", None, name), tag("div", {"class": "samples"}, *figures))


def _sample(subject: Subject, sample: LoggedSample) -> Markup:
    log, unit = subject.log, unit_of(subject)
    at = np.flatnonzero(log["step"] == sample.step)[-1]
    loss = float(unit.of(log["valid_nats"][at : at + 1])[0])
    said = f"step {sample.step:,}" + (
        f", {number(loss)} {unit.name}" if math.isfinite(loss) else ""
    )
    return tag(
        "figure", None, tag("figcaption", None, said), tag("pre", {"dir": "auto"}, sample.text)
    )  # fmt: skip
