"""What a model is: its cell, sizes and corpus, its figures with their units, and the command that
repeats it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from charlm.model_facts import facts_of
from charlm.page.curves import unit_of
from charlm.page.document import Section
from charlm.page.markup import Markup, join, table, tag
from charlm.page.recipe import recipe_of
from charlm.page.subject import Subject
from charlm.page.svg import number

NAME, TITLE = "what", "What it is"
_CELLS = {
    "rnn": "plain recurrent network (RNN)",
    "gru": "gated recurrent unit (GRU)",
    "lstm": "long short-term memory (LSTM)",
    "simple-gru": "simplified GRU",
    "lstm-peephole": "LSTM with peepholes",
}
_KINDS = {
    "labelled": "language model of labelled texts",
    "classify": "classifier",
    "tag": "tagger",
    "convert": "converter of texts",
}
_UNITS_OF_TEXT = {"char": "characters", "byte": "bytes", "word": "words"}
_METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "span_f1": "F1 of spans",
    "unknown_accuracy": "accuracy on unknown words",
    "word_accuracy": "accuracy on whole words",
    "exact_match": "exact matches",
    "word_error_rate": "word error rate",
    "symbol_error_rate": "symbol error rate",
    "majority": "always the commonest label",
}
_MOST_LABELS = 10
_MOST_FILES = 5
_LONGEST_NAME = 100


def section(subjects: Sequence[Subject]) -> Section:
    """Return the section that says what each model is."""
    parts = [_cards(subjects[0])] if len(subjects) == 1 else []
    rows = [dict(rows_of(its)) for its in subjects]
    names = dict.fromkeys(name for row in rows for name in row)
    head = ["", *(its.name for its in subjects)] if len(subjects) > 1 else ["", subjects[0].name]
    cells = [[name, *(row.get(name, "–") for row in rows)] for name in names]
    parts.append(table("The models" if len(subjects) > 1 else "The model", head, cells))
    for its in subjects:
        command, exactly = recipe_of(its)
        title = "To train it again" + (f": {its.name}" if len(subjects) > 1 else "")
        code = tag("pre", {"data-copy": True}, command)
        inside = join(tag("p", {"class": "note"}, exactly), code)
        parts.append(tag("details", None, tag("summary", None, title), inside))
    return Section(NAME, TITLE, join(*parts), styles=("what.css",))


def rows_of(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield name and text, with its unit, of each thing to know of a model."""
    facts = facts_of(subject.model)
    yield "kind", _kind(subject.model, facts)
    yield "network", _network(facts)
    yield "parameters", f"{facts['parameters']:,}"
    if facts.get("counted_ngrams"):
        weight = f", weight {facts['counts_weight']:.2f}"
        order = f"of up to {facts['counts_order']} tokens"
        yield "counts", f"{facts['counted_ngrams']:,} n-grams {order}{weight}"
    for side in ("", "source ", "target "):
        key = side.replace(" ", "_")
        if facts.get(f"{key}vocabulary"):
            units = _UNITS_OF_TEXT[facts[f"{key}tokenizer"]]
            yield f"{side}vocabulary", f"{facts[f'{key}vocabulary']:,} different {units}"
    for name, what in (("labels", "label"), ("tags", "tag")):
        if facts.get(name):
            yield name, _listed([one[what] for one in facts[name]])
    if facts.get("sequences"):
        yield (
            "texts",
            {"line": "lines", "paragraph": "paragraphs"}.get(facts["sequences"], "one document"),
        )
    yield "corpus", _corpus(facts)
    yield from _training(subject, facts)
    yield from _figures(subject, facts)
    yield "size of the file", _size(subject.size)
    yield "trained by", _clipped(facts["trained_by"])


def _kind(model: Any, facts: dict[str, Any]) -> str:
    task = facts.get("task")
    return (
        _KINDS.get(task, str(task))
        if task
        else f"language model of {_UNITS_OF_TEXT[model.tokenizer.kind]}"
    )


def _network(facts: dict[str, Any]) -> str:
    if not facts.get("layers"):
        return "none: counts alone"
    layers = "1 layer" if facts["layers"] == 1 else f"{facts['layers']} layers"
    cell = str(facts["cell"]).split(" ")[0]
    parts = [
        f"{_CELLS.get(cell, cell)}, {layers} of {facts['hidden']:,} units",
        "in both directions" if facts.get("directions") == 2 else "",
        f"embedding {facts['embedding']:,} wide" if facts["embedding"] else "one-hot input",
        f"dropout {facts['dropout']:g}" if facts["dropout"] else "",
        "normalised layers" if facts.get("layer_norm") else "",
        "residual layers" if facts.get("residual") else "",
        "embedding and output tied" if facts.get("tied") else "",
        f"{facts['head_layers']} layers on top" if facts.get("head_layers") else "",
    ]
    return ", ".join(filter(None, parts))


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(_clipped(name) or "(none)" for name in names[:_MOST_LABELS])
    return f"{len(names):,}: {shown}{', …' if len(names) > _MOST_LABELS else ''}"


def _corpus(facts: dict[str, Any]) -> str:
    files = [_clipped(name) for name in facts.get("corpus") or []]
    more = f" and {len(files) - _MOST_FILES:,} more files" if len(files) > _MOST_FILES else ""
    names = ", ".join("standard input" if name == "-" else name for name in files[:_MOST_FILES])
    tokens = facts.get("training_tokens")
    return f"{names or 'unknown'}{more}" + (f", {tokens:,} tokens to train on" if tokens else "")


def _training(subject: Subject, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    parts = [f"{facts['step']:,} steps" if facts.get("step") else ""]
    parts.append(f"{number(facts['epoch'])} times the text" if facts.get("epoch") else "")
    parts.append(clock(facts["seconds"]) if facts.get("seconds") else "")
    if any(parts):
        yield "training until then", ", ".join(filter(None, parts))


def _figures(subject: Subject, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    unit = unit_of(subject)
    told = [("valid_nats", "held-out text"), ("valid_nats_network", "the network alone")]
    told += [("valid_nats_counts", "n-grams alone"), ("test_nats", "test text")]
    for name, words in told:
        if isinstance(facts.get(name), float):
            shown = _in_unit(unit, facts[name])
            yield words, f"{shown} ({facts[name]:.4f} nats)" if "nats" not in shown else shown
    for part, words in (("valid", "held-out"), ("test", "test")):
        for key, metric in _METRICS.items():
            if isinstance(facts.get(f"{part}_{key}"), float):
                yield f"{words}: {metric}", f"{100 * facts[f'{part}_{key}']:.2f} %"


def _in_unit(unit: Any, nats: float) -> str:
    return f"{number(float(unit.of(np.array([nats]))[0]))} {unit.name}"


def _cards(subject: Subject) -> Markup:
    """Return the few figures that a reader sees first."""
    return tag("dl", {"class": "cards"}, *(_card(*pair) for pair in _first(subject)))


def _card(name: str, value: str) -> Markup:
    return tag("div", None, tag("dt", None, name), tag("dd", None, value))


def _first(subject: Subject) -> Iterator[tuple[str, str]]:
    facts, unit = facts_of(subject.model), unit_of(subject)
    nats = facts.get("valid_nats")
    metric = next((key for key in _METRICS if isinstance(facts.get(f"valid_{key}"), float)), None)
    if metric is not None:
        yield f"{_METRICS[metric]} on held-out text", f"{100 * facts[f'valid_{metric}']:.1f} %"
    elif isinstance(nats, float):
        yield f"{unit.name} on held-out text", number(float(unit.of(np.array([nats]))[0]))
        among = _UNITS_OF_TEXT[subject.model.tokenizer.kind]
        yield f"equal {among}: as unsure as among so many", f"{math.exp(min(nats, 700)):,.1f}"
    yield "parameters", f"{facts['parameters']:,}"
    if facts.get("seconds"):
        yield "of training", clock(facts["seconds"])


def _clipped(name: Any) -> str:
    """Return a name, of a long one the beginning: a page should not be spoilt by what a file
    says."""
    text = str(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def clock(seconds: float) -> str:
    """Return a time as people say it: 12 seconds, 3 minutes, 2.5 hours."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
