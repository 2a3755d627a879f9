"""The files of models: found, opened, written, and the JSON in them. What stands there is each task's matter."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from charlm import checkpoint, checks, exchange
from charlm.config import TrainConfig, path_given
from charlm.errors import DataError, MissingInputError, OutputError, UsageError
from charlm.ownership import MODEL_FILE, is_model
from charlm.processors import available_threads

Opened = TypeVar("Opened")
Tensors = Mapping[str, NDArray[Any]]


def opened(
    path: str | os.PathLike[str], rebuild: Callable[[Tensors, Mapping[str, str], TrainConfig], Opened],
    threads: int | None, engine: str, device: str,
) -> Opened:  # fmt: skip
    """Return what `rebuild` makes of a model's file (errors as `charlm.load`)."""
    for name, value in (("engine", engine), ("device", device)):
        checks.text(name, value)
    threads = available_threads() if threads is None else checks.whole("threads", threads, 1)
    train = TrainConfig(engine=engine, device=device, threads=threads)
    file = model_file(path)
    tensors, metadata = exchange.load(file)
    try:
        return rebuild(tensors, metadata, train)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except UsageError as error:
        if "charlm.task" not in metadata:
            raise
        raise UsageError(f"{file}: {error}") from None


def save(path: str | os.PathLike[str], tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Write a model's file, atomically (errors as `charlm.checkpoint.save`).

    Raises OutputError where a file stands that is no model of charlm's.
    """
    file = Path(path_given("path", path))
    with checkpoint.storing(file):
        if os.path.lexists(file) and not is_model(file):
            raise OutputError(
                f"{file} is not a model of charlm's, and would be replaced: choose another name"
            )
    checkpoint.save(file, tensors, metadata)


def model_file(path: str | os.PathLike[str]) -> Path:
    """Return the model file that a `-m` value means; raises MissingInputError where there is none."""
    file = Path(path_given("path", path))
    if os.path.isdir(file):
        file /= MODEL_FILE
    try:
        exchange.current(file).stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingInputError(
            f"no model at {path}: train one with `charlm train CORPUS -m {path}`, or give -m PATH"
        ) from None
    except OSError:  # there is something: reading it tells what is wrong
        pass
    return file


def check_size(tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise DataError unless the tensors are as many numbers as these shapes need, before memory is taken."""
    if sum(math.prod(shape) for shape in shapes.values()) != sum(
        value.size for value in tensors.values()
    ):
        raise DataError("the tensors do not fit the configuration")


def dump(value: Any) -> str:
    """Return JSON with sorted keys, the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def parse(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Return the JSON object under a metadata key; raises DataError where it is missing or no object."""
    try:
        value = json.loads(metadata[key], parse_constant=_refuse_constant)
    except (KeyError, ValueError, RecursionError):
        raise DataError(f"{key} is missing or not JSON") from None
    if not isinstance(value, dict):
        raise DataError(f"{key} is not a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads although JSON does not have them."""
    raise ValueError(name)


def numpy_settings(train: TrainConfig | None, what: str) -> TrainConfig:
    """Return the settings of an engine, the usual ones unless given.

    Raises UsageError for another engine than NumPy's, which alone knows `what`.
    """
    train = train or TrainConfig()
    if train.engine != "numpy":
        raise UsageError(
            f"engine {train.engine} does not know {what}, which NumPy computes: "
            "leave --engine out"
        )
    return train
