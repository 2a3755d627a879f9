"""Layers without recurrence on top: gradients, dropout, first weights, and the language model that has them."""

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.engines.numpy import NumpyEngine
from charlm.errors import UsageError
from charlm.nn import kernel
from charlm.nn.dense import DenseLayers, dense_shapes
from charlm.nn.model import LanguageModel, initialize, shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Params
from tests.test_gradients import check, dot, drawn
from tests.tiny import CELLS

CONFIGS = {
    "one": ModelConfig(5, hidden=3, head_layers=1),
    "wider": ModelConfig(5, hidden=3, head_layers=2, head_hidden=4),
    "of both directions": ModelConfig(
        5, hidden=2, bidirectional=True, head_layers=2, head_hidden=3
    ),
    "dropout": ModelConfig(5, hidden=3, head_layers=2, dropout=0.3),
}


@pytest.mark.parametrize("shape", [(6,), (7, 2)], ids=["a row each", "in time"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_gradients(config, shape):
    layers, params = DenseLayers(config), Params(dense_shapes(config), np.float64)
    params.flat[:] = np.random.default_rng(3).standard_normal(params.flat.size)
    rng = np.random.default_rng(0)
    x, dy = (
        rng.standard_normal((*shape, config.width)),
        rng.standard_normal((*shape, config.head_width)),
    )

    def run():
        return layers.forward(params, x, np.random.default_rng(1))

    run()
    grads = params.twin()
    dx = layers.backward(params, grads, dy.copy()).copy()
    check(lambda: dot([dy], [run()]), {**params, "x": x}, {**grads, "x": dx})


def test_values_are_the_equation():
    config = CONFIGS["wider"]
    params = Params(dense_shapes(config), np.float64)
    params.flat[:] = np.random.default_rng(0).standard_normal(params.flat.size)
    (x,) = drawn(x=(6, 3))
    expected = x
    for k in range(2):
        expected = np.maximum(
            0, expected @ params[f"dense.{k}.weight"].T + params[f"dense.{k}.bias"]
        )
    np.testing.assert_allclose(DenseLayers(config).forward(params, x), expected, rtol=1e-14)
    np.testing.assert_allclose(DenseLayers(config).forward(params, x), expected, rtol=1e-14)


def test_without_layers_nothing_is_done():
    config = ModelConfig(5, hidden=3)
    layers, (x,) = DenseLayers(config), drawn(x=(6, 3))
    params = Params(dense_shapes(config))
    assert layers.forward(params, x) is x
    assert layers.backward(params, params, x) is x
    assert layers.forward(params, x) is x


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "shape",
    [{"head_layers": 1}, {"head_layers": 2, "head_hidden": 2, "tie": True, "dropout": 0.3}],
    ids=["one", "narrow and tied"],
)
def test_gradients_of_a_language_model(cell, shape, chunk_of, params_of, state_of):
    config = ModelConfig(5, hidden=3, embedding=2, **shape, **CELLS[cell])
    params, state, chunk = params_of(config, seed=1), state_of(config, 3), chunk_of(config, 6, 3)
    network, scrap = LanguageModel(config), params.twin()
    for k in range(config.head_layers):
        params[f"dense.{k}.bias"][...] += 1  # or most units would be dead

    def loss(grads=scrap):
        rng = np.random.default_rng(7)
        return 0.5 * network.backward(params, grads, chunk, state, 0.5, rng)[0]

    grads = params.twin()
    loss(grads)
    check(loss, params, grads)


@pytest.mark.skipif(kernel.missing is not None, reason="there are no compiled loops")
def test_panels_read_as_parameters_do(chunk_of, params_of, state_of):
    config = ModelConfig(9, hidden=20, embedding=7, layers=2, head_layers=2, head_hidden=30)
    params, state = params_of(config, np.float32), state_of(config, 3, np.float32)
    chunk, network = chunk_of(config, 9, 3), LanguageModel(config)
    given = chunk.inputs, chunk.targets, chunk.reset, state
    expected, expected_after = network.log_probs(params, *given)
    found, after = network.log_probs(Panels(config, params), *given)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(after, expected_after, rtol=1e-4, atol=1e-6)


def test_an_engine_learns_with_layers_on_top(chunk_of):
    config = ModelConfig(5, hidden=8, embedding=4, head_layers=2, head_hidden=6)
    engine, chunk = NumpyEngine(config, 2), chunk_of(config, 8, 4)
    losses = [engine.update(chunk, engine.zero_state(4), 0.02)[0].nats for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_first_weights_keep_the_variance_through_relu():
    config = ModelConfig(5, hidden=300, head_layers=4, head_hidden=400)
    params = initialize(config, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((200, 300)).astype(np.float32)
    y = DenseLayers(config).forward(params, x)
    assert np.mean(y * y) == pytest.approx(1, rel=0.2)  # as E[max(0, z)^2] = Var z / 2
    assert np.abs(params["head.weight"]).max() == pytest.approx(400**-0.5, rel=1e-2)


def test_without_layers_on_top_a_language_model_has_the_tensors_and_the_file_that_it_had():
    config = ModelConfig(5, hidden=3)
    assert list(shapes(config))[-2:] == ["head.weight", "head.bias"]
    later = {"bidirectional", "head_layers", "head_hidden"}
    assert not later & set(config.to_dict())
    assert ModelConfig.from_dict(config.to_dict()) == config
    for full in (
        ModelConfig(5, bidirectional=True),
        ModelConfig(5, head_layers=2),
        ModelConfig(5, head_layers=1, head_hidden=7),
    ):
        assert ModelConfig.from_dict(full.to_dict()) == full
        given = {"vocab_size", *(name for name in later if getattr(full, name))}
        assert later & set(full.to_dict()) == later & given
    everything = config.to_dict() | {"bidirectional": False, "head_layers": 0, "head_hidden": None}
    assert ModelConfig.from_dict(everything) == config


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"head_layers": -1}, "head-layers must be between 0 and 100, not -1"),
        ({"head_layers": 101}, "head-layers must be between 0 and 100, not 101"),
        (
            {"head_layers": True},
            "head_layers must be a whole number|head-layers must be a whole number",
        ),
        ({"head_layers": 1, "head_hidden": 0}, "head-hidden must be between 1 and 65,536, not 0"),
        ({"head_hidden": 8}, "head-hidden needs head-layers"),
        (
            {"head_layers": 1, "head_hidden": 8, "tie": True, "embedding": 4, "hidden": 4},
            r"tie needs embedding \(4\) and head-hidden \(8\) to be equal",
        ),
        (
            {"tie": True, "embedding": 4, "hidden": 5},
            r"tie needs embedding \(4\) and hidden \(5\) to be equal",
        ),
        ({"bidirectional": 1}, "bidirectional must be true or false, not 1"),
    ],
)
def test_refused(shape, message):
    with pytest.raises(UsageError, match=message):
        ModelConfig(5, **shape)


def test_tied_to_the_last_layer_not_to_the_recurrent_ones():
    config = ModelConfig(5, embedding=8, hidden=4, head_layers=1, head_hidden=8, tie=True)
    assert "head.weight" not in shapes(config)
    assert np.abs(initialize(config, np.random.default_rng(0))["embed.weight"]).max() <= 8**-0.5
