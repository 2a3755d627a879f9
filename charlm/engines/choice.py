"""Which engine computes: as the settings say, and on all ranks where torchrun has started several."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

from charlm.config import ModelConfig, TrainConfig, refuse_cell
from charlm.engines import Engine, parallel
from charlm.engines.numpy import NumpyEngine
from charlm.errors import UsageError
from charlm.nn import names
from charlm.nn.model import shapes
from charlm.text.batches import Batch

_MIDDLING = ModelConfig(64, layers=2, hidden=320, dropout=0.1)  # whose steps are timed
_MEASURING_SECONDS = 0.5
_INPUT = (names.EMBED, names.weight_ih(0))


def make_engine(model: ModelConfig, train: TrainConfig) -> Engine:
    """Return an engine of this process alone; raises UsageError where PyTorch, its cell or the device is missing."""
    refuse_cell(model.cell, train.engine)
    if train.engine == "torch":
        with parallel.needing_torch():
            from charlm.engines.torch import TorchEngine
        return TorchEngine(model, train)
    return NumpyEngine(model, train.threads or 1, train)


def training_engine(model: ModelConfig, train: TrainConfig) -> Engine:
    """Return the engine of a training run, which has all ranks to compute with (errors as `make_engine`)."""
    if parallel.rank_count() == 1:
        return make_engine(model, train)
    if train.engine != "torch":
        raise UsageError(f"{parallel.rank_count()} ranks need --engine torch: {train.engine} computes on one")
    return parallel.ParallelEngine(model, train)


def training_speed(train: TrainConfig) -> float:
    """Return about how many operations a second training with these settings reaches here, measured in a moment."""
    return _measured(make_engine(_MIDDLING, dataclasses.replace(train, optimizer="muon"))) * parallel.rank_count()


def _measured(engine: Engine) -> float:
    """Return the operations a second of training steps of a middling model."""
    steps, columns, fastest, begun = 64, 64, math.inf, time.perf_counter()
    ids = np.resize(np.arange(_MIDDLING.vocab_size, dtype=np.int32), (steps, columns))
    batch = Batch(ids, ids, np.zeros(ids.shape, np.bool_), np.ones(ids.shape, np.float32))
    while (now := time.perf_counter()) - begun < _MEASURING_SECONDS or fastest == math.inf:
        engine.update(batch, engine.zero_state(columns), 0.0)
        fastest = min(fastest, time.perf_counter() - now)
    # As in the plan: layer 0's input product, made once for each distinct token, does not count.
    weights = sum(math.prod(shape) for name, shape in shapes(_MIDDLING).items() if name not in _INPUT)
    return 6.0 * weights * steps * columns / fastest
