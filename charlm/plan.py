"""Settings for a corpus and a time, where the user gives none: rules fitted to measurements on real texts.

A GRU reached a lower validation loss in the same time than an LSTM or a plain RNN of any size tried, and one layer
a lower one than two. What remains is how wide, how long and how much dropout; for those, more text and more time
ask for a wider network, and reading the same text often asks for more dropout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_FLOPS = 75e9  # what two cores of a laptop reach in training; the default time is counted in it, not by a clock
_SECONDS, _LEAST_SECONDS, _MOST_SECONDS = 40, 40, 240  # for 20,000 tokens, rising with the square root
_REFERENCE_TOKENS = 20_000
_HIDDEN, _WORD_HIDDEN = 144, 96  # for 20,000 tokens in the default time; a word costs its vocabulary besides
_EMBEDDING = 64
_LARGE = 100_000  # tokens from which larger batches pay
_MULTIPLE = 32  # widths that matrix multiplication likes
_EPOCHS = 80  # a small text read more often than this is learnt by heart
_PATIENCE = 8  # evaluations, of some 25, where the time asked for would go beyond that
_LR, _LR_HIDDEN = 0.005, 384  # the learning rate up to this width, above it falling with the width


def defaults(tokens: int, vocabulary: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return model and training settings for a training part of `tokens` ids over `vocabulary` different ones.

    `given` are the settings that the user chose; what follows from them does. With no `minutes` the run is fixed in
    steps: some 15 seconds for a list of a thousand names, some four minutes from a megabyte on, on two cores.
    """
    words, minutes = given.get("tokenizer") == "word", given.get("minutes")
    usual = min(max(_SECONDS * math.sqrt(tokens / _REFERENCE_TOKENS), _LEAST_SECONDS), _MOST_SECONDS)
    seconds = 60 * minutes if minutes else usual
    width = (_WORD_HIDDEN if words else _HIDDEN) * (tokens / _REFERENCE_TOKENS * seconds / usual) ** 0.25
    hidden = given.get("hidden", _width(width))
    embedding = given.get("embedding", hidden if words else _EMBEDDING)
    affordable = seconds * _FLOPS / max(1.0, _flops_per_token(hidden, embedding, vocabulary))  # tokens
    budget = min(affordable, _EPOCHS * tokens)
    batch_size, seq_len = (32, 35) if words else (64, 64) if tokens > _LARGE else (32, 32)
    rows = given.get("batch_size", batch_size) * given.get("seq_len", seq_len)
    return {
        "cell": "gru",
        "hidden": hidden,
        "embedding": embedding,
        "tie": words and embedding == hidden,
        "dropout": _dropout(budget / tokens),
        "lr": round(_LR * min(1.0, _LR_HIDDEN / max(1, hidden)), 5),
        "batch_size": batch_size,
        "seq_len": seq_len,
        "steps": None if minutes else math.ceil(budget / max(1, rows)),
        "patience": _PATIENCE if minutes and affordable > budget else None,
    }


def _width(hidden: float) -> int:
    return max(_MULTIPLE, _MULTIPLE * round(min(hidden, 1024) / _MULTIPLE))


def _flops_per_token(hidden: int, embedding: int, vocabulary: int) -> float:
    """Return the operations of a step over one token: each product once forward and twice backward."""
    return 6.0 * (3 * hidden * (hidden + embedding) + hidden * vocabulary)


def _dropout(epochs: float) -> float:
    """Return the dropout that kept validation falling when a text was read so many times."""
    return round(min(max(0.1 + 0.35 * math.log10(epochs / 6), 0.0), 0.5), 2)
