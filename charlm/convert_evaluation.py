"""How well a converter does on a part of a corpus: each distinct source decoded once, greedily, and
compared with all its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charlm.conversion import Conversion
from charlm.convert_metrics import convert_tally
from charlm.engines import Tally
from charlm.engines.converter import ConverterEngine
from charlm.text.batches import Ids
from charlm.text.pair_packing import PairList, pair_chunks
from charlm.text.pair_part import PairPart
from charlm.text.tokenizers import UNK

_AT_ONCE = 2048  # sources that are decoded together


@dataclass(frozen=True)
class Sources:
    """Distinct sources of a part, in the order in which they first stand there.

    numbers: of their pairs, source by source. ends [n]: where those of each end.
    """

    part: PairPart
    numbers: NDArray[np.int64]
    ends: NDArray[np.int64]

    @staticmethod
    def of(part: PairPart, most: int | None = None) -> Sources:
        """Return all of a part, or `most` of them, spread evenly over it: the same whenever
        asked."""
        hashes = part.hashes()
        order = np.argsort(hashes, kind="stable")
        starts = np.flatnonzero(np.diff(hashes[order], prepend=~hashes[order[:1]]))
        groups = np.split(order, starts[1:]) if len(order) else []
        groups.sort(key=lambda group: int(group[0]))
        if most is not None and most < len(groups):
            groups = [groups[k * len(groups) // most] for k in range(most)]
        numbers = np.concatenate(groups) if groups else np.zeros(0, np.int64)
        return Sources(part, numbers, np.cumsum([len(group) for group in groups], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def tokens(self) -> int:
        """How many ids a reading of their pairs takes, an EOS for each source and each target."""
        return int(self.part.sizes(self.numbers).sum()) + 2 * len(self.numbers)

    def blocks(self) -> Iterator[tuple[list[tuple[Ids, Ids]], list[int]]]:
        """Yield pairs, and where those of each source end among them, as many as are handled
        together."""
        for begin in range(0, len(self), _AT_ONCE):
            ends = self.ends[begin : begin + _AT_ONCE]
            first = int(self.ends[begin - 1]) if begin else 0
            yield self.part.pairs(self.numbers[first : int(ends[-1])]), (ends - first).tolist()


def evaluate(
    engine: ConverterEngine, sources: Sources, conversion: Conversion,
    stop: Callable[[], bool] = lambda: False,
) -> Tally | None:  # fmt: skip
    """Return the sums over sources and their targets (`charlm.convert_metrics`); None if `stop`
    interrupted it.

    Targets' tokens that training has not are in no nats, and make their target wrong.
    """
    total = Tally()
    for pairs, ends in sources.blocks():
        nats, targets, read = 0.0, 0, 0
        for _, chunk in pair_chunks(PairList(pairs)):
            if stop():
                return None
            known = chunk.targets != UNK
            nats -= float(engine.log_probs(chunk)[known].sum())
            targets, read = targets + int(np.count_nonzero(known)), read + chunk.read
        begins = [0, *ends[:-1]]
        asked = [pairs[begin][0] for begin in begins]
        gold = [
            [target for _, target in pairs[begin:end]]
            for begin, end in zip(begins, ends, strict=True)
        ]
        said = decoded(engine, asked, conversion)
        total += convert_tally(said, gold, nats, targets, read)
    return total


def decoded(engine: ConverterEngine, sources: Sequence[Ids], conversion: Conversion) -> list[Ids]:
    """Return the most probable target of each source as the greedy search finds it."""
    limits = [conversion.limit(len(source)) for source in sources]
    return [found.ids for found in engine.greedy(sources, limits)]
