"""One vector for each text: the equations text by text, gradients, ties, and texts that stand anywhere."""

from dataclasses import replace

import numpy as np
import pytest

from charlm.config import POOLINGS, ModelConfig
from charlm.nn import kernel
from charlm.nn.params import Params
from charlm.nn.pooling import make_pooling, pooling_shapes
from tests.test_gradients import check, dot, drawn
from tests.whole import drawn_texts, laid_out, mixed

all_poolings = pytest.mark.parametrize("kind", POOLINGS)
both = pytest.mark.parametrize("bidirectional", [False, True], ids=["onwards", "both"])


def config_of(bidirectional):
    return ModelConfig(5, hidden=2 if bidirectional else 4, bidirectional=bidirectional)


def pool_params(kind, bidirectional, dtype=np.float64):
    params = Params(pooling_shapes(kind, config_of(bidirectional)), dtype)
    params.flat[:] = np.random.default_rng(1).standard_normal(params.flat.size)
    return params


def of_one_text(kind, bidirectional, y, params):
    """Return the vector [W] of a text with values y [steps, W]."""
    if kind == "last":
        return np.append(y[-1, :2], y[0, 2:]) if bidirectional else y[-1]
    if kind == "attention":
        e = np.exp(y @ params["pool.weight"])
        return (e / e.sum()) @ y
    return y.mean(axis=0) if kind == "mean" else y.max(axis=0)


@all_poolings
@both
def test_forward_is_the_equation_text_by_text(kind, bidirectional):
    chunk, params = mixed(5), pool_params(kind, bidirectional)
    (y,) = drawn(y=(7, 5, 4))
    found = make_pooling(kind, config_of(bidirectional)).forward(params, y, chunk)
    for i, (first, steps, column) in enumerate(
        zip(chunk.first, chunk.length, chunk.column, strict=True)
    ):
        expected = of_one_text(kind, bidirectional, y[first : first + steps, column], params)
        np.testing.assert_allclose(found[i], expected, rtol=1e-12)


@all_poolings
@both
def test_gradients(kind, bidirectional):
    chunk, params = mixed(5), pool_params(kind, bidirectional)
    y, d = drawn(y=(7, 5, 4), d=(8, 4))
    layer, grads = make_pooling(kind, config_of(bidirectional)), params.twin()

    def loss():
        return dot([d], [layer.forward(params, y, chunk)])

    loss()
    dy = layer.backward(params, grads, d.copy())
    check(loss, {**params, "y": y}, {**grads, "y": dy})
    used = np.zeros((7, 5), bool)
    for first, steps, column in zip(chunk.first, chunk.length, chunk.column, strict=True):
        used[first : first + steps, column] = True
    assert not dy[~used].any()


@all_poolings
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_text_at_all(kind, dtype):
    chunk = laid_out([[], []], [], 3)
    layer, params = make_pooling(kind, config_of(False)), pool_params(kind, False, dtype)
    pooled = layer.forward(params, np.ones((3, 2, 4), dtype), chunk)
    assert pooled.shape == (0, 4)
    dy = layer.backward(params, params.twin(), pooled)
    assert dy.shape == (3, 2, 4)
    assert not dy.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_equal_values_the_first_step_has_the_gradient_of_the_max(dtype):
    chunk = laid_out([[0, 1]], drawn_texts([3, 2], 5))
    y = np.array([1, 2, 2, 0, 0], dtype).reshape(5, 1, 1)
    layer, params = make_pooling("max", config_of(False)), Params({}, dtype)
    np.testing.assert_array_equal(layer.forward(params, y, chunk), [[2], [0]])
    dy = layer.backward(params, params, np.array([[3], [4]], dtype))
    np.testing.assert_array_equal(dy.ravel(), [0, 3, 0, 4, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_no_number_shows(dtype):
    """Wherever it stands in the text, so that a run that diverges ends."""
    for place in range(3):
        y = np.zeros((3, 1, 2), dtype)
        y[place, 0, 0] = np.nan
        chunk = laid_out([[0]], drawn_texts([3], 5))
        for kind in ("mean", "max"):
            layer = make_pooling(kind, config_of(False))
            np.testing.assert_array_equal(layer.forward(Params({}), y, chunk), [[np.nan, 0]])
            assert layer.backward(Params({}), Params({}), np.ones((1, 2), dtype)).shape == y.shape


@all_poolings
def test_large_values_do_not_overflow(kind):
    chunk, params = mixed(5), pool_params(kind, False, np.float32)
    found = make_pooling(kind, config_of(False)).forward(
        params, np.full((7, 5, 4), 1e4, np.float32), chunk
    )
    np.testing.assert_allclose(found, 1e4, rtol=1e-5)


@all_poolings
def test_float32_is_float64_but_for_rounding(kind):
    """In float32 the compiled loops add up and compare."""
    chunk = mixed(5)
    y, d = drawn(y=(7, 5, 4), d=(8, 4))
    found = []
    for dtype in (np.float64, np.float32):
        params, layer = pool_params(kind, False, dtype), make_pooling(kind, config_of(False))
        grads, given = params.twin(), y.astype(dtype)
        pooled = layer.forward(params, given, chunk)
        found.append([pooled, layer.backward(params, grads, d.astype(dtype)), grads.flat])
        assert pooled.dtype == dtype
    for exact, rounded in zip(*found, strict=True):
        np.testing.assert_allclose(rounded, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(kernel.missing is not None, reason="there are no compiled loops")
@all_poolings
@both
def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(kind, bidirectional):
    params = pool_params(kind, bidirectional, np.float32)
    (y,) = drawn(y=(7, 5, 4))
    y, chunk = y.astype(np.float32), mixed(5)
    together = make_pooling(kind, config_of(bidirectional)).forward(params, y, chunk)
    for i in range(8):
        part = (
            slice(chunk.first[i], chunk.first[i] + chunk.length[i]),
            slice(chunk.column[i], chunk.column[i] + 1),
        )
        alone = replace(
            chunk, column=np.zeros(1, int), first=np.zeros(1, int), length=chunk.length[i : i + 1]
        )
        found = make_pooling(kind, config_of(bidirectional)).forward(
            params, np.ascontiguousarray(y[part]), alone
        )
        np.testing.assert_array_equal(found[0], together[i])
