"""What the courses of a classifier, a tagger and a converter have in common: they answer, and how
many answers are right makes a model the best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from charlm.engines import Tally


class AnswersCourse:
    """The part of `charlm.tasks.Course` that is the same for all that answer."""

    headings: tuple[str, ...]
    merit_unit = "%"
    unit = "train and nats: nats per target; all else in percent"

    def training_value(self, nats: float) -> str:
        return f"{nats:.4f}"

    def example(self, step: int) -> str | None:
        """Return nothing: the figures say it all."""
        return None

    def validate(self, stop: Callable[[], bool], best: Any) -> Tally | None:
        """Return nothing: each evaluation reads all of the validation part."""
        return None


def row(*shares: float | None, nats: float | None) -> tuple[str, ...]:
    """Return shares in percent and a loss in nats as a table has them; "-" for what there is not.

    >>> row(0.98, None, nats=0.1)
    ('98.00', '-', '0.1000')
    """
    percents = ("-" if share is None else f"{100 * share:.2f}" for share in shares)
    return *percents, "-" if nats is None else f"{nats:.4f}"
