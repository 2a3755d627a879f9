"""Opens a model of any task from its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charlm import labelled
from charlm.config import TrainConfig
from charlm.errors import UsageError
from charlm.model import rebuilt_language
from charlm.model_files import Tensors, opened
from charlm.run_settings import CONVERT, LABELLED, LANGUAGE
from charlm.tasks import task_of_file

if TYPE_CHECKING:
    from charlm.classifier import Classifier
    from charlm.converter import Converter
    from charlm.model import Model
    from charlm.tagger import Tagger


def load(
    path: str | os.PathLike[str] = "charlm-model", threads: int | None = None, engine: str = "numpy",
    device: str = "auto",
) -> Any:  # fmt: skip
    """Open a model from its directory or its `.safetensors` file, to compute with `engine` on `device`.

    It is a `Model`, or a `LabelledModel`, a `Classifier` or a `Tagger` where labels, classes or
    tags were learnt (`Any` to a type checker, as only the file tells which). Raises
    MissingInputError where there is none, DataError where it is damaged or not a charlm model, and
    UsageError where PyTorch or the device is missing.
    """
    return opened(path, _rebuilt, threads, engine, device)


def load_labeller(
    path: str | os.PathLike[str] = "charlm-model",
    threads: int | None = None,
    instead: str = "charlm score",
) -> Classifier | Tagger | Converter | labelled.LabelledModel:
    """Open a classifier, a tagger, a converter or a language model of labelled texts.

    Raises UsageError for a language model of texts without labels, which `instead` serves, and else
    as `load`.
    """

    def rebuild(tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig) -> Any:
        task = task_of_file(metadata)
        if task.name == LANGUAGE:
            raise UsageError(
                f"{path} is a language model, which knows no labels: use it with {instead}"
            )
        return task.opened(tensors, metadata, train)

    model: Classifier | Tagger | Converter | labelled.LabelledModel = opened(
        path, rebuild, threads, "numpy", "auto"
    )
    return model


def load_language(
    path: str | os.PathLike[str] = "charlm-model", threads: int | None = None
) -> Model:
    """Open a language model, one of labelled texts too (UsageError for a model of another task, and
    else as `load`).
    """

    return opened(path, _rebuilt_language, threads, "numpy", "auto")


def load_writer(
    path: str | os.PathLike[str] = "charlm-model", threads: int | None = None
) -> Model | Converter:
    """Open what writes: a language model, one of labelled texts too, or a converter (UsageError for
    a model of another task, and else as `load`).
    """

    def rebuild(tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig) -> Any:
        if metadata.get("charlm.task") == CONVERT:
            return _rebuilt(tensors, metadata, train)
        return _rebuilt_language(tensors, metadata, train)

    model: Model | Converter = opened(path, rebuild, threads, "numpy", "auto")
    return model


def _rebuilt_language(tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig) -> Model:
    if metadata.get("charlm.task") == LABELLED:
        return labelled.rebuilt(tensors, metadata, train)
    return rebuilt_language(tensors, metadata, train)


def _rebuilt(tensors: Tensors, metadata: Mapping[str, str], train: TrainConfig) -> Any:
    return task_of_file(metadata).opened(tensors, metadata, train)
