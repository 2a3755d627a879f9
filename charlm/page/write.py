"""Section "write": the model itself in the page, which reads what is typed, says what may come
next, and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from charlm import inputs
from charlm.errors import CharlmError
from charlm.model import Model
from charlm.page.document import Section
from charlm.page.markup import Attribute, Markup, join, quoted, table, tag
from charlm.page.weights import Inside
from charlm.text.batches import StoredIds

NAME, TITLE = "write", "Write with it"
LARGE = 10_000_000  # bytes of a page, above which it is said to be large
_LONGEST = 2000  # characters of a prompt: the page keeps the state after each
_TOKENS = {"char": "characters", "byte": "bytes", "word": "words"}
_NO_SCRIPT = "The model writes with JavaScript, which is off in this browser."
_WORDS_APART = (
    "This model's words are found by a pattern of its own, which no page runs: here they are what "
    "white space parts, so put a space before a comma. "
)


@dataclass(frozen=True)
class HeldOut:
    """A text on which the cost of rounding is measured; `name` says which: "validation part"."""

    text: StoredIds
    name: str


def section(
    model: Model, weights: str = "float16", measured_on: HeldOut | None = None, name: str = ""
) -> Section:
    """Return the section of a language model, its weights as `weights`: float16, float32 or int8.

    measured_on: the text on which the cost of that is measured. name: of the model, in a page of
    several.

    Raises UsageError for other `weights`, for float16 where a weight is too large for it, and for a
    mixture.
    """
    inside = Inside.of(model, weights)
    desk = (
        tag("div", None, _form(model), *_written()),
        tag("div", None, _next(), tag("h3", None, "What was typed"), *_typed()),
    )
    body = join(
        tag("p", None, "It is ", quoted(name), " that reads and writes here.") if name else None,
        tag("noscript", None, tag("p", {"class": "note"}, _NO_SCRIPT)),
        tag("div", {"class": "desk", "hidden": True}, *desk),
        tag("h3", None, "What this page has of the model"),
        _figures(inside, model, measured_on),
        tag("p", {"class": "note"}, _limits(model)),
    )
    scripts = ("tokenizer.js", "model.js", "drawing.js", "write.js")
    return Section(NAME, TITLE, body, inside.data, scripts, ("surprise.css", "write.css"))


def held_out(
    model: Model, path: str, text: str | None = None, encoding: str = "utf-8"
) -> HeldOut | str:
    """Return the file `text`, or the validation part of the run at `path`; where there is neither,
    why.

    Raises what reading a corpus does of a file that was given.
    """
    place = Path(path)
    if text is not None:
        (part,) = inputs.corpus_parts([model], [place], text, encoding)
        return HeldOut(part, "text given")
    try:
        run = place if place.is_dir() else place.parent
        return HeldOut(inputs.held_out(run, "valid", model, "--text FILE"), "validation part")
    except CharlmError as error:
        return str(error)


def _form(model: Model) -> Markup:
    language = model.language
    own: dict[str, Attribute] = {"maxlength": _LONGEST, "autocomplete": "off", "dir": "auto"}
    own |= {"name": "prompt", "spellcheck": "false"}
    prompt = tag("textarea", own | {"rows": 3}) if language.kind.newline else tag("input", own)
    labels = language.labels.names if language.labels else ()
    options = (tag("option", None, name) for name in labels)
    title = tag("legend", {"class": "unseen"}, "How to write")
    stop = tag("button", {"type": "button", "class": "stop"}, "Stop")
    return tag(
        "form",
        None,
        tag("label", None, "Label", tag("select", {"name": "label"}, *options)) if labels else None,
        tag("label", None, "The text begins with", prompt),
        tag("fieldset", {"class": "settings"}, title, *_settings(model)),
        tag("div", None, tag("button", None, "Write"), " ", stop),
    )


def _settings(model: Model) -> tuple[Markup, ...]:
    """Return the fields that say how to write."""
    length = f"Length in {_TOKENS[model.tokenizer.kind]}"
    return (
        _field("Temperature", "temperature", {"min": 0, "max": 10, "step": "any", "value": 1}),
        _field("Top-k", "top-k", {"min": 1, "placeholder": "all"}),
        _field("Top-p", "top-p", {"min": 0, "max": 1, "step": "any", "placeholder": "1"}),
        _field("Seed", "seed", {"min": 0, "max": 2**31, "placeholder": "any"}),
        _field(length, "most", {"min": 1, "max": 5000, "value": 400}),
        tag("label", None, "Stop before", tag("input", {"name": "stop", "autocomplete": "off"})),
    )


def _field(title: str, name: str, attributes: dict[str, Attribute]) -> Markup:
    own: dict[str, Attribute] = {"type": "number", "name": name, "required": "value" in attributes}
    return tag("label", None, title, tag("input", own | attributes))


def _written() -> tuple[Markup, Markup]:
    about: dict[str, Attribute] = {"role": "region", "aria-label": "What the model writes"}
    about |= {"class": "written", "dir": "auto", "tabindex": 0}
    return tag("div", about), tag("p", {"class": "why note"})


def _typed() -> tuple[Markup, Markup]:
    return tag("p", {"class": "typed", "dir": "auto"}), tag("p", {"class": "score note"})


def _next() -> Markup:
    """Return the table that the script fills with what may come next."""
    names = (tag("th", {"scope": "col"}, name) for name in ("token", "probability"))
    head = tag("thead", None, tag("tr", None, *names, tag("td")))
    caption = tag("caption", None, "What may come next")
    return tag("table", {"class": "next"}, caption, head, tag("tbody"))


def _figures(inside: Inside, model: Model, measured_on: HeldOut | None) -> Markup:
    """Return what the page's model costs beside the original, or that nobody knows."""
    cost = inside.cost(model, measured_on.text) if measured_on else None
    if cost is None or measured_on is None:
        return tag("p", None, f"{_carried(inside)} What rounding costs was not measured.")
    rows: list[list[object]] = [["as it was trained", f"{cost.original:.4f}", ""]]
    if inside.weights != "float32":
        rows.append(_row(f"weights as {inside.weights}", cost.rounded, cost.original))
    if cost.cut is not None:
        rows.append(_row("and fewer n-grams, as here", cost.cut, cost.original))
    caption = f"Over {cost.tokens:,} tokens of the {measured_on.name}: less is better"
    header = ["the model", "nats a token", "more"]
    return join(tag("p", None, _carried(inside)), table(caption, header, rows))


def _row(name: str, nats: float, original: float) -> list[object]:
    return [name, f"{nats:.4f}", f"{nats - original:+.4f}"]


def _carried(inside: Inside) -> str:
    """Say what of the model the page has, and how much room that takes."""
    of_network, of_counts = inside.bytes
    counts, parts = inside.model.counts, []
    if of_network:
        parts.append(f"{inside.parameters:,} weights as {inside.weights} ({_size(of_network)})")
    if counts is not None:
        parts.append(f"{sum(counts.ngrams()):,} n-grams ({_size(of_counts)})")
    return f"This page has the model: {' and '.join(parts)}."


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _limits(model: Model) -> str:
    """Say what a reader may expect of it that it does not do."""
    split = model.tokenizer.to_dict().get("word_pattern") is not None
    end = "with the end of the text" if model.counts_eos() else "without the end of the text"
    return (
        f"{_WORDS_APART if split else ''}The same seed writes the same text again in this page. It "
        "is not the seed of charlm sample, which draws other texts. The log-probability is that of "
        f"charlm score with these weights, {end}. Nothing that you type leaves this page."
    )
