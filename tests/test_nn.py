"""What the network computes: naive references, arithmetic by hand, identities, stored losses, first weights."""

import math
from dataclasses import replace

import numpy as np
import pytest

from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn.head import SoftmaxHead
from charlm.nn.layers import Dropout, Embedding, Linear, TokenInput, sum_by_row
from charlm.nn.model import LanguageModel, initialize, shapes
from charlm.nn.optim import Adam
from charlm.nn.params import Params, Workspace
from charlm.nn.stack import Stack, layer_shapes, make_cell, zero_state
from charlm.text.batches import Batch
from tests.tiny import CELLS

all_cells = pytest.mark.parametrize("cell", CELLS)
inputs = pytest.mark.parametrize("embedding", [3, 0], ids=["embedding", "one-hot"])


def small(cell, **settings):
    return ModelConfig(**{"vocab_size": 6, "layers": 2, "hidden": 4, "embedding": 3, **CELLS[cell], **settings})


def loop_of(cell, dtype=np.float64, hidden=4):
    """Return a cell with parameters, an input product and a state of zeros, for one column and two steps."""
    config = small(cell, hidden=hidden, layers=1)
    params, state = Params(layer_shapes(config, 0, hidden), dtype), zero_state(config, 1, dtype)
    z = np.zeros((2, 1, len(params["rnn.bias_ih_l0"])), dtype)
    return make_cell(config, 0), params, z, tuple(part[0] for part in state)


def assert_close(actual, expected, tolerance=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# A second, naive way to the same numbers


def naive_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def naive_step(cell, z, weight, bias, gain, peepholes, h, c):
    """Return the next h and c of one row, from the equations; the blocks are r u n in a GRU, i f g o in an LSTM."""
    a = weight @ h
    if gain is not None:
        a = gain * (a - a.mean()) / math.sqrt(((a - a.mean()) ** 2).mean() + 1e-5)
    a = a + bias
    if cell == "rnn":
        return np.tanh(z + a), c
    if cell == "relu":
        return np.maximum(z + a, 0), c
    if cell == "gru":
        (z_r, z_u, z_n), (a_r, a_u, a_n) = z.reshape(3, -1), a.reshape(3, -1)
        r, u = naive_sigmoid(z_r + a_r), naive_sigmoid(z_u + a_u)
        return (1 - u) * np.tanh(z_n + r * a_n) + u * h, c
    if cell == "simple-gru":
        u, n = (z + a).reshape(2, -1)
        return (1 - naive_sigmoid(u)) * np.tanh(n) + naive_sigmoid(u) * h, c
    i, f, g, o = (z + a).reshape(4, -1)
    ci, cf, co = peepholes if cell == "lstm-peephole" else (0, 0, 0)
    c = naive_sigmoid(f + cf * c) * c + naive_sigmoid(i + ci * c) * np.tanh(g)
    o = o + co * c
    return naive_sigmoid(o) * np.tanh(c), c


def naive_log_probs(config, cell, params, chunk, state):
    """Return log p of every target [T, B] and the state after: row by row, step by step, layer by layer."""
    p = {name: value.astype(np.float64) for name, value in params.items()}
    table = p["embed.weight"] if config.embedding else np.eye(config.vocab_size)
    h = state[0].astype(np.float64)
    c = state[-1].astype(np.float64)
    logp = np.empty(chunk.targets.shape)
    for row in range(chunk.targets.shape[1]):
        for t in range(chunk.targets.shape[0]):
            if chunk.reset[t, row]:
                h[:, row], c[:, row] = 0, 0
            token = chunk.inputs[t, row]
            x = np.zeros(table.shape[1]) if token == NO_TOKEN else table[token]
            for k in range(config.layers):
                z = p[f"rnn.weight_ih_l{k}"] @ x + p[f"rnn.bias_ih_l{k}"]
                weight, bias, gain = (p.get(f"rnn.{name}_hh_l{k}") for name in ("weight", "bias", "gain"))
                peepholes = [p.get(f"rnn.weight_c{gate}_l{k}") for gate in "ifo"]
                h[k, row], c[k, row] = naive_step(cell, z, weight, bias, gain, peepholes, h[k, row], c[k, row])
                x = x + h[k, row] if config.residual and k else h[k, row]
            logits = p["embed.weight" if config.tie else "head.weight"] @ x + p["head.bias"]
            logp[t, row] = logits[chunk.targets[t, row]] - math.log(np.exp(logits).sum())
    return logp, (h, c)[: len(state)]


@all_cells
@pytest.mark.parametrize(
    "shape",
    [{"embedding": 3}, {"embedding": 0}, {"embedding": 4, "tie": True}, {"layer_norm": True}, {"residual": True}],
    ids=["embedding", "one-hot", "tied", "layer norm", "residual"],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)], ids=["float64", "float32"])
def test_log_probs_are_those_of_a_naive_network(cell, shape, dtype, tolerance, chunk_of, params_of, state_of):
    config = small(cell, **shape)
    params, state, chunk = params_of(config, dtype), state_of(config, 3, dtype), chunk_of(config, 7, 3)
    logp, after = LanguageModel(config).log_probs(params, chunk.inputs, chunk.targets, chunk.reset, state)
    expected, expected_after = naive_log_probs(config, cell, params, chunk, state)
    assert_close(logp, expected, tolerance)
    for part, expected_part in zip(after, expected_after, strict=True):
        assert part.dtype == dtype
        assert_close(part, expected_part, tolerance)


@pytest.mark.parametrize("cell", ["gru", "simple-gru", "lstm", "lstm-peephole"])
def test_gates_saturate_without_a_warning(cell):
    """exp overflows at -1000 in float32 and the gate is 0 there; warnings are errors in these tests."""
    loop, params, z, zero = loop_of(cell, np.float32, hidden=1)
    y, _ = loop.forward(params, z - 1000, tuple(part + 1 for part in zero))
    np.testing.assert_array_equal(y.ravel(), [-1, -1] if "gru" in cell else [0, 0])


@pytest.mark.parametrize("rows", [7, 300], ids=["product", "sort"])
def test_sum_by_row(rows):
    rng = np.random.default_rng(0)
    row_of = rng.permutation(np.concatenate([np.arange(rows), rng.integers(rows, size=400)]))
    values = rng.standard_normal((len(row_of), 3))
    expected = np.zeros((rows, 3))
    for row, value in zip(row_of, values, strict=True):
        expected[row] += value
    assert_close(sum_by_row(values, row_of, rows), expected)


# Arithmetic by hand


def test_worked_example():
    """Two tokens, one hidden unit, one-hot input, two steps; the input is nothing, then token 0.

    bias_hh = ln 2 and tanh(ln 2) = (2 - 1/2) / (2 + 1/2) = 0.6, so step one gives h = 0.6.
    Step two: ih[0] + hh * 0.6 + ln 2 = -0.6 + 0.6 + ln 2, so h = 0.6 again.
    Logits are (0, 0.6 w) with w = ln 3 / 0.6, that is (0, ln 3), so p = (1/4, 3/4) at both steps.
    Targets 0, then 1: nats = ln 4 + ln(4/3) = ln(16/3).
    """
    config = ModelConfig(2, "rnn", hidden=1, embedding=0)
    params = Params(shapes(config), np.float64)
    w = math.log(3) / 0.6
    params["rnn.weight_ih_l0"][:] = [[-0.6, 0.3]]
    params["rnn.weight_hh_l0"][:] = 1
    params["rnn.bias_hh_l0"][:] = math.log(2)
    params["head.weight"][:] = [[0], [w]]
    grads = params.twin()
    nats, (h,) = LanguageModel(config).backward(
        params, grads, Batch(np.array([[NO_TOKEN], [0]]), np.array([[0], [1]]), None, np.ones((2, 1))),
        zero_state(config, 1, np.float64), 1.0,
    )  # fmt: skip
    assert nats == pytest.approx(math.log(16 / 3))
    assert h.item() == pytest.approx(0.6)

    # p - onehot: (-3/4, 3/4) at step one, (1/4, -1/4) at step two.
    assert_close(grads["head.bias"], [-1 / 2, 1 / 2])
    assert_close(grads["head.weight"], [[0.6 * -1 / 2], [0.6 * 1 / 2]])
    # tanh' = 1 - 0.36 = 0.64. Step two: dh = -w/4, da = -0.16 w. Step one: dh = 3/4 w - 0.16 w = 0.59 w, since
    # hh = 1 hands da of step two back; da = 0.64 * 0.59 w = 0.3776 w.
    assert_close(grads["rnn.weight_ih_l0"], [[-0.16 * w, 0]])  # token 0 at step two only, token 1 never
    assert_close(grads["rnn.weight_hh_l0"], [[-0.16 * w * 0.6]])  # step one had nothing before it
    assert_close(grads["rnn.bias_ih_l0"], [(0.3776 - 0.16) * w])
    assert_close(grads["rnn.bias_hh_l0"], [(0.3776 - 0.16) * w])


# Identities


@all_cells
def test_chunks_with_carried_state_are_the_whole(cell, chunk_of, params_of, state_of):
    config = small(cell)
    params, state, whole = params_of(config), state_of(config, 3), chunk_of(config, 13, 3)
    network = LanguageModel(config)
    expected, expected_after = network.log_probs(params, whole.inputs, whole.targets, whole.reset, state)
    parts = []
    for part in (slice(0, 5), slice(5, 6), slice(6, 13)):
        logp, state = network.log_probs(params, whole.inputs[part], whole.targets[part], whole.reset[part], state)
        parts.append(logp)
    assert_close(np.concatenate(parts), expected)
    for part, expected_part in zip(state, expected_after, strict=True):
        assert_close(part, expected_part)


@all_cells
def test_a_reset_is_a_fresh_start(cell, chunk_of, params_of, state_of):
    """What follows a reset has the log-probabilities of a text by itself, and what precedes it those without."""
    config = small(cell)
    params, state, chunk = params_of(config), state_of(config, 3), chunk_of(config, 9, 3)
    reset = np.zeros_like(chunk.reset)
    reset[4, 1] = True
    network = LanguageModel(config)
    logp, _ = network.log_probs(params, chunk.inputs, chunk.targets, reset, state)
    fresh, _ = network.log_probs(
        params, chunk.inputs[4:, 1:2], chunk.targets[4:, 1:2], None, zero_state(config, 1, np.float64)
    )
    plain, _ = network.log_probs(params, chunk.inputs, chunk.targets, None, state)
    assert_close(logp[4:, 1:2], fresh)
    assert_close(logp[:4], plain[:4])
    assert_close(logp[:, [0, 2]], plain[:, [0, 2]])
    assert np.abs(logp[4:, 1] - plain[4:, 1]).max() > 1e-3


@all_cells
def test_no_gradient_crosses_a_reset(cell, params_of, state_of):
    config = small(cell, layers=1)
    params, stack = params_of(config), Stack(config)
    ids, reset = np.array([[0, 1], [2, 3], [4, 5]]), np.zeros((3, 2), np.bool_)
    reset[1, 0] = True
    dy = np.zeros((3, 2, 4))
    dy[1:] = 1
    stack.forward(params, ids, state_of(config, 2), reset)
    dstate = stack.backward(params, params.twin(), dy)
    for part in dstate:
        assert not part[:, 0].any()
        assert part[:, 1].any()


@all_cells
def test_rows_of_a_batch_are_independent(cell, chunk_of, params_of, state_of):
    config = small(cell)
    params, state, chunk = params_of(config), state_of(config, 4), chunk_of(config, 6, 4)
    network, together = LanguageModel(config), params.twin()
    logp, after = network.log_probs(params, chunk.inputs, chunk.targets, chunk.reset, state)
    nats, _ = network.backward(
        params, together, chunk, state, 0.5
    )
    alone, nats_alone = params.twin(), 0.0
    for k in range(4):
        column = slice(k, k + 1)
        part, own = chunk.columns(column), tuple(value[:, column] for value in state)
        own_logp, own_after = network.log_probs(params, part.inputs, part.targets, part.reset, own)
        assert_close(own_logp, logp[:, column])
        for one, all_of_them in zip(own_after, after, strict=True):
            assert_close(one, all_of_them[:, column])
        own_nats, _ = network.backward(params, alone, part, own, 0.5)
        nats_alone += own_nats
    assert nats_alone == pytest.approx(nats, rel=1e-12)
    assert_close(alone.flat, together.flat)  # gradients are added up


@all_cells
def test_probabilities_sum_to_one_and_are_the_logits(cell, chunk_of, params_of, state_of):
    config = small(cell)
    params, state, chunk = params_of(config), state_of(config, 3), chunk_of(config, 5, 3)
    network = LanguageModel(config)
    logp = np.stack([
        network.log_probs(params, chunk.inputs, np.full_like(chunk.targets, token), None, state)[0]
        for token in range(config.vocab_size)
    ], axis=-1)  # [T, B, V]  # fmt: skip
    assert_close(np.exp(logp).sum(axis=-1), np.ones((5, 3)))
    logits, _ = network.logits(params, chunk.inputs, state)
    assert_close(logits - logits[:, :1], logp[-1] - logp[-1][:, :1])


def test_logits_far_apart_lose_no_precision():
    params = Params({"head.weight": (3, 1), "head.bias": (3,)})
    params["head.bias"][:] = [1e4, 1e4, -1e4]
    logp = SoftmaxHead(3).log_probs(params, np.zeros((2, 1), np.float32), np.array([0, 2]))
    assert_close(logp, [-math.log(2), -2e4 - math.log(2)], 1e-6)


def test_head_in_chunks_is_the_head():
    """600 rows of 1100 tokens are taken in several pieces; each row by itself gives the same."""
    rng = np.random.default_rng(0)
    params = Params({"head.weight": (1100, 3), "head.bias": (1100,)}, np.float64)
    params.flat[:] = rng.standard_normal(params.flat.size)
    y, targets = rng.standard_normal((600, 3)), rng.integers(1100, size=600)
    logits = y @ params["head.weight"].T + params["head.bias"]
    expected = logits[np.arange(600), targets] - np.log(np.exp(logits).sum(axis=1))
    assert_close(SoftmaxHead(1100).log_probs(params, y, targets), expected)


def test_targets_of_weight_zero_do_not_count(chunk_of, params_of, state_of):
    config = small("gru")
    params, state, chunk = params_of(config), state_of(config, 3), chunk_of(config, 6, 3)
    network = LanguageModel(config)
    logp, _ = network.log_probs(params, chunk.inputs, chunk.targets, chunk.reset, state)
    found = []
    for ids in (chunk.targets, np.where(chunk.weight > 0, chunk.targets, (chunk.targets + 1) % 6)):
        grads = params.twin()
        nats, _ = network.backward(
            params, grads, replace(chunk, targets=ids), state, 1.0
        )
        assert nats == pytest.approx(-float((logp * chunk.weight).sum()), rel=1e-12)
        found.append(grads.flat)
    np.testing.assert_array_equal(*found)


@inputs
def test_no_token_is_the_zero_vector(embedding, params_of):
    """As if the vocabulary had one more token, whose embedding is zero; and it has no gradient of its own."""
    config = small("gru", embedding=embedding, layers=1)
    params = params_of(config)
    name = "embed.weight" if embedding else None
    ids = np.array([[NO_TOKEN, 0], [2, NO_TOKEN], [1, 3], [NO_TOKEN, 2]])
    extended = Params(shapes(small("gru", embedding=embedding, layers=1, vocab_size=7)), np.float64)
    for key in ("embed.weight",) if embedding else ("rnn.weight_ih_l0",):
        rows, columns = params[key].shape
        extended[key][:rows, :columns] = params[key]
    for key in ("rnn.bias_ih_l0", *(("rnn.weight_ih_l0",) if embedding else ())):
        extended[key][...] = params[key]
    layer = TokenInput("rnn.weight_ih_l0", "rnn.bias_ih_l0", Embedding(name, 0.0))
    z, grads = layer.forward(params, ids).copy(), params.twin()
    layer.backward(params, grads, np.ones_like(z))
    known = TokenInput("rnn.weight_ih_l0", "rnn.bias_ih_l0", Embedding(name, 0.0))
    assert_close(z, known.forward(extended, np.where(ids < 0, 6, ids)))
    assert_close(z[0, 0], params["rnn.bias_ih_l0"])
    assert_close(grads["rnn.bias_ih_l0"], np.full(12, 8.0))
    unread = grads["embed.weight"][4:] if embedding else grads["rnn.weight_ih_l0"][:, 4:]  # tokens 4 and 5
    assert not unread.any()


@all_cells
def test_dropout_is_off_without_a_generator_and_scales_what_stays(cell, chunk_of, params_of, state_of):
    config, plain = small(cell, dropout=0.5), small(cell)
    params, state, chunk = params_of(config), state_of(config, 3), chunk_of(config, 5, 3)
    for model in (config, plain):
        model_y, _ = Stack(model).forward(params, chunk.inputs, state, chunk.reset)
        expected, _ = Stack(plain).forward(params, chunk.inputs, state, chunk.reset)
        np.testing.assert_array_equal(model_y, expected)
    x = np.ones((200, 200))
    y = Dropout(0.25).forward(x, np.random.default_rng(0))
    np.testing.assert_array_equal(np.unique(y), [0, 1 / 0.75])
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.01)  # 40,000 draws: one deviation is 0.002


def test_dropout_gives_equal_tokens_of_a_chunk_one_mask(params_of):
    config = small("gru", dropout=0.5)
    z = Stack(config).tokens.forward(params_of(config), np.array([[1, 2], [2, 1]]), np.random.default_rng(1))
    np.testing.assert_array_equal(z[0], z[1][::-1])


# Objects that are used again


@all_cells
@inputs
def test_a_network_used_again_is_as_a_fresh_one(cell, embedding, chunk_of, params_of, state_of):
    """Training and evaluation by turns, in chunks that grow and shrink, to the bit."""
    config = small(cell, embedding=embedding, dropout=0.2)
    params, used = params_of(config), LanguageModel(config)
    for seed, (steps, columns) in enumerate([(6, 3), (2, 5), (9, 1), (6, 3)]):
        chunk, state = chunk_of(config, steps, columns, seed), state_of(config, columns, seed=seed)
        found = []
        for network in (used, LanguageModel(config)):
            grads = params.twin()
            nats, after = network.backward(
                params, grads, chunk, state, 1.0, np.random.default_rng(seed),
            )  # fmt: skip
            logp, last = network.log_probs(params, chunk.inputs[:2], chunk.targets[:2], chunk.reset[:2], state)
            logits, _ = network.logits(params, chunk.inputs[:1], state)
            found.append([nats, grads.flat, *after, logp, *last, logits])
        for value, expected in zip(*found, strict=True):
            np.testing.assert_array_equal(value, expected)


def after_a_forward(kind):
    """Run a layer of a kind forward and return a function for its backward."""
    ones, ids = np.ones((2, 1, 4)), np.array([[0], [1]])
    if kind == "dropout":
        layer = Dropout(0.5)
        layer.forward(ones, np.random.default_rng(0))
        return lambda: layer.backward(ones)
    if kind == "stack":
        config = small("gru")
        params, stack = Params(shapes(config), np.float64), Stack(config)
        stack.forward(params, ids, zero_state(config, 1, np.float64))
        return lambda: stack.backward(params, params.twin(), ones)
    if kind in CELLS:
        cell, params, z, zero = loop_of(kind)
        cell.forward(params, z, zero)
        return lambda: cell.backward(params, params.twin(), ones)
    params = Params({"w": (4, 4), "b": (4,), "e": (3, 4)}, np.float64)
    product = Linear("w", "b") if kind == "linear" else TokenInput("w", "b", Embedding("e", 0.0))
    product.forward(params, ones if kind == "linear" else ids)
    return lambda: product.backward(params, params.twin(), ones)


@pytest.mark.parametrize("kind", ["linear", "tokens", "dropout", *CELLS, "stack"])
def test_a_second_backward_is_refused(kind):
    backward = after_a_forward(kind)
    backward()
    with pytest.raises(RuntimeError, match="backward without a forward before it"):
        backward()


@all_cells
def test_the_state_after_is_not_overwritten(cell, chunk_of, params_of, state_of):
    config = small(cell)
    params, stack = params_of(config), Stack(config)
    chunk, state = chunk_of(config, 5, 3), state_of(config, 3)
    before = [part.copy() for part in state]
    _, after = stack.forward(params, chunk.inputs, state, chunk.reset)
    kept = [part.copy() for part in after]
    stack.forward(params, chunk.inputs[::-1], after, chunk.reset)
    stack.backward(params, params.twin(), np.ones((5, 3, 4)), after)
    for part, expected in zip((*state, *after), (*before, *kept), strict=True):
        np.testing.assert_array_equal(part, expected)


@all_cells
def test_the_last_state_of_a_cell_is_its_own(cell):
    loop, params, z, zero = loop_of(cell)
    _, after = loop.forward(params, z + 0.5, zero)
    kept = [part.copy() for part in after]
    loop.forward(params, z - 0.5, after)
    np.testing.assert_array_equal(after, kept)


def test_parameters_are_views_on_one_vector():
    params = Params({"a": (2, 3), "b": (), "c": (0, 2), "d": (2,)})
    params.flat[:] = np.arange(9)
    assert list(params) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(params["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(params["d"], [7, 8])
    params["b"][...] = -1
    assert params.flat[6] == -1
    twin = params.twin()
    assert twin.shapes == params.shapes
    assert not twin.flat.any()


def test_workspace_keeps_its_memory_until_it_must_grow():
    space = Workspace()
    first = space("x", (4, 3), np.float32)
    assert space("x", (2, 5), np.float32).base is first.base
    assert space("x", (13,), np.float32).base is not first.base
    assert space("x", (1,), np.float64).dtype == np.float64
    assert not np.shares_memory(space("x", (3,), np.float32), space("y", (3,), np.float32))


# Stored figures

TEN_LOSSES = {  # nats per token, from a network in float64 and PyTorch's Adam
    "rnn": [1.902920, 1.835798, 1.751792, 1.670757, 1.603753, 1.550082, 1.498391, 1.442388, 1.379274, 1.303629],
    "relu": [1.926594, 1.885787, 1.859395, 1.824990, 1.782690, 1.733626, 1.678004, 1.627803, 1.576994, 1.527361],
    "gru": [2.000675, 1.925633, 1.883674, 1.844381, 1.803773, 1.766494, 1.732594, 1.700394, 1.670534, 1.642459],
    "lstm": [2.108779, 2.021886, 1.959786, 1.908972, 1.865210, 1.828996, 1.801810, 1.782997, 1.768939, 1.755494],
    "simple-gru": [1.966389, 1.869800, 1.803583, 1.773619, 1.754893, 1.732360, 1.713224, 1.701150, 1.692016, 1.681031],
    "lstm-peephole": [
        1.909843, 1.867882, 1.824293, 1.784503, 1.755690, 1.731482, 1.715233, 1.706923, 1.701544, 1.693747,
    ],
}


@all_cells
def test_ten_losses(cell):
    """Ten steps of Adam on one chunk. Weights and ids come from formulas, not from a generator that may change."""
    config = small(cell, vocab_size=7, hidden=5)
    params = Params(shapes(config))
    params.flat[:] = 0.4 * np.sin(np.arange(params.flat.size) ** 1.5)
    ids = (np.arange(36).reshape(9, 4) ** 2 // 3 % 7).astype(np.int32)
    reset = np.zeros((8, 4), np.bool_)
    reset[0], reset[5, 2] = True, True
    inputs, targets = np.where(reset, NO_TOKEN, ids[:-1]), ids[1:]
    chunk = Batch(inputs, targets, reset, np.ones((8, 4), np.float32))
    network, grads, optimizer = LanguageModel(config), params.twin(), Adam(params.flat.size)
    losses = []
    for _ in range(10):
        grads.flat[:] = 0
        nats, _ = network.backward(
            params, grads, chunk, zero_state(config, 4), 1 / 32
        )
        losses.append(nats / 32)
        optimizer.step(params.flat, grads.flat, 0.05)
    assert losses == pytest.approx(TEN_LOSSES[cell], rel=1e-4)


# First weights


@pytest.mark.parametrize("tie", [False, True], ids=["apart", "tied"])
@all_cells
def test_first_weights(cell, tie):
    """Uniform in 1/sqrt(H), embeddings normal unless tied, biases and peepholes 0, forget gates and gains 1."""
    config = small(cell, vocab_size=300, hidden=64, embedding=64, tie=tie, layer_norm=tie)
    params = initialize(config, np.random.default_rng(0))
    for name, value in params.items():
        assert value.dtype == np.float32
        if "bias" in name:
            forget = slice(64, 128) if "lstm" in cell and "ih" in name else slice(0)
            expected = np.zeros(value.shape)
            expected[forget] = 1
            np.testing.assert_array_equal(value, expected)
        elif "weight_c" in name:
            np.testing.assert_array_equal(value, 0)
        elif "gain" in name:
            np.testing.assert_array_equal(value, 1)
        elif name == "embed.weight" and not tie:
            assert value.std() == pytest.approx(1, abs=0.03)  # 19,200 draws: one deviation is 0.005
            assert value.mean() == pytest.approx(0, abs=0.03)
        else:
            assert np.abs(value).max() == pytest.approx(1 / 8, rel=0.01)
            assert np.abs(value).max() <= 1 / 8
            assert value.std() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.05)
            assert value.mean() == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cell": "rnn", "layers": 1}, {"embed.weight": (6, 3), "rnn.weight_ih_l0": (4, 3), "rnn.weight_hh_l0": (4, 4),
         "rnn.bias_ih_l0": (4,), "rnn.bias_hh_l0": (4,), "head.weight": (6, 4), "head.bias": (6,)}),
        ({"cell": "gru", "embedding": 0}, {"rnn.weight_ih_l0": (12, 6), "rnn.weight_hh_l0": (12, 4),
         "rnn.bias_ih_l0": (12,), "rnn.bias_hh_l0": (12,), "rnn.weight_ih_l1": (12, 4), "rnn.weight_hh_l1": (12, 4),
         "rnn.bias_ih_l1": (12,), "rnn.bias_hh_l1": (12,), "head.weight": (6, 4), "head.bias": (6,)}),
        ({"cell": "lstm", "layers": 1, "embedding": 4, "tie": True}, {"embed.weight": (6, 4),
         "rnn.weight_ih_l0": (16, 4), "rnn.weight_hh_l0": (16, 4), "rnn.bias_ih_l0": (16,), "rnn.bias_hh_l0": (16,),
         "head.bias": (6,)}),
        ({"cell": "lstm-peephole", "layers": 1, "embedding": 0}, {"rnn.weight_ih_l0": (16, 6),
         "rnn.weight_hh_l0": (16, 4), "rnn.bias_ih_l0": (16,), "rnn.bias_hh_l0": (16,), "rnn.weight_ci_l0": (4,),
         "rnn.weight_cf_l0": (4,), "rnn.weight_co_l0": (4,), "head.weight": (6, 4), "head.bias": (6,)}),
    ],
    ids=["rnn", "gru one-hot", "lstm tied", "peepholes"],
)  # fmt: skip
def test_names_and_shapes(settings, expected):
    config = ModelConfig(**{"vocab_size": 6, "layers": 2, "hidden": 4, "embedding": 3, **settings})
    assert shapes(config) == expected


@all_cells
def test_first_weights_follow_from_the_seed(cell):
    config = small(cell)
    first, again, other = (initialize(config, np.random.default_rng(seed)).flat for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
