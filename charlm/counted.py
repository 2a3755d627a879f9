"""The counts of a run's training text: as many of its tokens as the time allows."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from charlm.counts.arpa_reader import read_arpa
from charlm.counts.kneser_ney import budget, count_text
from charlm.counts.labelled import AnyCounts, LabelCounts
from charlm.counts.table import Counts
from charlm.errors import UsageError
from charlm.language import Language
from charlm.text.batches import StoredIds
from charlm.text.labelled_part import LabelledPart
from charlm.text.parts import Part, PartBuilder
from charlm.text.reading import open_file
from charlm.text.tokenizers import EOS

_SHARE = 0.04  # of the minutes allowed may go to counting
_PILOT = 100_000  # tokens that are counted to see how long a token takes
_MOST_LABELS = 1000  # with counts of their own: of more, few have texts enough
_OPEN = 64  # labels whose texts are gathered at a time, each in a file
_TEXTS = 1 << 12  # read together
_END = np.array([EOS], np.int32)


def counted(
    part: StoredIds, order: int, language: Language, minutes: float | None, facts: dict[str, Any]
) -> Counts:
    """Return the n-grams of a training part, of up to `order` tokens.

    Where the run has minutes and they are too few for all of a large text, so much of its beginning
    is counted as they allow. `facts` then tell how much it was, and a run that is taken up again
    counts just that.
    """
    if "counted_tokens" not in facts:
        most = (
            len(part)
            if minutes is None
            else _affordable(part, order, language, 60 * minutes * _SHARE)
        )
        facts["counted_tokens"] = min(most, len(part))
    return _count(part, order, language, facts["counted_tokens"])


def counted_by_label(
    every: Counts, part: LabelledPart, order: int, language: Language, tokens: int
) -> AnyCounts:
    """Return the counts of all texts with those of each label's own beside them.

    Read are the texts among the first `tokens` of the part, and the first text of each label. All
    labels' n-grams together take as much room as those of all texts may. Where there are more than
    a thousand labels, they have none of their own.
    """
    if len(part.names) > _MOST_LABELS:
        return every
    size, begin = language.tokenizer.size, _beginning(language)
    own = [
        count_text(ids, size, order, begin, most=max(1, budget(size) * len(ids) // len(part.ids)))
        for ids in _by_label(part, size, tokens)
    ]
    return LabelCounts(every, own)


def _by_label(part: LabelledPart, vocabulary: int, tokens: int) -> Iterator[Part]:
    """Yield the ids of each label's texts; the part is read once for every so many labels."""
    for first in range(0, len(part.names), _OPEN):
        builders = [PartBuilder(vocabulary) for _ in part.names[first : first + _OPEN]]
        begun, end = np.zeros(len(builders), np.bool_), 0
        for start in range(0, len(part), _TEXTS):
            numbers = np.arange(start, min(start + _TEXTS, len(part)))
            ends = end + np.cumsum(part.lengths(numbers) + 1)
            end, own = int(ends[-1]), part.labels(numbers) - first
            for label in np.unique(own[(own >= 0) & (own < len(builders))]).tolist():
                chosen = (own == label) & (ends <= tokens)
                if not begun[label]:
                    chosen[np.argmax(own == label)] = True
                    begun[label] = True
                texts = part.texts(numbers[chosen])
                pieces = [piece for text in texts for piece in (text, _END)]
                builders[label].append(np.concatenate([*pieces, _END[:0]]), 0)
            if end > tokens and begun.all():
                break
        yield from (builder.part() for builder in builders)


def _affordable(part: StoredIds, order: int, language: Language, seconds: float) -> int:
    """Return how many tokens can be counted in a time, as a piece of the text tells."""
    pilot = min(_PILOT, len(part))
    if pilot == len(part):
        return pilot  # it would all be counted twice
    begun = time.perf_counter()
    _count(part, order, language, pilot)
    took = time.perf_counter() - begun
    return max(pilot, int(pilot * (seconds - took) / took))


def counts_of_file(path: str, language: Language, facts: dict[str, Any]) -> Counts:
    """Return the n-grams of an ARPA file; a run that is taken up again must find the same (UsageError)."""
    counts = read_arpa(open_file(path), language.tokenizer, _beginning(language))
    digest = hashlib.sha256(
        b"".join(array.tobytes() for array in counts.tensors().values())
    ).hexdigest()
    if facts.setdefault("counts_digest", digest) != digest:
        raise UsageError(
            f"{path} is not what this run began with: give that file, or begin anew with --force"
        )
    facts["counts_file"] = os.path.basename(path)
    return counts


def _beginning(language: Language) -> int | None:
    """Return the token whose 1-gram is the context at a text's beginning, None for none.

    In lines and paragraphs the beginning is a context itself. In documents it is what follows a
    newline, if they have it; a word that follows a newline is as good as any.
    """
    newline = None if language.tokenizer.kind == "word" else language.tokenizer.newline
    return newline if language.document else EOS


def _count(part: StoredIds, order: int, language: Language, tokens: int) -> Counts:
    size, begin = language.tokenizer.size, _beginning(language)
    return count_text(part, size, order, begin, tokens=tokens)
