"""Optimizers against naive ones written from the formulas, clipping, and the learning rate's course."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charlm.config import TrainConfig
from charlm.nn.optim import (
    SGD,
    Adam,
    Muon,
    RMSprop,
    block_shapes,
    clip_by_norm,
    learning_rate,
    make_optimizer,
    orthogonal,
)

RATES = [0.1, 0.1, 0.05, 0.02, 0.02, 0.3]  # a schedule: the rate changes from step to step


def naive_adam(w, g, slots, t, lr, decay):
    m = slots["m"] = 0.9 * slots.get("m", 0.0) + (1 - 0.9) * g
    v = slots["v"] = 0.999 * slots.get("v", 0.0) + (1 - 0.999) * g**2
    m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return w - lr * decay * w - lr * m_hat / (math.sqrt(v_hat) + 1e-8)


def naive_sgd(w, g, slots, t, lr, decay):
    m = slots["m"] = 0.8 * slots.get("m", 0.0) + g + decay * w
    return w - lr * m


def naive_rmsprop(w, g, slots, t, lr, decay):
    g += decay * w
    v = slots["v"] = 0.95 * slots.get("v", 0.0) + (1 - 0.95) * g**2
    return w - lr * g / (math.sqrt(v) + 1e-8)


@pytest.mark.parametrize("decay", [0.0, 0.01], ids=["plain", "decay"])
@pytest.mark.parametrize(
    ("settings", "naive"),
    [({"optimizer": "adam"}, naive_adam), ({"optimizer": "sgd", "momentum": 0.8}, naive_sgd),
     ({"optimizer": "rmsprop"}, naive_rmsprop)],
    ids=["adam", "sgd", "rmsprop"],
)  # fmt: skip
def test_steps_are_those_of_the_formulas(settings, naive, decay):
    """Element by element in float64: no gradient, a tiny one, and common ones of both signs."""
    first = [0.5, -1.5, 2.0, 0.0, 1.0]
    optimizer = make_optimizer(TrainConfig(weight_decay=decay, **settings), {"weight": (len(first),)})
    weights, expected = np.array(first, np.float32), list(first)
    slots = [{} for _ in first]
    for t, lr in enumerate(RATES, 1):
        gradient = [0.0, 1e-6 * t, math.sin(t), -3.0, 1 / t]
        optimizer.step(weights, np.array(gradient, np.float32), lr)
        for i, g in enumerate(gradient):
            expected[i] = naive(expected[i], g, slots[i], t, lr, decay)
    assert optimizer.steps == len(RATES)
    np.testing.assert_allclose(weights, expected, rtol=2e-6, atol=1e-7)
    for name, moment in optimizer.moments.items():
        np.testing.assert_allclose(moment, [slot[name] for slot in slots], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("make", [Adam, SGD, RMSprop])
def test_the_vector_is_worked_through_to_its_end(make):
    """100,000 weights take several blocks, the last one not full; each weight is moved as it is alone."""
    rng = np.random.default_rng(0)
    size = 100_000
    weights, gradients = (rng.standard_normal((2, size)).astype(np.float32) for _ in range(2))
    whole, alone = weights[0].copy(), {place: weights[0, place : place + 1].copy() for place in (0, 65_536, size - 1)}
    optimizer, singles = make(size, 0.1), {place: make(1, 0.1) for place in alone}
    for gradient in gradients:
        optimizer.step(whole, gradient.copy(), 0.1)
        for place, single in singles.items():
            single.step(alone[place], gradient[place : place + 1].copy(), 0.1)
    for place, weight in alone.items():
        np.testing.assert_allclose(whole[place : place + 1], weight, rtol=1e-6)
    assert np.count_nonzero(whole == weights[0]) < 10  # two steps may cancel out by chance


def of_singular_values(x):
    """Return U f(S) V^T of each x = U S V^T / |x|, f being five rounds of the quintic, by way of LAPACK."""
    u, s, vt = np.linalg.svd(x / np.linalg.norm(x, axis=(-2, -1), keepdims=True), full_matrices=False)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s[..., None, :]) @ vt


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5), (3, 8, 5), (2, 1, 7)])
def test_orthogonal_moves_singular_values_and_nothing_else(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(orthogonal(x), of_singular_values(x), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(orthogonal(1e-3 * x), orthogonal(x), rtol=1e-9, atol=1e-12)


def test_orthogonal_evens_out_the_singular_values():
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.standard_normal((9, 9)))[0] for _ in range(2))
    found = np.linalg.svd(orthogonal((u * np.geomspace(1, 0.02, 9)) @ v.T))[1]
    assert found.min() > 0.65
    assert found.max() < 1.25
    assert not orthogonal(np.zeros((3, 4))).any()


def test_muon_turns_gate_by_gate_and_leaves_the_rest_to_adam():
    """Two gates of two units on three inputs, after an embedding, with a bias behind them."""
    shapes = {"embed.weight": (5, 3), "rnn.weight_ih_l0": (4, 3), "rnn.weight_hh_l0": (4, 2), "rnn.bias_ih_l0": (4,)}
    rng = np.random.default_rng(2)
    weights, momentum = rng.standard_normal(39).astype(np.float32), np.zeros(39)
    expected, adam, other = weights.astype(float), Adam(39, 0.1), weights.copy()
    muon = Muon(shapes, 0.1)
    for lr in RATES:
        gradient = rng.standard_normal(39).astype(np.float32)
        momentum = 0.95 * momentum + 0.05 * gradient
        muon.step(weights, gradient.copy(), lr)
        adam.step(other, gradient.copy(), lr)
        for start, stop, columns in [(15, 21, 3), (21, 27, 3), (27, 31, 2), (31, 35, 2)]:
            u = (0.95 * momentum + 0.05 * gradient)[start:stop].reshape(2, columns)
            expected[start:stop] *= 1 - lr * 0.1
            expected[start:stop] -= lr * 0.2 * math.sqrt(max(2, columns)) * of_singular_values(u).reshape(-1)
    np.testing.assert_allclose(weights[15:35], expected[15:35], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(weights[:15], other[:15])
    np.testing.assert_array_equal(weights[35:], other[35:])


def test_muons_blocks_may_be_moved_in_any_order():
    """Bit for bit: an engine shares them out over its threads."""
    shapes = {"rnn.weight_ih_l0": (512, 9), "rnn.weight_hh_l0": (512, 256)}
    rng, orders = np.random.default_rng(3), []
    weights = rng.standard_normal(512 * 265).astype(np.float32)
    gradient, found = rng.standard_normal(weights.shape).astype(np.float32), []
    for order in (1, -1):
        moved = weights.copy()

        def do_all(jobs, order=order):
            orders.append(len(jobs))
            for job in jobs[::order]:
                job()

        Muon(shapes, do_all=do_all).step(moved, gradient.copy(), 0.1)
        found.append(moved)
    assert orders == [8, 8]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("hidden", "rows"), [(7, 7), (128, 128), (131, 131), (200, 100), (320, 80), (384, 128), (512, 128)]
)
def test_blocks_divide_gates_evenly(hidden, rows):
    shapes = {"rnn.weight_ih_l0": (3 * hidden, 5), "rnn.weight_hh_l0": (3 * hidden, hidden), "head.weight": (9, hidden)}
    count = 3 * hidden // rows
    assert block_shapes(shapes) == {"rnn.weight_ih_l0": (count, rows, 5), "rnn.weight_hh_l0": (count, rows, hidden)}


def test_adam_goes_one_rate_at_first_whatever_the_gradient():
    """m / sqrt(v) = g / |g| at step one, so the step is lr, for gradients of any size."""
    weights = np.zeros(4, np.float32)
    Adam(4).step(weights, np.array([1e-4, -5, 3e6, -1e-3], np.float32), 0.01)
    np.testing.assert_allclose(weights, [-0.01, 0.01, -0.01, 0.01], rtol=2e-4)  # eps is 1e-4 of the first


def test_decay_without_a_gradient():
    """A weight shrinks by lr * decay in Adam and SGD; in RMSprop decay is a gradient and scaled as one."""
    moved = []
    for make in (Adam, SGD, RMSprop):
        weights = np.array([2.0], np.float32)
        make(1, 0.1).step(weights, np.zeros(1, np.float32), 0.5)
        moved.append(weights.item())
    # Adam 2 (1 - 0.05); SGD 2 - 0.5 * 0.2; RMSprop 2 - 0.5 * 0.2 / (0.2 sqrt(0.05)) = 2 - 0.5 / sqrt(0.05)
    assert moved == pytest.approx([1.9, 1.9, 2 - 0.5 / math.sqrt(0.05)], rel=1e-5)


VECTORS = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e4, 1e4, width=32))


@given(VECTORS, st.floats(0.01, 100))
def test_clipping_keeps_the_direction_and_bounds_the_norm(gradient, limit):
    clipped = gradient.copy()
    norm = clip_by_norm(clipped, limit)
    exact = math.sqrt(math.fsum(float(x) ** 2 for x in gradient))
    assert norm == pytest.approx(exact, rel=1e-5, abs=1e-18)
    scale = min(1.0, limit / norm) if norm else 1.0
    np.testing.assert_allclose(clipped, gradient * scale, rtol=1e-5, atol=1e-30)
    assert np.linalg.norm(clipped.astype(np.float64)) <= limit * (1 + 1e-5)
    if norm <= limit:
        np.testing.assert_array_equal(clipped, gradient)


def test_clipping_by_hand():
    gradient = np.array([3.0, 4.0], np.float32)
    assert clip_by_norm(gradient, 10) == 5
    np.testing.assert_array_equal(gradient, [3, 4])
    assert clip_by_norm(gradient, 1) == 5
    np.testing.assert_allclose(gradient, [0.6, 0.8], rtol=1e-6)


def rate(settings, step=10, progress=0.0, epoch=0.0, plateaus=0):
    return learning_rate(TrainConfig(lr=0.8, **settings), step, progress, epoch, plateaus)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0, 0.8), (1 / 3, 0.6), (0.5, 0.4), (2 / 3, 0.2), (1, 0.0), (1.5, 0.0)],
    ids=["begin", "third", "half", "two thirds", "end", "beyond"],
)
def test_cosine(progress, expected):
    """0.8 (1 + cos(pi p)) / 2, where cos is 1, 1/2, 0, -1/2 and -1."""
    assert rate({"schedule": "cosine"}, progress=progress) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("progress", "expected"), [(0, 0.8), (0.25, 0.6), (1, 0.0), (1.5, 0.0)])
def test_linear(progress, expected):
    assert rate({"schedule": "linear"}, progress=progress) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.8), (1.99, 0.8), (2, 0.4), (2.99, 0.4), (3, 0.2), (5.5, 0.05)],
)
def test_step_decays_from_the_last_undecayed_epoch_on(epoch, expected):
    """lr_decay_after = 2: epochs 0 and 1 in full, then half as much each epoch."""
    settings = {"schedule": "step", "lr_decay": 0.5, "lr_decay_after": 2}
    assert rate(settings, epoch=epoch) == pytest.approx(expected)


@pytest.mark.parametrize(("plateaus", "expected"), [(0, 0.8), (1, 0.2), (3, 0.0125)])
def test_plateau(plateaus, expected):
    assert rate({"schedule": "plateau", "lr_decay": 0.25}, plateaus=plateaus) == pytest.approx(expected)


def test_constant_heeds_neither_time_nor_plateaus():
    assert rate({"schedule": "constant"}, progress=0.9, epoch=50, plateaus=7) == 0.8


@pytest.mark.parametrize(("step", "expected"), [(0, 0.2), (1, 0.4), (2, 0.6), (3, 0.8), (4, 0.8), (99, 0.8)])
def test_warm_up_rises_in_equal_steps_and_reaches_the_rate(step, expected):
    assert rate({"schedule": "constant", "warmup": 4}, step) == pytest.approx(expected)


def test_warm_up_scales_the_schedule():
    assert rate({"schedule": "cosine", "warmup": 4}, step=1, progress=0.5) == pytest.approx(0.4 * 0.5)
