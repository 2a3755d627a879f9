"""The classifier's mathematics: gradients, weights, what is counted, and that no text depends on its neighbours."""

import itertools
import platform
from dataclasses import replace

import numpy as np
import pytest

from charlm.config import NO_TOKEN, POOLINGS, ModelConfig
from charlm.engines.classifier import ClassifierEngine
from charlm.nn import kernel
from charlm.nn.classifier import ClassifierNetwork, initialize, shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Params
from charlm.nn.stack import Stack
from charlm.text.tokenizers import UNK
from tests.test_gradients import check, network_gradients
from tests.tiny import CELLS
from tests.whole import drawn_texts, laid_out, mixed

all_cells = pytest.mark.parametrize("cell", CELLS)
all_poolings = pytest.mark.parametrize("pool", POOLINGS)
both = pytest.mark.parametrize("bidirectional", [False, True], ids=["onwards", "both"])


def drawn_params(config, labels, pool, dtype=np.float64, seed=0):
    params = Params(shapes(config, labels, pool), dtype)
    params.flat[:] = 0.5 * np.random.default_rng(seed).standard_normal(params.flat.size)
    for name in params:
        if name.endswith(".bias") or (
            config.nonlinearity == "relu" and name.startswith("rnn.bias_ih")
        ):
            params[name][...] += 1  # or most units would be dead, or near relu's kink
    return params


def check_gradients(config, pool, chunk):
    params, network = drawn_params(config, 3, pool, seed=4), ClassifierNetwork(config, 3, pool)
    loss, grads = network_gradients(network, params, chunk)
    check(loss, params, grads)


@all_cells
@all_poolings
@both
def test_gradients(cell, pool, bidirectional):
    shape = {"hidden": 2, "embedding": 2, "bidirectional": bidirectional, "dropout": 0.2}
    config = ModelConfig(4, head_layers=1, head_hidden=3, **shape, **CELLS[cell])
    check_gradients(config, pool, replace(mixed(4), weight=np.ones(8, np.float32)))


def test_gradients_are_of_the_weighted_sum_and_nats_of_the_plain_one():
    config = ModelConfig(4, hidden=2, embedding=2, bidirectional=True)
    params, chunk = drawn_params(config, 3, "mean"), mixed(4)
    network, grads = ClassifierNetwork(config, 3, "mean"), params.twin()
    known = np.flatnonzero(chunk.labels >= 0)

    def chosen():
        return network.log_probs(params, chunk)[known, chunk.labels[known]]

    nats, _ = network.backward(params, grads, chunk, (), 0.5)
    assert nats == pytest.approx(-chosen().sum(), rel=1e-12)
    check(lambda: -0.5 * float(chosen() @ chunk.weight[known]), params, grads)


@pytest.mark.parametrize(
    "shape",
    [
        {"layers": 2, "residual": True, "layer_norm": True},
        {"layers": 2, "embedding": 0, "head_layers": 2},
        {"layers": 2, "hidden": 3, "head_layers": 1, "head_hidden": 2},
    ],
    ids=["normed", "one-hot", "narrow"],
)
@both
def test_gradients_of_deep_networks(shape, bidirectional):
    config = ModelConfig(4, **{"hidden": 2, "embedding": 2, "bidirectional": bidirectional} | shape)
    check_gradients(config, "attention", replace(mixed(4), weight=np.ones(8, np.float32)))


@all_poolings
@both
def test_nats_are_those_of_the_log_probs(pool, bidirectional):
    config = ModelConfig(5, hidden=3, embedding=2, bidirectional=bidirectional)
    params, chunk = drawn_params(config, 3, pool), mixed(5)
    network = ClassifierNetwork(config, 3, pool)
    logp = network.log_probs(params, chunk)
    assert logp.dtype == np.float64
    np.testing.assert_allclose(np.exp(logp).sum(axis=1), 1, rtol=1e-12)
    known = chunk.labels >= 0
    expected = -logp[known, chunk.labels[known]].sum()
    assert network.backward(params, params.twin(), chunk, (), 1.0)[0] == pytest.approx(
        expected, rel=1e-12
    )


def test_texts_without_a_label_have_neither_gradient_nor_nats():
    config = ModelConfig(5, hidden=3, embedding=2, bidirectional=True)
    params, chunk = drawn_params(config, 3, "mean"), mixed(5)
    grads, network = params.twin(), ClassifierNetwork(config, 3, "mean")
    assert network.backward(params, grads, replace(chunk, labels=np.full(8, -1)), (), 1.0) == (
        0.0,
        (),
    )
    assert not grads.flat.any()


@both
def test_shares_of_the_columns_add_up(bidirectional):
    config = ModelConfig(5, hidden=3, embedding=2, bidirectional=bidirectional)
    params, chunk, network = (
        drawn_params(config, 3, "max"),
        mixed(5),
        ClassifierNetwork(config, 3, "max"),
    )
    whole, shares = params.twin(), params.twin()
    nats, _ = network.backward(params, whole, chunk, (), 0.5)
    parts = [slice(0, 2), slice(2, 3), slice(3, 5)]  # the middle one has no text
    found = sum(network.backward(params, shares, chunk.columns(part), (), 0.5)[0] for part in parts)
    assert found == pytest.approx(nats, rel=1e-12)
    np.testing.assert_allclose(shares.flat, whole.flat, rtol=1e-9, atol=1e-12)


# Neighbours


def weights_of(config, params):
    """Return the weights as predicting reads them."""
    return params if kernel.missing else Panels(config, params)


@pytest.mark.skipif(kernel.missing is not None, reason="there are no compiled loops")
@all_cells
@all_poolings
@both
@pytest.mark.parametrize(
    "shape", [{}, {"layers": 2, "residual": True, "layer_norm": True}], ids=["plain", "normed"]
)
def test_a_text_does_not_depend_on_its_neighbours_to_the_bit(cell, pool, bidirectional, shape):
    sizes = {"hidden": 33, "embedding": 9, "head_layers": 1, "head_hidden": 21} | shape
    config = ModelConfig(11, bidirectional=bidirectional, **sizes, **CELLS[cell])
    params = drawn_params(config, 5, pool, np.float32)
    params.flat *= 0.5
    panels, network = Panels(config, params), ClassifierNetwork(config, 5, pool)
    lengths = [1, 9, 2, 3, 17, 4, 1, 5, 6, 30, 8, 2, 12, 3]
    texts = drawn_texts(lengths, 11)
    alone = [network.log_probs(panels, laid_out([[0]], [text]))[0] for text in texts]
    layouts = {
        "one column": laid_out([range(14)], texts),
        "a column each": laid_out([[i] for i in range(14)], texts),
        "several": laid_out(
            [[4, 0], [9], [3, 2, 1], [], [5, 6, 7, 8], [13, 12, 11, 10]], texts, 40
        ),
        "other order": laid_out([[10, 13, 12], [8, 9, 7], [11, 6], [2, 3, 5, 4, 1, 0]], texts),
    }
    for name, chunk in layouts.items():
        np.testing.assert_array_equal(network.log_probs(panels, chunk), alone, err_msg=name)
    chunk = layouts["several"]
    for bounds in ((0, 3, 6), (0, 2, 4, 6)):
        parts = [chunk.columns(slice(a, b)) for a, b in itertools.pairwise(bounds)]
        found = np.concatenate(
            [ClassifierNetwork(config, 5, pool).log_probs(panels, part) for part in parts]
        )
        order = [
            i for a, b in itertools.pairwise(bounds) for i in range(14) if a <= chunk.column[i] < b
        ]
        np.testing.assert_array_equal(found, np.array(alone)[order])


@all_cells
@all_poolings
@both
def test_what_is_predicted_is_what_is_learnt(cell, pool, bidirectional):
    """By panels, in float32, as by parameters in float64, tokens too many for a table of products among them."""
    for vocabulary, layers, embedding in ((11, 2, 4), (40_000, 1, 3), (40_000, 2, 0)):
        config = ModelConfig(
            vocabulary,
            hidden=20,
            embedding=embedding,
            layers=layers,
            bidirectional=bidirectional,
            **CELLS[cell],
        )
        exact = drawn_params(config, 3, pool)
        exact.flat *= 0.3
        rounded = Params(exact.shapes)
        rounded.flat[:] = exact.flat
        chunk, network = mixed(vocabulary), ClassifierNetwork(config, 3, pool)
        expected = network.log_probs(exact, chunk)
        found = network.log_probs(weights_of(config, rounded), chunk)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_unused_steps_say_nothing():
    config = ModelConfig(5, hidden=3, embedding=2, bidirectional=True)
    params, chunk = drawn_params(config, 3, "mean"), mixed(5)
    used = chunk.inputs != NO_TOKEN
    other = replace(chunk, inputs=np.where(used, chunk.inputs, 4))
    network = ClassifierNetwork(config, 3, "mean")
    np.testing.assert_array_equal(
        network.log_probs(params, other), network.log_probs(params, chunk)
    )


# First weights


def test_shapes_in_their_order():
    config = ModelConfig(5, hidden=3, embedding=2, bidirectional=True, head_layers=1, head_hidden=4)
    found = shapes(config, 7, "attention")
    assert found["embed.weight"] == (5, 2)
    assert dict(list(found.items())[-5:]) == {
        "pool.weight": (6,), "dense.0.weight": (4, 6), "dense.0.bias": (4,), "head.weight": (7, 4), "head.bias": (7,),
    }  # fmt: skip
    assert "pool.weight" not in shapes(config, 7, "max")


def test_first_weights():
    config = ModelConfig(50, cell="lstm", hidden=30, embedding=20, bidirectional=True)
    params = initialize(config, 7, "attention", np.random.default_rng(0))
    for way in ("", "_reverse"):
        gates = params[f"rnn.bias_ih_l0{way}"].reshape(4, 30)
        np.testing.assert_array_equal(gates[1], 1)
        assert not gates[[0, 2, 3]].any()
        assert np.abs(params[f"rnn.weight_hh_l0{way}"]).max() == pytest.approx(30**-0.5, rel=1e-2)
    assert np.abs(params["head.weight"]).max() == pytest.approx(60**-0.5, rel=1e-2)
    assert not params["pool.weight"].any()
    assert params["embed.weight"].std() == pytest.approx(1, rel=0.1)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="others lose no time")
@pytest.mark.skipif(kernel.target == "numpy", reason="the compiled loops were not built here")
def test_gradients_that_fade_away_in_a_long_text_end_in_zeros_that_cost_no_time():
    config = ModelConfig(400, cell="rnn", hidden=5, embedding=0)  # a token's gradient is a step's
    params = drawn_params(config, 2, "last", np.float32)
    params["rnn.weight_hh_l0"][...] *= 0.2
    text = np.arange(400, dtype=np.int32)
    chunk, grads = laid_out([[0]], [text], labels=[1]), params.twin()
    ClassifierNetwork(config, 2, "last").backward(params, grads, chunk, (), 1.0)
    size = np.abs(grads["rnn.weight_ih_l0"]).max(axis=0)  # [400], falling towards the first token
    smallest = np.finfo(np.float32).tiny
    assert size[-1] > 1e-3
    assert size[size > 0].min() < 1e10 * smallest  # it goes all the way to what is too small
    assert not size[0]
    faded = np.abs(grads.flat[grads.flat != 0])
    assert faded.min() >= smallest


@pytest.mark.parametrize("embedding", [5, 0])
def test_the_embedding_begins_as_large_as_is_said_and_nothing_else_does(embedding):
    config = ModelConfig(30, hidden=4, embedding=embedding)
    whole, half = (ClassifierEngine(config, 3, "last", embedding_scale=x).tensors() for x in (1, 0.5))
    assert whole.keys() == half.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(half[name], value * 0.5 if name == "embed.weight" else value)


def test_token_dropout_reads_tokens_as_unknown_but_never_eos_nor_what_is_unused(monkeypatch):
    config = ModelConfig(9, hidden=4, embedding=3)
    network, chunk, seen = ClassifierNetwork(config, 3, "last", 0, 0.3), mixed(9), []
    plain = Stack.forward
    monkeypatch.setattr(
        Stack, "forward", lambda self, p, ids, *rest: seen.append(ids) or plain(self, p, ids, *rest)
    )
    params = drawn_params(config, 3, "last", seed=4)
    for seed in range(200):
        network.backward(params, params.twin(), chunk, (), 1.0, np.random.default_rng(seed))
    network.log_probs(params, chunk)
    np.testing.assert_array_equal(seen.pop(), chunk.inputs)
    tokens = chunk.inputs > UNK
    for ids in seen:
        np.testing.assert_array_equal(ids[~tokens], chunk.inputs[~tokens])
        assert ((ids == chunk.inputs) | (ids == UNK))[tokens].all()
    share = np.mean([(ids[tokens] == UNK).mean() for ids in seen])
    assert share == pytest.approx(0.3, abs=0.02)
