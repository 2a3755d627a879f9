"""What every engine does alike with weights: draws the first ones, and checks those that a file brings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charlm.config import ModelConfig
from charlm.engines import Array
from charlm.errors import DataError, DivergedError
from charlm.nn import names
from charlm.nn.model import initialize
from charlm.nn.params import Params
from charlm.text.tokenizers import UNK


def first_weights(model: ModelConfig, seed: int) -> Params:
    """Draw the weights that training starts from: the same on every engine."""
    return unknown_tells_nothing(initialize(model, np.random.default_rng([seed, 0])))


def unknown_tells_nothing(params: Params) -> Params:
    """Return first weights in which <unk>, that no training text may show, is embedded as zero; in place."""
    if names.EMBED in params:
        params[names.EMBED][UNK] = 0
    return params


def divergence(finite: Mapping[str, bool]) -> DivergedError:
    """Return what to raise where a step was not finite; `finite` tells of each gradient whether it was."""
    bad = [name for name, fine in finite.items() if not fine]
    where = f"the gradient of {bad[0]}" if bad else "the loss"
    return DivergedError(f"{where} is no longer a finite number: lower --lr or --clip")


def check_fit(tensors: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise DataError unless the tensors have exactly the expected names and shapes, and are float32."""
    if set(tensors) != set(expected):
        odd = ", ".join(sorted(set(tensors) ^ set(expected)))
        raise DataError(f"the model's tensors do not fit its configuration: missing or unknown {odd}")
    for name, value in tensors.items():
        if value.shape != expected[name] or value.dtype != np.float32:
            raise DataError(
                f"tensor {name} is {value.dtype}{list(value.shape)}, but the configuration says "
                f"float32{list(expected[name])}"
            )


def fitting(arrays: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    """Return the float32 array of a name and shape; raises DataError where there is none such."""
    value = arrays.get(name)
    if value is None or value.shape != shape or value.dtype != np.float32:
        raise DataError(f"the state's {name} is missing or is not float32{list(shape)}: begin anew with --force")
    return value
