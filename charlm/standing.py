"""Where a run stands, which must survive a stop."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from charlm.facts import check_facts


@dataclass
class Standing:
    """Where a run stands: everything but the engine's own state that a resumed run must know."""

    step: int = 0
    epoch: int = 0
    chunk: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None  # nats of the best weights, as `Merit` has them
    best_right: int = 0  # their ratio, as `Merit` has it
    best_of: int = 1
    best_step: int = 0
    stale: int = 0  # evaluations since the best, or the best network
    plateaus: int = 0
    pending_nats: float = 0.0  # loss since the last report,
    pending_count: int = 0  # over so many targets
    best_network: float | None = None  # nats of their network alone, where merits have that apart,
    network_best: float | None = None  # and of the best network ever
    skipped: int = 0  # steps left out, their gradients not being finite
    skipped_in_a_row: int = 0
    sampled: int | None = None  # shares of the run done when a sample was drawn last

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild; raises DataError where an entry is not of its type, TypeError where one is
        unknown."""
        renamed = {"pending_tokens": "pending_count"}  # as older runs have it
        known = {renamed.get(name, name): value for name, value in values.items()}
        check_facts(known, typing.get_type_hints(cls))
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of a state file."""
        late = (
            "best_network",
            "network_best",
            "sampled",
        )  # so that a state without them keeps its bytes
        values = dataclasses.asdict(self)
        return {
            name: value for name, value in values.items() if name not in late or value is not None
        }
