"""Settings for a corpus of a given size, where the user gives none: what measurements showed to serve best."""

from __future__ import annotations

from typing import Any


def defaults(tokens: int, vocabulary: int, tokenizer: str, minutes: float | None) -> dict[str, Any]:
    """Return model and training settings for a training part of `tokens` ids over `vocabulary` different ones."""
    return {"hidden": 256, "embedding": 64, "dropout": 0.0, "epochs": None if minutes else 10.0}
