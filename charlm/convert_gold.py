"""Converters on gold pairs: what their targets add up to, against all references of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.convert_metrics import ConvertFigures, convert_tally, nearest
from charlm.converter import Converter, Target
from charlm.engines import Tally
from charlm.text.batches import Ids
from charlm.text.tokenizers import SPECIALS
from charlm.text.windows import in_windows

_SOURCES, _CHARACTERS = 4096, 1 << 18  # of a window, which all models convert together
_WORST = 10  # wrong targets that are kept

References = Mapping[str, Sequence[str]]  # the right targets of each source
Window = Sequence[tuple[str, Sequence[str]]]


class Wrong(NamedTuple):
    """A target that was none of the references: how many edits it is away from the nearest."""

    edits: int
    source: str
    gold: str
    said: str


@dataclass
class Found:
    """What was found by one way of searching, greedy or by a beam.

    right: of each source in order whether its target is one of the references. limited: how many
    targets stopped at the length limit. short: how many have less than half of the tokens of the
    nearest reference. worst: the targets that are most edits away, equally far ones in the order of
    their sources. said: all targets, where they are asked for.
    """

    beam: int
    tally: Tally = field(default_factory=Tally)
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    limited: int = 0
    short: int = 0
    worst: list[Wrong] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def figures(self) -> ConvertFigures:
        """The figures of all sources so far."""
        return ConvertFigures(self.tally)

    @property
    def every_right(self) -> NDArray[np.bool_]:
        """`right` as one array, [S]."""
        return np.concatenate([np.zeros(0, np.bool_), *self.right])


class ConvertAnswers:
    """One converter's answers to gold pairs.

    found: by each way of searching that was asked for, greedy first. majority, copied: the sums
    where the target were always the commonest of the references, and where it were the source.
    tokens, unknown: of all sources, how many training has not.
    """

    def __init__(self, model: Converter, beams: Sequence[int], common: str, keep: bool) -> None:
        """Prepare; `beams` are the widths, `keep` holds on to all targets."""
        self.model, self.common = model, common
        self.found = [Found(beam) for beam in beams]
        self.majority, self.copied = Tally(), Tally()
        self.tokens = self.unknown = 0
        self._keep = keep

    def add(self, some: Window) -> None:
        """Convert sources, whose references are given."""
        model, sources = self.model, [source for source, _ in some]
        encode = model.conversion.target.encode
        gold = [[encode(one) for one in references] for _, references in some]
        pairs = ((source, one) for source, references in some for one in references)
        nats, targets = 0.0, 0
        for score in model.scores(pairs):
            nats -= score.logprob - score.unknown_logprob  # as training evaluates
            targets += score.tokens - score.unknown
        for found in self.found:
            answers = list(model.predict(sources, found.beam))
            best = [answer.targets[0] for answer in answers]
            self._take(found, some, best, gold, (nats, targets))
        self.tokens += sum(len(answer.source_tokens) for answer in answers)
        self.unknown += sum(answer.unknown for answer in answers)
        self._take_baselines(some)

    def _take(
        self, found: Found, some: Window, best: Sequence[Target], gold: Sequence[Sequence[Ids]],
        scored: tuple[float, int],
    ) -> None:  # fmt: skip
        encode = self.model.conversion.target.encode
        said = [encode(target.text) for target in best]
        nats, targets = scored
        found.tally += convert_tally(said, gold, nats, targets, 0)
        edits, lengths, which = nearest(said, gold)
        found.right.append(edits == 0)
        found.limited += sum(not target.ended for target in best)
        found.short += int(np.count_nonzero(2 * np.array(list(map(len, said))) < lengths))
        wrong = [
            Wrong(int(edits[k]), some[k][0], some[k][1][which[k]], best[k].text)
            for k in np.flatnonzero(edits).tolist()
        ]
        found.worst = sorted([*found.worst, *wrong], key=lambda one: -one.edits)[:_WORST]
        if self._keep:
            found.said += [target.text for target in best]

    def _take_baselines(self, some: Window) -> None:
        """Add up what the commonest target and the source itself are worth, token by token, those
        too that training has not."""
        numbers: dict[str, int] = {}
        pieces = self.model.conversion.target.pieces

        def numbered(text: str) -> Ids:
            ids = [
                numbers.setdefault(piece, len(SPECIALS) + len(numbers)) for piece in pieces(text)
            ]
            return np.array(ids, np.int32)

        gold = [[numbered(one) for one in references] for _, references in some]
        common = [numbered(self.common)] * len(some)
        self.majority += convert_tally(common, gold, 0.0, 0, 0)
        self.copied += convert_tally([numbered(source) for source, _ in some], gold, 0.0, 0, 0)


def gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the references of each source, in the order in which they come.

    >>> gathered([("a", "1"), ("b", "2"), ("a", "3")])
    {'a': ['1', '3'], 'b': ['2']}
    """
    found: dict[str, list[str]] = {}
    for source, target in pairs:
        found.setdefault(source, []).append(target)
    return found


def answer_all(
    models: Sequence[Converter], gold: References, beam: int = 1, keep: bool = False
) -> list[ConvertAnswers]:
    """Let converters convert the same sources, greedily and with a beam where it is wider than
    1; `keep` holds on to all that they say."""
    counts = Counter(target for references in gold.values() for target in references)
    common = max(counts, key=counts.__getitem__, default="")  # of equally common ones the first
    beams = [1] if beam == 1 else [1, beam]
    every = [ConvertAnswers(model, beams, common, keep) for model in models]
    held = in_windows(
        gold.items(), size_of=lambda pair: len(pair[0]), most=_SOURCES, total=_CHARACTERS
    )
    for some in held:
        for answers in every:
            answers.add(some)
    return every
