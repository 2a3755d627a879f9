"""Opens a model of any task from its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from charlm.config import TrainConfig
from charlm.model_files import Tensors, opened
from charlm.tasks import task_of_file


def load(
    path: str | os.PathLike[str] = "charlm-model", threads: int | None = None, engine: str = "numpy",
    device: str = "auto",
) -> Any:  # fmt: skip
    """Open a model from its directory or its `.safetensors` file, to compute with `engine` on `device`.

    It is a `Model`, or a `Classifier` where classes were learnt. Raises MissingInputError where there is none,
    DataError where it is damaged or not a charlm model, and UsageError where PyTorch or the device is missing.
    """
    return opened(path, _rebuilt, threads, engine, device)


def _rebuilt(tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig) -> Any:
    return task_of_file(metadata).opened(tensors, metadata, train)
