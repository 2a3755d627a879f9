"""What a model file tells of the run it comes from: entries of exact types, or the file is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from charlm.config import check_type
from charlm.errors import DataError, UsageError

_OF_A_PART = {
    "nats": float | None, "nats_known": float | None, "tokens_scored": int, "unknown": int,
    "accuracy": float | None, "macro_f1": float | None, "majority": float | None, "texts_scored": int,
    "span_f1": float | None, "unknown_accuracy": float | None, "word_accuracy": float | None,
    "tags_scored": int,
    "exact_match": float | None, "word_error_rate": float | None, "symbol_error_rate": float | None,
    "targets_scored": int,
}  # fmt: skip
FACTS: dict[str, Any] = {
    "run": str,
    "charlm": str,
    "settings": dict,
    "corpus": list,
    "train_tokens": int,
    "digests": dict,
    "step": int,
    "epoch": float,
    "tokens": int,
    "seconds": float,
    "counted_tokens": int,
    "counts_file": str,
    "counts_digest": str,
    "valid_nats_network": float | None,
    "valid_nats_counts": float | None,
    "counts_weight": float | None,
    "counts_share": float | None,
    **{f"{part}_{name}": hint for part in ("valid", "test") for name, hint in _OF_A_PART.items()},
}


def check_facts(values: Mapping[str, Any], types: Mapping[str, Any] = FACTS) -> None:
    """Raise DataError where an entry is not of its type in `types`, not finite, or a count below zero.

    Entries that `types` does not know may hold anything: other versions may have written them.
    """
    for name, value in values.items():
        if name not in types:
            continue
        try:
            check_type(name, value, types[name])
        except UsageError as error:  # in a file it is no setting of the user's
            raise DataError(str(error)) from None
        if type(value) is int and value < 0:
            raise DataError(f"{name} must be 0 or more, not {value}")


def finite(value: float | None) -> float | None:
    """Return a figure as files have it, in which no number is None: JSON knows neither NaN nor infinity."""
    return value if value is not None and math.isfinite(value) else None
