"""Every gradient against float64 central differences, with random cotangents; the seeds keep relu off its kink."""

import numpy as np
import pytest

from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn.head import SoftmaxHead
from charlm.nn.layers import Dropout, Embedding, Linear, TokenInput
from charlm.nn.model import LanguageModel
from charlm.nn.params import Params
from charlm.nn.stack import Stack, layer_shapes, make_cell, zero_state
from tests.tiny import CELLS

STEP = 1e-5
DIRECTIONS = 6  # in which a gradient of more elements is looked at: what is wrong in one of them shows in all

all_cells = pytest.mark.parametrize("cell", CELLS)


def directions_of(size, most=DIRECTIONS):
    """Return the axes of a few elements; of many, random directions at right angles of length 1,
    [most, size].
    """
    if size <= most:
        return np.eye(size)
    return np.linalg.qr(np.random.default_rng(size).standard_normal((size, most)))[0].T


def central_differences(f, x, directions):
    """Return the derivatives of f(), which reads x, along directions."""
    value, found = x.copy(), []
    for direction in directions:
        step = STEP * direction.reshape(x.shape)
        x[...] = value + step
        above = f()
        x[...] = value - step
        found.append((above - f()) / (2 * STEP))
    x[...] = value
    return np.array(found)


def network_gradients(network, params, chunk):
    """Return what a network of whole sequences loses on a chunk, twice its nats, as a function; and
    its gradients.
    """
    scrap = params.twin()

    def loss(grads=scrap):
        nats, state = network.backward(params, grads, chunk, (), 2.0, np.random.default_rng(7))
        assert state == ()
        return 2 * nats

    grads = params.twin()
    loss(grads)
    return loss, grads


def check_along_two(loss, params, gradients):
    """Compare the gradient of each parameter with differences along two directions, in which all
    elements share.
    """
    for name, value in params.items():
        gradient = gradients[name]
        assert np.abs(gradient).max() > 1e-4, f"{name} has no influence"
        directions = directions_of(value.size, 2)
        slopes = central_differences(loss, value, directions)
        found = directions @ gradient.reshape(-1)
        assert np.abs(found - slopes).max() < 1e-6 * np.abs(gradient).max(), name


def check(f, variables, gradients):
    """Compare each gradient with the differences of f(); one that is zero throughout would show nothing."""
    for name, x in variables.items():
        directions = directions_of(x.size)
        expected = central_differences(f, x, directions)
        scale = np.abs(expected).max()
        assert scale > 1e-4, f"{name} has no influence"
        assert np.abs(directions @ gradients[name].ravel() - expected).max() < 1e-6 * scale, name


def dot(cotangents, values):
    return sum(float(np.vdot(c, value)) for c, value in zip(cotangents, values, strict=True))


def drawn(seed=0, **shapes):
    """Return arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes.values()]


def drawn_params(shapes):
    params = Params(shapes, np.float64)
    params.flat[:] = np.random.default_rng(1).standard_normal(params.flat.size)
    return params


# Layers without a time loop


def test_linear():
    params = drawn_params({"w": (4, 3), "b": (4,)})
    x, dz = drawn(x=(3, 2, 3), dz=(3, 2, 4))
    layer, grads = Linear("w", "b"), params.twin()
    layer.forward(params, x)
    dx = layer.backward(params, grads, dz).copy()
    check(lambda: dot([dz], [layer.forward(params, x)]), {**params, "x": x}, {**grads, "x": dx})


@pytest.mark.parametrize("dropout", [0.0, 0.4], ids=["all", "dropout"])
@pytest.mark.parametrize("embedding", ["e", None], ids=["embedding", "one-hot"])
@pytest.mark.parametrize(("vocabulary", "steps"), [(5, 4), (180, 100)], ids=["few tokens", "many tokens"])
def test_token_input(embedding, dropout, vocabulary, steps):
    width = 2 if embedding else vocabulary
    params = drawn_params({"w": (3, width), "b": (3,)} | ({"e": (vocabulary, 2)} if embedding else {}))
    ids = np.random.default_rng(2).integers(-1, vocabulary, (steps, 4))
    assert NO_TOKEN in ids
    (dz,) = drawn(dz=(steps, 4, 3))
    layer, grads = TokenInput("w", "b", Embedding(embedding, dropout)), params.twin()

    def run():
        return layer.forward(params, ids, np.random.default_rng(3))

    run()
    layer.backward(params, grads, dz)
    check(lambda: dot([dz], [run()]), params, grads)


def test_dropout():
    x, dy = drawn(x=(4, 5), dy=(4, 5))
    layer = Dropout(0.4)

    def run():
        return layer.forward(x, np.random.default_rng(5))

    run()
    check(lambda: dot([dy], [run()]), {"x": x}, {"x": layer.backward(dy.copy())})


# Cells


@all_cells
@pytest.mark.parametrize("layer_norm", [False, True], ids=["as it is", "normalised"])
@pytest.mark.parametrize("steps", [3, 7], ids=["weights as they lie", "weights copied"])
@pytest.mark.parametrize("last", [True, False], ids=["gradient from after", "none from after"])
def test_cell(cell, steps, last, layer_norm):
    config = ModelConfig(5, hidden=3, layer_norm=layer_norm, **CELLS[cell])
    layer, states = make_cell(config, 0), len(zero_state(config, 1))
    shapes = layer_shapes(config, 0, 0)
    params = drawn_params({name: shape for name, shape in shapes.items() if "_ih_" not in name})
    z, dy, *drawn_states = drawn(
        z=(steps, 4, *params["rnn.bias_hh_l0"].shape), dy=(steps, 4, 3), h=(4, 3), c=(4, 3), dh=(4, 3), dc=(4, 3)
    )
    state, dlast = tuple(drawn_states[:states]), tuple(drawn_states[2 : 2 + states])
    reset = np.random.default_rng(0).random((steps, 4)) < 0.25
    reset[0, 1], reset[1, 2], reset[:, 0], reset[1:3, 3] = True, True, False, True  # a sequence of one step, too

    def loss():
        y, after = layer.forward(params, z.copy(), state, reset)
        return dot([dy, *(dlast if last else ())], [y, *(after if last else ())])

    loss()
    grads = params.twin()
    dz, dfirst = layer.backward(params, grads, dy, dlast if last else None)
    found = {**grads, "z": dz.copy(), **{f"state {i}": part for i, part in enumerate(dfirst)}}
    check(loss, {**params, "z": z, **{f"state {i}": part for i, part in enumerate(state)}}, found)


def test_relu_lets_no_gradient_through_at_zero():
    config = ModelConfig(2, hidden=1, **CELLS["relu"])
    layer, params = make_cell(config, 0), Params(layer_shapes(config, 0, 1), np.float64)
    layer.forward(params, np.array([[[0.0]], [[-1.0]], [[2.0]]]), (np.zeros((1, 1)),))
    dz, _ = layer.backward(params, params.twin(), np.ones((3, 1, 1)))
    np.testing.assert_array_equal(dz.ravel(), [0, 0, 1])


# Compositions


@all_cells
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["all", "dropout"])
@pytest.mark.parametrize("layers", [1, 3], ids=["1 layer", "3 layers"])
def test_stack(cell, layers, residual, dropout, chunk_of, params_of, state_of):
    config = ModelConfig(5, layers=layers, hidden=3, embedding=2, dropout=dropout, residual=residual, **CELLS[cell])
    params, state, chunk = params_of(config), state_of(config, 3), chunk_of(config, 6, 3)
    stack, grads = Stack(config), params.twin()
    (dy,), dlast = drawn(dy=(6, 3, 3)), state_of(config, 3, seed=9)

    def loss():
        y, after = stack.forward(params, chunk.inputs, state, chunk.reset, np.random.default_rng(4))
        return dot([dy, *dlast], [y, *after])

    loss()
    dfirst = stack.backward(params, grads, dy.copy(), dlast)
    body = {name: value for name, value in params.items() if not name.startswith("head")}
    found = {**grads, **{f"state {i}": part for i, part in enumerate(dfirst)}}
    check(loss, {**body, **{f"state {i}": part for i, part in enumerate(state)}}, found)


def test_head():
    params = drawn_params({"head.weight": (6, 3), "head.bias": (6,)})
    (y,) = drawn(y=(8, 3))
    targets, weight = np.arange(8) % 6, np.array([1, 0, 1, 0.5, 1, 1, 0, 2.0])
    head, grads = SoftmaxHead(6), params.twin()
    _, dy = head.backward(params, grads, y, targets, weight, 0.25)

    def loss():
        return -0.25 * float(weight @ head.log_probs(params, y, targets))

    check(loss, {**params, "y": y}, {**grads, "y": dy.copy()})


def test_head_in_several_chunks():
    """So many rows and tokens that they fill three chunks: differences along a few random directions."""
    rows, vocabulary = 600, 1100
    params = drawn_params({"head.weight": (vocabulary, 2), "head.bias": (vocabulary,)})
    rng = np.random.default_rng(6)
    y, targets, weight = rng.standard_normal((rows, 2)), rng.integers(vocabulary, size=rows), rng.random(rows)
    head, grads = SoftmaxHead(vocabulary), params.twin()
    nats, dy = head.backward(params, grads, y, targets, weight, 1.0)
    variables, gradients = {**params, "y": y}, {**grads, "y": dy.copy()}

    def loss():
        return -float(weight @ head.log_probs(params, y, targets))

    assert nats == pytest.approx(loss(), rel=1e-12)
    for name, x in variables.items():
        start, direction = x.copy(), rng.standard_normal(x.shape)
        ends = []
        for side in (STEP, -STEP):
            x[...] = start + side * direction
            ends.append(loss())
        x[...] = start
        slope = (ends[0] - ends[1]) / (2 * STEP)
        assert np.vdot(gradients[name], direction) == pytest.approx(slope, rel=1e-6), name


MODELS = {
    "embedding": {"hidden": 3, "embedding": 2},
    "one-hot": {"hidden": 3, "embedding": 0},
    "tied": {"hidden": 3, "embedding": 3, "tie": True},
    "two layers": {"hidden": 3, "embedding": 2, "layers": 2},
    "all at once": {"hidden": 3, "embedding": 3, "tie": True, "layers": 2, "layer_norm": True, "residual": True},
}


@all_cells
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["all", "dropout"])
def test_language_model(cell, model, dropout, chunk_of, params_of, state_of):
    config = ModelConfig(5, dropout=dropout, **MODELS[model], **CELLS[cell])
    params, state, chunk = params_of(config), state_of(config, 3), chunk_of(config, 6, 3)
    network, scrap = LanguageModel(config), params.twin()

    def loss(grads=scrap):
        rng = np.random.default_rng(7)
        nats, _ = network.backward(params, grads, chunk, state, 0.5, rng)
        return 0.5 * nats

    grads = params.twin()
    loss(grads)
    check(loss, params, grads)
