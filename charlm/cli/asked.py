"""What `charlm score` is asked for, and what of it does not go together: every option is obeyed or refused by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charlm.cli.texts import STDIN, part_of_lines
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.text.sequences import Kind

PARTS = ("valid", "test")
_NOTHING = 'give texts to score ("a sentence"), - for stdin, --file FILE or --corpus FILE'


@dataclass(frozen=True)
class Asked:
    """The options of `charlm score`; `given` names those that stand on the command line, `stdin` means -."""

    models: tuple[str, ...]
    texts: tuple[str, ...]
    stdin: bool
    given: frozenset[str]
    mix: str | None
    engine: str
    device: str
    path: str | None
    lines: bool | None
    shard: str | None
    encoding: str
    corpus: str | None
    dynamic: float | None
    cache: int | None
    count_cache: int | None
    nbest: bool
    label: str | None
    source: str | None
    weight: float
    known: bool
    no_counts: bool
    eos: bool | None
    per_token: bool
    form: str | None
    as_json: bool
    as_tsv: bool
    html: str | None
    force: bool
    color: bool | None

    @property
    def format(self) -> str:
        """How scores are printed."""
        return self.form or ("json" if self.as_json else "tsv" if self.as_tsv else "table")

    @property
    def compares(self) -> bool:
        """Whether several models are asked about the same texts."""
        return len(self.models) > 1 and self.mix is None

    @property
    def adapts(self) -> bool:
        """Whether the model adapts to the text that it scores."""
        return any(each is not None for each in (self.dynamic, self.cache, self.count_cache))

    @property
    def file(self) -> str | None:
        """The file that texts come from, - for standard input."""
        return STDIN if self.stdin else self.path

    @property
    def paints_texts(self) -> bool:
        """Whether texts are shown in colours where they stand."""
        return bool(self.color) and not self.per_token

    def kind(self, models: Sequence[Model]) -> Kind:
        """Return what of the file is a text: as said, else what it is for all the models, lines
        where they differ.
        """
        from charlm.text.sequences import DOCUMENT, LINE

        if self.nbest or self.lines is not None:
            return LINE if self.nbest or self.lines else DOCUMENT
        kind, *others = {model.language.kind for model in models}
        return LINE if others or (self.stdin and kind.document) else kind

    def whole(self, models: Sequence[Model]) -> bool:
        """Return whether there is a file, and it is one text."""
        return self.file is not None and self.kind(models).document

    def counts_eos(self, models: Sequence[Model]) -> bool:
        """Return whether the end of a text is scored: as said, else where it is so for all the models."""
        return all(model.counts_eos(self.eos) for model in models)

    def weights(self) -> list[float]:
        """Return the weights of a mixture (UsageError)."""
        try:
            return [float(part) for part in (self.mix or "").split(",")]
        except ValueError:
            raise UsageError(f"mix must be numbers with commas between, such as 0.7,0.3, not {self.mix!r}") from None


def check(asked: Asked) -> None:
    """Raise UsageError for what does not go together, before anything is read."""
    sources = (bool(asked.texts), asked.stdin, asked.path is not None, asked.corpus is not None)
    if sum(sources) != 1:
        raise UsageError(_NOTHING)
    for name, possible, needed in _needs(asked):
        if name in asked.given and not possible:
            raise UsageError(f"{spelled(asked, name)} needs {needed}")
    for name, other in _AT_ODDS:
        if _said(asked, name) and _said(asked, other):
            raise UsageError(f"{spelled(asked, name)} and {spelled(asked, other)} do not go together: leave one out")
    if not math.isfinite(asked.weight):
        raise UsageError(f"weight must be a finite number, not {asked.weight}")
    part_of_lines(asked.shard)
    _check_format(asked)


def check_models(asked: Asked, models: Sequence[Model]) -> None:
    """Raise UsageError for what does not go with the models, now that they are known."""
    if "shard" in asked.given and asked.whole(models):
        raise UsageError("shard needs lines: give - or --file FILE --lines")
    if asked.paints_texts and asked.whole(models):
        raise UsageError(
            "--color shows a whole file token by token: give --per-token too, or --html"
        )
    if "encoding" in asked.given and all(model.tokenizer.kind == "byte" for model in models):
        raise UsageError("a model of bytes reads them as they are: leave --encoding out")


def _needs(asked: Asked) -> Iterator[tuple[str, bool, str]]:
    """Yield for each option that is not always possible: its name, whether it is now, and what it needs."""
    reads = asked.file is not None or (asked.corpus is not None and asked.corpus not in PARTS)
    one_text = "one long text: give --corpus FILE, valid or test"
    yield "mix", len(asked.models) > 1, "several models: give -m more than once"
    yield "known", asked.compares, "models to compare: give -m more than once, without --mix"
    yield "device", asked.engine == "torch", "--engine torch"
    yield "lines", asked.file is not None, "a file to take so: give --file FILE or -"
    yield "shard", asked.file is not None and asked.lines is not False, "lines: give - or --file FILE --lines"
    yield "encoding", reads, "bytes to read: give --file FILE, --corpus FILE or -"
    yield "dynamic", asked.corpus is not None, one_text
    yield "cache", asked.corpus is not None, one_text
    yield "count_cache", asked.corpus is not None, one_text
    yield "weight", asked.nbest, "--nbest"
    tables = asked.compares or asked.nbest or asked.html is not None or asked.format != "table"
    texts = not tables and asked.corpus is None and asked.mix is None
    yield "color", texts, "a table of one model's texts or tokens"
    yield "force", asked.html not in (None, STDIN), "a file to be replaced: give --html FILE"
    all_alike = bool(asked.texts) or asked.file is not None
    yield "label", all_alike, "texts that all have it: on the command line, of - or of --file"
    yield "source", all_alike, "targets of it: on the command line, of - or of --file"


# Pairs that cannot both be obeyed; "several" stands for several models that are compared.
_AT_ODDS = [
    ("several", "nbest"),
    ("several", "per_token"),
    ("mix", "per_token"),
    ("corpus", "per_token"),
    ("corpus", "nbest"),
    ("nbest", "per_token"),
    ("nbest", "shard"),
    ("nbest", "whole"),
    *(("html", name) for name in ("per_token", "corpus", "mix", "nbest", "known")),
    *(("html", name) for name in ("form", "as_json", "as_tsv")),
    ("mix", "dynamic"),
    ("mix", "cache"),
    ("dynamic", "torch"),
    ("cache", "torch"),
]
_SPELLED = {"several": "a comparison of several models", "torch": "--engine torch", "whole": "--whole",
            "path": "--file", "form": "--format", "as_json": "--json", "as_tsv": "--tsv"}  # fmt: skip


def _said(asked: Asked, name: str) -> bool:
    special = {"several": asked.compares, "torch": asked.engine == "torch", "whole": asked.lines is False}
    return special[name] if name in special else getattr(asked, name) not in (None, False)


def spelled(asked: Asked, name: str) -> str:
    """Return the name of an option as it is typed."""
    if name == "lines":
        return "--lines" if asked.lines else "--whole"
    return _SPELLED.get(name) or f"--{name.replace('_', '-')}"


def _check_format(asked: Asked) -> None:
    forms = {form for form, said in [(asked.form, asked.form), ("json", asked.as_json), ("tsv", asked.as_tsv)] if said}
    if len(forms) > 1:
        raise UsageError("give one of --json, --tsv and --format, not several")
    if asked.compares and asked.format not in ("table", "json"):
        raise UsageError(
            f"several models are compared as a table or --json, not as {asked.format}: leave that out, or --mix them"
        )
    if asked.nbest and asked.format not in ("json", "tsv") and asked.form is not None:
        raise UsageError(f"--nbest writes lists, or --json or --tsv, but no {asked.format}: leave --format out")
