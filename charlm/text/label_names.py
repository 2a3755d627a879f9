"""The labels that a model knows, and what is said of one that it does not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlm.config import LABELS, MOST_LABELS, have_counts
from charlm.errors import DataError, UsageError
from charlm.text.labels import is_label


@dataclass(frozen=True)
class Labels:
    """Labels in the order of their numbers.

    counts: how many texts of the training part had each. form: where they stood
    (`charlm.text.labels`).
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    form: str

    def number(self, label: str) -> int:
        """Return the number of a label; raises UsageError, which names the nearest, where there is
        none such."""
        if label not in self.names:
            raise UsageError(no_such_label(label, self.names))
        return self.names.index(label)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, as files have it."""
        return {"names": list(self.names), "counts": list(self.counts), "form": self.form}

    @classmethod
    def from_dict(cls, values: Any) -> Labels:
        """Rebuild; raises DataError where anything is missing or wrong."""
        if not isinstance(values, Mapping) or set(values) != {"names", "counts", "form"}:
            raise DataError("the labels need exactly names, counts and form")
        names, counts, form = values["names"], values["counts"], values["form"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError("the names of the labels are no list of texts")
        if not all(
            map(is_label, names)
        ):  # a control character in one would go to somebody's terminal
            raise DataError("there is a label that no text could have had")
        if not have_counts(names, counts) or len(names) > MOST_LABELS:
            raise DataError("there must be two or more different labels, and a count for each")
        if form not in LABELS:
            raise DataError("the labels have a form that there is not")
        return cls(tuple(names), tuple(counts), form)


def no_such_label(label: str, names: Sequence[str]) -> str:
    """Return what to say of a label that is none of `names`: which are the nearest."""
    near = difflib.get_close_matches(label, names, n=3, cutoff=0.5) or names[:3]
    more = "" if len(near) == len(names) else f" ({len(names):,} in all, see charlm info)"
    return f"the model has no label {label!r:.80}, but such as {', '.join(near)}{more}"
