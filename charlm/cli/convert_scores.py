"""`charlm score` and `charlm sample` with a converter: the log-probability of targets, given their
sources; and the language model of a source's targets, which writes them."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from charlm.cli.asked import Asked
from charlm.cli.label_scores import the_only
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.texts import STDIN, part_of_lines, tell_of_line_ends
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.converter import Converter
    from charlm.model import Model
    from charlm.scoring import Score

_OF_TEXTS = (
    "eos", "corpus", "dynamic", "cache", "count_cache", "nbest", "weight", "known", "lines",
    "label", "html", "color",
)  # fmt: skip

Pairs = Iterable[tuple[str, str]]  # sources and targets


def score_targets(asked: Asked, models: Sequence[Any]) -> None:
    """Print how probable each target is, given --source or else what stands in its line."""
    model: Converter = the_only(asked, models, "converter", "targets", _OF_TEXTS)
    from charlm.cli.formats import PRINTERS

    pairs, ready = _pairs(asked)
    PRINTERS[asked.format](_scores(model, pairs, asked.per_token, ready), asked.per_token)


def _scores(
    model: Converter, pairs: Pairs, per_token: bool, ready: Callable[[], bool]
) -> Iterator[Score]:
    """Yield the score of each target, which knows its source."""
    held = deque[str]()  # sources of targets that are being scored

    def noted() -> Iterator[tuple[str, str]]:
        for source, target in pairs:
            held.append(source)
            yield source, target

    for score in model.scores(noted(), per_token, ready):
        yield replace(score, source=held.popleft())


def _pairs(asked: Asked) -> tuple[Pairs, Callable[[], bool]]:
    """Return sources and targets, and what tells whether the next is there (UsageError)."""
    source = asked.source
    if asked.file is None:
        if source is None:
            raise UsageError("a converter scores targets: say with --source what they are made of")
        return zip(itertools.repeat(source), asked.texts), lambda: True
    if asked.file == STDIN:
        tell_what_is_awaited("sources and targets" if source is None else "the targets")
    from charlm.text.pairs import pairs_of
    from charlm.text.stream import open_lines

    shard = part_of_lines(asked.shard)
    lines = open_lines(asked.file, asked.encoding, shard, before_waiting=sys.stdout.flush)
    tell_of_line_ends(asked.file, lines)
    if source is not None:
        return zip(itertools.repeat(source), lines), lines.ready
    where = "standard input" if asked.file == STDIN else asked.file
    return pairs_of(lines.numbered(), where), lines.ready


def written_of(model: Any, source: str | None) -> Model:
    """Return a language model as it is, and that of the targets which a converter makes of a source
    (UsageError where the source is missing, or in the way)."""
    from charlm.converter import Converter
    from charlm.language import Language
    from charlm.model import Model

    if not isinstance(model, Converter):
        if source is not None:
            raise UsageError(
                "only a converter has sources: leave --source out, or give another model"
            )
        found: Model = model
        return found
    if source is None:
        raise UsageError(
            "a converter writes targets: say with --source of what, or use charlm predict"
        )
    language = Language(model.tokenizer, "line", "sequence")
    predictor: Any = model.bound(source)  # it predicts, and is not trained
    return Model(predictor, model.config, language, model.facts)


def unknown_of_source(model: Converter, source: str) -> list[str]:
    """Return the different characters or words of a source that the model reads as <unk>."""
    from charlm.text.tokenizers import UNK

    tokenizer = model.conversion.source
    unknown = tokenizer.encode(source) == UNK
    return sorted(
        {piece for piece, odd in zip(tokenizer.pieces(source), unknown, strict=True) if odd}
    )
