"""The compiled loops against NumPy's: the same numbers to float32 rounding, for each instruction set here."""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from charlm import cells
from charlm.config import ModelConfig
from charlm.nn import kernel, panels
from charlm.nn.head import _softmax
from charlm.nn.layers import sum_by_row
from charlm.nn.model import LanguageModel, initialize
from charlm.nn.optim import Adam
from charlm.nn.panels import Panels
from charlm.nn.stack import zero_state
from charlm.text.batches import Batch

pytestmark = pytest.mark.skipif(kernel.target == "numpy", reason="the compiled loops were not built here")

TARGETS = ["base", "avx2", "avx512"][: ["base", "avx2", "avx512", "numpy"].index(kernel.target) + 1]
CELLS = [("rnn", "relu"), *((name, "tanh") for name, kind in cells.CELLS.items() if kind.compiled is not None)]


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
    params.flat[:] += 0.1 * rng.standard_normal(params.flat.size)  # what begins at zero, too
    grads = params.twin()
    ids = rng.integers(-1, config.vocab_size, (length, batch))
    targets = rng.integers(0, config.vocab_size, (length, batch))
    weight = rng.random((length, batch), np.float32)
    reset = rng.random((length, batch)) < resets
    state = tuple(rng.standard_normal(part.shape, np.float32) for part in zero_state(config, batch))
    chunk = Batch(ids, targets, reset, weight)
    nats, after = LanguageModel(config).backward(params, grads, chunk, state, 0.01)
    return nats, *after, grads.flat


# Sizes around the tiles' edges: one row, a full tile, a rest of rows and of columns; resets and none.
@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 1), (5, 7), (12, 32), (13, 33), (25, 48), (31, 80)])
@pytest.mark.parametrize("resets", [0.0, 0.2])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_cells_agree_with_numpy(target, monkeypatch, cell, nonlinearity, batch, hidden, resets, layer_norm):
    shape = {"cell": cell, "nonlinearity": nonlinearity, "hidden": hidden, "layer_norm": layer_norm}
    config = ModelConfig(11, layers=2, embedding=5, **shape)
    compiled = learn(config, 9, batch, resets)
    reference = in_numpy(monkeypatch, lambda: learn(config, 9, batch, resets))
    tolerance = 3e-6
    if layer_norm:  # a small deviation, divided by, magnifies the rounding of both; most of all that of a few products
        tolerance = 2e-3 if hidden == 1 else 3e-4
    for ours, theirs in zip(compiled, reference, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


READERS = [
    *(ModelConfig(11, cell=cell, nonlinearity=way, layers=3, hidden=33, embedding=5) for cell, way in CELLS),
    ModelConfig(11, cell="gru", layers=1, hidden=33, embedding=0),
    ModelConfig(11, cell="lstm", layers=2, hidden=32, embedding=32, tie=True),
    *(ModelConfig(11, cell=cell, layers=3, hidden=33, layer_norm=True, residual=True) for cell, _ in CELLS[1:]),
]


def reading(config, batch, length=6, seed=4):
    """Return a model, drawn weights, and ids, targets, resets and a state to read from."""
    rng = np.random.default_rng(seed)
    params = initialize(config, rng)
    params.flat[:] += 0.1 * rng.standard_normal(params.flat.size)
    ids, targets = rng.integers(-1, config.vocab_size, (2, length, batch)).astype(np.int32)
    reset = rng.random((length, batch)) < 0.2
    state = tuple(rng.standard_normal(part.shape, np.float32) for part in zero_state(config, batch))
    return LanguageModel(config), params, ids, np.abs(targets), reset, state


def laid_out(monkeypatch, config, params, way):
    """Return weights laid out; a network reads with them step by step, or layer by layer where its cell is unknown."""
    if way == "table as needed":
        monkeypatch.setattr(panels, "_TABLE_FLOATS", 0)
    compiled = Panels(config, params)
    compiled.reads = way != "layer by layer"
    return compiled


ways = pytest.mark.parametrize("way", ["whole table", "table as needed", "layer by layer"])


@pytest.mark.parametrize("config", READERS, ids=str)
@pytest.mark.parametrize("batch", [1, 13, 31])
@ways
def test_reading_agrees_with_numpy(target, monkeypatch, config, batch, way):
    model, params, ids, targets, reset, state = reading(config, batch)
    before = [part.copy() for part in state]
    compiled = laid_out(monkeypatch, config, params, way)
    logp, after = model.log_probs(compiled, ids, targets, reset, state)
    logits, last = model.logits(compiled, ids, state)
    expected_logp, expected_after = in_numpy(monkeypatch, lambda: model.log_probs(params, ids, targets, reset, state))
    expected_logits, expected_last = in_numpy(monkeypatch, lambda: model.logits(params, ids, state))
    for ours, theirs in zip(
        (logp, logits, *after, *last), (expected_logp, expected_logits, *expected_after, *expected_last), strict=True
    ):
        tolerance = 1e-5 if config.layer_norm else 3e-6
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))
    assert all((part == old).all() for part, old in zip(state, before, strict=True)), "the state given is kept"


@pytest.mark.parametrize("config", READERS, ids=str)
@ways
def test_a_column_reads_the_same_whatever_stands_beside_it(target, monkeypatch, config, way):
    """To the bit: alone, with a few others, and with so many that they fill several tiles."""
    model, params, ids, targets, reset, state = reading(config, 31)
    compiled = laid_out(monkeypatch, config, params, way)
    logp, after = model.log_probs(compiled, ids, targets, reset, state)
    for columns in (slice(0, 1), slice(30, 31), slice(3, 10), slice(5, 20)):
        part = tuple(np.ascontiguousarray(value[:, columns]) for value in state)
        alone, left = model.log_probs(compiled, ids[:, columns], targets[:, columns], reset[:, columns], part)
        assert (alone == logp[:, columns]).all()
        assert all((one == many[:, columns]).all() for one, many in zip(left, after, strict=True))


@pytest.mark.parametrize("config", READERS, ids=str)
@pytest.mark.parametrize("way", ["whole table", "layer by layer"])
def test_a_step_reads_the_same_in_a_chunk_of_any_length(monkeypatch, config, way):
    """To the bit: a text does not depend on how long those beside it are, which decides how far a chunk goes."""
    model, params, ids, targets, reset, state = reading(config, 5, length=9)
    compiled, parts = laid_out(monkeypatch, config, params, way), []
    whole, after = model.log_probs(compiled, ids, targets, reset, state)
    for steps in (slice(0, 1), slice(1, 4), slice(4, 9)):
        logp, state = model.log_probs(compiled, ids[steps], targets[steps], reset[steps], state)
        parts.append(logp)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(state, after)


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
    kernel.call("lstm_forward", 5, 1, 2, None, weight, bias, None, None, None, None, None, None, z, h, c, tanh_c)
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


def arising():
    """Return a number below float32's smallest in full precision, or zero."""
    return float(np.multiply(np.float32(2e-20), np.float32(2e-20)))


@kernel.flushing()
def interrupted():
    raise KeyboardInterrupt


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="others lose no time")
def test_numbers_that_are_too_small_are_zeros_where_asked_for_and_on_that_thread_alone():
    with ThreadPoolExecutor(1) as other:
        before = other.submit(arising).result()
        assert before > 0
        with kernel.flushing():
            with kernel.flushing():
                assert arising() == 0
            assert arising() == 0
            assert not np.float32(1e-39) + np.float32(0)
            assert other.submit(arising).result() == before
    assert arising() == before
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert arising() == before


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
