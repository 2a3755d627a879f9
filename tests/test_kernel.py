"""The compiled loops against NumPy's: the same numbers to float32 rounding, for each instruction set here."""

import os
import subprocess
import sys

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.nn import kernel
from charlm.nn.head import _softmax
from charlm.nn.layers import sum_by_row
from charlm.nn.model import LanguageModel, initialize
from charlm.nn.optim import Adam
from charlm.nn.stack import zero_state

pytestmark = pytest.mark.skipif(kernel.target == "numpy", reason="the compiled loops were not built here")

TARGETS = ["base", "avx2", "avx512"][: ["base", "avx2", "avx512", "numpy"].index(kernel.target) + 1]
CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]


@pytest.fixture(params=TARGETS)
def target(request, monkeypatch):
    monkeypatch.setattr(kernel, "target", request.param)
    return request.param


def in_numpy(monkeypatch, work):
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "_library", None)
        return work()


def learn(config, length, batch, resets):
    """Return loss, state and gradients of one chunk, from random weights and a random state."""
    rng = np.random.default_rng(3)
    params = initialize(config, rng)
    grads = params.twin()
    ids = rng.integers(-1, config.vocab_size, (length, batch))
    targets = rng.integers(0, config.vocab_size, (length, batch))
    weight = rng.random((length, batch), np.float32)
    reset = rng.random((length, batch)) < resets
    state = tuple(rng.standard_normal(part.shape, np.float32) for part in zero_state(config, batch))
    nats, after = LanguageModel(config).backward(params, grads, ids, targets, weight, reset, state, 0.01)
    return nats, *after, grads.flat


# Sizes around the tiles' edges: one row, a full tile, a rest of rows and of columns; resets and none.
@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (5, 7), (12, 32), (13, 33), (25, 48), (31, 80)])
@pytest.mark.parametrize("resets", [0.0, 0.2])
def test_cells_agree_with_numpy(target, monkeypatch, cell, nonlinearity, batch, hidden, resets):
    config = ModelConfig(11, cell=cell, nonlinearity=nonlinearity, layers=2, hidden=hidden, embedding=5)
    compiled = learn(config, 9, batch, resets)
    reference = in_numpy(monkeypatch, lambda: learn(config, 9, batch, resets))
    for ours, theirs in zip(compiled, reference, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-6 * scale)


@pytest.mark.parametrize("vocabulary", [2, 16, 63, 64, 65, 300])
@pytest.mark.parametrize("with_factor", [False, True])
def test_softmax_agrees_with_float64(target, vocabulary, with_factor):
    rng = np.random.default_rng(1)
    logits = (rng.standard_normal((50, vocabulary)) * 10).astype(np.float32)
    targets = rng.integers(0, vocabulary, 50)
    factor = rng.random(50, np.float32)
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact - exact.max(1, keepdims=True)).sum(1, keepdims=True)) + exact.max(1, keepdims=True)
    logp = _softmax(logits, targets, factor if with_factor else None)
    np.testing.assert_allclose(logp, exact[np.arange(50), targets], rtol=2e-6, atol=2e-6)
    if with_factor:
        expected = factor[:, None] * (np.exp(exact) - np.eye(vocabulary)[targets])
        np.testing.assert_allclose(logits, expected, rtol=2e-5, atol=3e-7)


def test_gates_saturate_and_nan_stays_nan(target):
    """Arguments far beyond what exp can hold: the gates end at 0 and 1, and a NaN is not hidden."""
    z = np.zeros((5, 1, 8), np.float32)
    z[0, 0] = [1e30, -1e30, 200, -200, 50, -50, 0, np.nan]
    h, c, tanh_c = np.zeros((6, 1, 2), np.float32), np.zeros((6, 1, 2), np.float32), np.zeros((5, 1, 2), np.float32)
    weight, bias = np.zeros((8, 2), np.float32), np.zeros(8, np.float32)
    kernel.call("lstm_forward", 5, 1, 2, None, weight, bias, z, h, c, tanh_c)
    i, f, g, o = z[0, 0].reshape(4, 2)
    np.testing.assert_allclose(i, [1, 0], atol=1e-30)
    np.testing.assert_allclose(f, [1, 0], atol=1e-30)
    np.testing.assert_allclose(g, [1, -1])
    assert o[0] == 0.5
    assert np.isnan(o[1])
    assert np.isnan(h[1, 0, 1])


def test_rows_are_added_up(target):
    rng = np.random.default_rng(2)
    values, row_of = rng.standard_normal((100, 37), np.float32), rng.integers(0, 9, 100)
    row_of[:9] = np.arange(9)
    expected = np.stack([values[row_of == row].astype(np.float64).sum(0) for row in range(9)])
    np.testing.assert_allclose(sum_by_row(values, row_of, 9), expected, atol=1e-5)


def test_adam_agrees_with_numpy(target, monkeypatch):
    def steps():
        rng = np.random.default_rng(5)
        weights, adam = rng.standard_normal(1003).astype(np.float32), Adam(1003, decay=0.1)
        for _ in range(5):
            adam.step(weights, rng.standard_normal(1003).astype(np.float32), 0.01)
        return weights, adam.moments["m"], adam.moments["v"]

    for ours, theirs in zip(steps(), in_numpy(monkeypatch, steps), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)


def test_arrays_with_gaps_are_refused():
    with pytest.raises(ValueError, match="dense"):
        kernel.call("add_rows", 1, 1, np.zeros((4, 4))[:, ::2], None, None)


def test_the_environment_chooses():
    command = [sys.executable, "-c", "from charlm.nn import kernel; print(kernel.target)"]
    for wanted in ("numpy", "base"):
        done = subprocess.run(command, env=os.environ | {"CHARLM_KERNEL": wanted}, capture_output=True, text=True)
        assert done.stdout.strip() == wanted
    done = subprocess.run(command, env=os.environ | {"CHARLM_KERNEL": "fast"}, capture_output=True, text=True)
    assert "CHARLM_KERNEL is 'fast', but must be one of numpy, base" in done.stderr
