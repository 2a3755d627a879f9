"""States and gates step by step, and the gradients with respect to what was read before, against
float64 differences.
"""

from functools import partial

import numpy as np
import pytest

from charlm import cells
from charlm.config import NO_TOKEN, ModelConfig
from charlm.nn.model import LanguageModel
from charlm.nn.recall import recall
from charlm.nn.stack import Stack, zero_state
from charlm.nn.trace import Texts, trace
from tests.tiny import CELLS

STEP = 1e-5
MOST = 6
SPARE = 5  # a token that no text has
SHAPES = {
    "embedding": {"embedding": 2},
    "one-hot": {"embedding": 0},
    "tied": {"embedding": 3, "tie": True},
    "deep, normalised, residual, dense": {
        "embedding": 2, "layers": 2, "layer_norm": True, "residual": True, "head_layers": 1, "head_hidden": 4,
    },
}  # fmt: skip

all_cells = pytest.mark.parametrize("cell", CELLS)
all_shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="module")
def texts():
    """Return three texts, the first with the zero vector before it; one is longer than MOST."""
    inputs = np.array([NO_TOKEN, 1, 2, 3, 1, 4, 1, 0, 2, 3, 1, 4, 2, 2, 1], np.int32)
    targets = np.array([1, 2, 3, 1, 4, 1, 3, 2, 3, 1, 4, 2, 2, 1, 0], np.int32)
    begins = np.array([0] * 7 + [7] + [8] * 7)
    return Texts(inputs, targets, begins)


def config_of(cell, shape):
    """Return a shape with one token more than the texts have."""
    return ModelConfig(SPARE + 1, hidden=3, **SHAPES[shape], **CELLS[cell])


def states_of(config, params, texts):
    """Return the states after each step, [N][parts][layers, 1, H], one step at a time."""
    stack, state, found = Stack(config), (), []
    for step, begin in enumerate(texts.begins):
        state = zero_state(config, 1, np.float64) if step == begin else state
        _, state = stack.forward(params, texts.inputs[step].reshape(1, 1), state)
        found.append(state)
    return found


@all_cells
@all_shapes
def test_states_are_those_of_one_step_at_a_time(cell, shape, texts, params_of):
    config = config_of(cell, shape)
    params = params_of(config)
    seen = trace(config, params, texts)
    for number, part in enumerate(seen.states):
        expected = np.array([state[number][:, 0] for state in states_of(config, params, texts)])
        np.testing.assert_allclose(part, expected, rtol=1e-12)


@all_cells
def test_gates_are_what_makes_a_state_of_the_one_before(cell, texts, params_of):
    config = config_of(cell, "embedding")
    params, steps = params_of(config), np.arange(len(texts.inputs))
    seen = trace(config, params, texts)
    gates = dict(
        zip(cells.CELLS[config.cell].gate_names, np.moveaxis(seen.gates[:, 0], 1, 0), strict=True)
    )
    h, c = seen.states[0][:, 0], seen.states[-1][:, 0]
    h_before, c_before = (seen.before(steps, steps == texts.begins)[part][0] for part in (0, -1))
    if "update" in gates:
        u, n = gates["update"], gates["candidate"]
        np.testing.assert_allclose(h, (1 - u) * n + u * h_before, rtol=1e-12)
    if "output" in gates:
        np.testing.assert_allclose(h, gates["output"] * np.tanh(c), rtol=1e-12)
        added = gates["input"] * gates["candidate"]
        np.testing.assert_allclose(c, gates["forget"] * c_before + added, rtol=1e-12)
    if "reset" in gates:
        x = np.vstack([params["embed.weight"], np.zeros(2)])[texts.inputs]
        z = x @ params["rnn.weight_ih_l0"].T + params["rnn.bias_ih_l0"]
        p = h_before @ params["rnn.weight_hh_l0"].T + params["rnn.bias_hh_l0"]
        np.testing.assert_allclose(gates["reset"], 1 / (1 + np.exp(-z - p))[:, :3], rtol=1e-12)
        n = np.tanh(z[:, 6:] + gates["reset"] * p[:, 6:])
        np.testing.assert_allclose(gates["candidate"], n, rtol=1e-12)
    assert bool(gates) == (config.cell != "rnn")


@all_cells
@all_shapes
def test_gradients_of_states_and_inputs_before(cell, shape, texts, params_of):
    """Tokens in the middle, at the end and at the beginning of texts, side by side."""
    config = config_of(cell, shape)
    params, steps = params_of(config), np.array([5, 14, 8, 6, 7])
    params["head.bias"][SPARE] = -1000  # never predicted, so that it may be read instead of another
    network, states = LanguageModel(config), states_of(config, params, texts)
    found = recall(config, params, texts, trace(config, params, texts), steps, MOST)

    def nats(step, first, state, inputs=texts.inputs):
        part = slice(first, step + 1)
        logp, _ = network.log_probs(
            params, inputs[part, None], texts.targets[part, None], None, state
        )
        return -logp[-1, 0]

    start = zero_state(config, 1, np.float64)
    for row, step in enumerate(steps.tolist()):
        begin = texts.begins[step]
        whole = partial(nats, step, begin, start)
        assert found.nats[row] == pytest.approx(whole(), rel=1e-12)
        for k, at in enumerate(range(step, step - MOST, -1)):
            if at < begin:
                assert np.isnan([found.slope[row, k], found.worth[row, k]]).all()
                continue
            loss = differences_of_input(params, texts.inputs, at, whole)
            assert found.worth[row, k] == pytest.approx(-loss, rel=1e-6, abs=1e-9)
            if at == begin:
                assert np.isnan(found.slope[row, k])
                continue
            slope = length_of_gradient(states[at - 1], partial(nats, step, at, states[at - 1]))
            assert found.slope[row, k] == pytest.approx(slope, rel=1e-6)


def length_of_gradient(parts, f):
    """Return the length of the gradient of f(), which reads `parts`, by central differences."""
    squares = 0
    for part in parts:
        for place in np.ndindex(part.shape):
            value, ends = part[place], []
            for side in (STEP, -STEP):
                part[place] = value + side
                ends.append(f())
            part[place] = value
            squares += ((ends[0] - ends[1]) / (2 * STEP)) ** 2
    return np.sqrt(squares)


def differences_of_input(params, inputs, at, f):
    """Return how f(inputs) changes with the scale of the vector of one input, which a spare one
    stands for.
    """
    if inputs[at] == NO_TOKEN:
        return 0.0
    ids = inputs.copy()
    name = "embed.weight" if "embed.weight" in params else "rnn.weight_ih_l0"
    table = params[name] if name == "embed.weight" else params[name].T
    ids[at], before, ends = SPARE, table[SPARE].copy(), []
    for side in (STEP, -STEP):
        table[SPARE] = (1 + side) * table[inputs[at]]
        ends.append(f(ids))
    table[SPARE] = before
    return (ends[0] - ends[1]) / (2 * STEP)
