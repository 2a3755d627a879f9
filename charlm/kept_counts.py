"""The counts in a model's file, beside the weights of its network."""

from __future__ import annotations

from collections.abc import Mapping

from charlm.config import ModelConfig
from charlm.counts.labelled import AnyCounts, counts_of_tensors
from charlm.errors import DataError
from charlm.model_files import Tensors, parse

COUNTS = "counts."  # what the names of their tensors begin with


def kept_counts(
    tensors: Tensors, metadata: Mapping[str, str], config: ModelConfig
) -> tuple[AnyCounts | None, float | None]:
    """Return the counts of a file and their weight, None where it has none (DataError where they
    are damaged)."""
    arrays = {
        name.removeprefix(COUNTS): value
        for name, value in tensors.items()
        if name.startswith(COUNTS)
    }
    if "charlm.counts" not in metadata:
        if arrays:
            raise DataError("it has counts, but does not say what they are")
        return None, None
    facts = parse(metadata, "charlm.counts")
    weight = facts.pop("weight", None)
    if not isinstance(weight, float | int) or isinstance(weight, bool) or not 0 <= weight <= 1:
        raise DataError("the weight of its counts must be a number from 0 to 1")
    return counts_of_tensors(arrays, facts, config.vocab_size, config.beginnings), float(weight)
