"""Both directions: gradients, what each reads, and that it is two stacks where there is one layer."""

import numpy as np
import pytest

from charlm.config import ModelConfig, check_language
from charlm.errors import UsageError
from charlm.nn.bidirectional import Bidirectional, turned_rows
from charlm.nn.model import shapes
from charlm.nn.params import Params
from charlm.nn.stack import Stack, zero_state
from tests.test_gradients import check, dot, drawn
from tests.tiny import CELLS
from tests.whole import drawn_texts, laid_out, mixed

all_cells = pytest.mark.parametrize("cell", CELLS)


def body_params(config, dtype=np.float64, seed=0):
    found = {name: shape for name, shape in shapes(config).items() if not name.startswith("head")}
    params = Params(found, dtype)
    params.flat[:] = 0.5 * np.random.default_rng(seed).standard_normal(params.flat.size)
    for name in params:
        if config.nonlinearity == "relu" and name.startswith("rnn.bias_ih"):
            params[name][...] += 1  # or most units would be dead
    return params


def test_every_text_is_turned_round_in_its_own_place():
    reset = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    step, column = np.divmod(turned_rows(reset), 3)
    np.testing.assert_array_equal(step.reshape(4, 3).T, [[1, 0, 3, 2], [0, 3, 2, 1], [3, 2, 1, 0]])
    np.testing.assert_array_equal(column.reshape(4, 3), [[0, 1, 2]] * 4)


def test_turning_twice_is_doing_nothing():
    turn = turned_rows(np.random.default_rng(0).random((40, 7)) < 0.2)
    np.testing.assert_array_equal(turn[turn], np.arange(len(turn)))


@all_cells
@pytest.mark.parametrize(
    "shape",
    [{}, {"layers": 2, "residual": True, "layer_norm": True, "dropout": 0.3}],
    ids=["plain", "all at once"],
)
def test_gradients(cell, shape):
    sizes = {"hidden": 3, "embedding": 2} | shape
    config = ModelConfig(5, bidirectional=True, **sizes, **CELLS[cell])
    params, chunk, body = (
        body_params(config, seed=0 if cell == "relu" else 2),
        mixed(5),
        Bidirectional(config),
    )
    (dy,), grads = drawn(dy=(7, 5, 6)), params.twin()

    def loss():
        y, state = body.forward(params, chunk.inputs, (), chunk.reset, np.random.default_rng(4))
        assert state == ()
        return dot([dy], [y])

    loss()
    body.backward(params, grads, dy.copy())
    check(loss, params, grads)


def test_gradients_of_one_hot_tokens():
    config = ModelConfig(5, hidden=3, embedding=0, layers=2, bidirectional=True)
    params, chunk, body = body_params(config), mixed(5), Bidirectional(config)
    (dy,), grads = drawn(dy=(7, 5, 6)), params.twin()

    def loss():
        return dot([dy], [body.forward(params, chunk.inputs, (), chunk.reset)[0]])

    loss()
    body.backward(params, grads, dy.copy())
    check(loss, params, grads)


@all_cells
def test_one_layer_is_two_stacks_of_which_one_reads_each_text_backwards(cell):
    config = ModelConfig(5, hidden=3, embedding=2, bidirectional=True, **CELLS[cell])
    onwards = ModelConfig(5, hidden=3, embedding=2, **CELLS[cell])
    params = body_params(config)
    texts = drawn_texts([4, 1, 2, 7, 3], 5)
    columns = [[0, 1, 2], [3], [4]]
    chunk, back = laid_out(columns, texts), laid_out(columns, [text[::-1] for text in texts])
    y, _ = Bidirectional(config).forward(params, chunk.inputs, (), chunk.reset)
    for reverse, read in ((False, chunk), (True, back)):
        own = body_params(onwards)
        for name in own:
            own[name][...] = params[
                f"{name}_reverse" if reverse and name.startswith("rnn") else name
            ]
        state = zero_state(onwards, 3, np.float64)
        expected, _ = Stack(onwards).forward(own, read.inputs, state, read.reset)
        for i, text in enumerate(texts):
            place = slice(chunk.first[i], chunk.first[i] + len(text)), chunk.column[i]
            found = y[place][:, 3:] if reverse else y[place][:, :3]
            order = slice(None, None, -1) if reverse else slice(None)
            np.testing.assert_allclose(found, expected[place][order], rtol=1e-12)


def test_both_directions_share_the_embeddings_dropout():
    """A token is dropped, or not, for both: with a mask each there would be rows of which only one half is zero."""
    config = ModelConfig(5, hidden=1, embedding=1, dropout=0.5, bidirectional=True, cell="rnn")
    params = body_params(config)
    for name in params:
        if "bias" in name or "hh" in name:
            params[name][...] = 0
    body, rng = Bidirectional(config), np.random.default_rng(0)
    body.dropouts[0].p = 0.0
    chunk = laid_out([[0]], [np.arange(5, dtype=np.int32)])
    kept = [body.forward(params, chunk.inputs, (), chunk.reset, rng)[0] != 0 for _ in range(20)]
    assert 0 < np.mean(kept) < 1
    for one in kept:
        np.testing.assert_array_equal(one[:, 0, 0], one[:, 0, 1])


def test_names_are_those_of_torch_and_in_its_order():
    found = [
        name
        for name in shapes(ModelConfig(5, layers=2, bidirectional=True))
        if name.startswith("rnn")
    ]
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert found == [
        f"rnn.{part}_l{k}{way}" for k in (0, 1) for way in ("", "_reverse") for part in parts
    ]


def test_refused():
    with pytest.raises(UsageError, match="tie does not go with bidirectional"):
        ModelConfig(5, hidden=4, embedding=8, tie=True, bidirectional=True)
    check_language(ModelConfig(5))
    with pytest.raises(UsageError, match="which the backward direction would have read"):
        check_language(ModelConfig(5, bidirectional=True))
