"""Cells by the table: identities between them, what PyTorch lacks, and one more, which is a module and a line."""

import sys
import types

import numpy as np
import pytest

from charlm import cells
from charlm.cells import CELLS, Kind
from charlm.config import ModelConfig, TrainConfig
from charlm.engines.numpy import NumpyEngine
from charlm.nn import kernel
from charlm.nn.layers import Tape
from charlm.nn.model import LanguageModel, shapes
from charlm.nn.params import Params, Workspace
from charlm.nn.recurrence import Recurrent, Steps, sigmoid
from charlm.nn.stack import Stack
from charlm.text.batches import Batch
from tests.test_commands import SMALL, assert_refused, charlm
from tests.test_finetuning import TINY, train
from tests.test_gradients import check, drawn
from tests.tiny import tiny_model

BEYOND_TORCH = [name for name, kind in CELLS.items() if kind.torch is None]
LINES = "".join(f"{a}{b}{a}{c}\n" for a in "abcd" for b in "efgh" for c in "ijk") * 3


class MinimalGRU:
    """f = sigmoid(z_f + p_f), n = tanh(z_n + f * p_n), h' = (1 - f) * h + f * n, after Zhou et al. (2016)."""

    def __init__(self, config, k, reverse=False):
        self.recurrent, self._space, self._tape = Recurrent(config, k, reverse), Workspace(), Tape()

    def forward(self, params, z, state, reset=None):
        size, steps = z.shape[2] // 2, Steps(self.recurrent, params, z, reset)
        h, p = (
            self._space("h", (len(z) + 1, z.shape[1], size), z.dtype),
            self._space("p", z.shape, z.dtype),
        )
        h[0] = state[0]
        for t in range(len(z)):
            before = steps.enter(t, h[t])
            steps.forward(t, before, out=p[t])
            z[t, :, :size] += p[t, :, :size]
            f = sigmoid(z[t, :, :size])
            n = z[t, :, size:] = np.tanh(z[t, :, size:] + f * p[t, :, size:])
            h[t + 1] = (1 - f) * before + f * n
        self._tape.put((z, p, h, steps))
        return h[1:], (h[-1].copy(),)

    def backward(self, params, grads, dy, dstate=None):
        gates, p, h, steps = self._tape.take()
        size, dz, dp = dy.shape[2], np.empty_like(gates), np.empty_like(gates)
        dh = np.zeros_like(dy[0]) if dstate is None else dstate[0].copy()
        for t in reversed(range(len(dy))):
            f, n, before = gates[t, :, :size], gates[t, :, size:], steps.enter(t, h[t])
            dh += dy[t]
            dz[t, :, size:] = dh * f * (1 - n * n)
            dp[t, :, size:] = dz[t, :, size:] * f
            dz[t, :, :size] = (dh * (n - before) + dz[t, :, size:] * p[t, :, size:]) * f * (1 - f)
            dp[t, :, :size] = dz[t, :, :size]
            dh *= 1 - f
            dh += steps.backward(t, dp[t], out=np.empty_like(dh))
            steps.leave(t, dh)
        steps.add_gradients(grads, dp, h[:-1])
        return dz, (dh,)


@pytest.fixture
def minimal(monkeypatch):
    """Add one more cell: its module, and its line in the table. NumPy alone computes it, and PyTorch lacks it."""
    module = types.ModuleType("charlm.nn.minimal_gru")
    module.MinimalGRU = MinimalGRU
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cells.CELLS, "minimal", Kind("minimal_gru.MinimalGRU", 2))
    return "minimal"


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_further_cell_learns(minimal, layer_norm, chunk_of, params_of, state_of):
    """Against central differences, as all others."""
    config = ModelConfig(
        5, cell=minimal, layers=2, hidden=3, embedding=2, layer_norm=layer_norm, residual=layer_norm
    )
    params, state, chunk = params_of(config), state_of(config, 3), chunk_of(config, 6, 3)
    stack, grads, (dy,) = Stack(config), params.twin(), drawn(dy=(6, 3, 3))

    def loss():
        return float(np.vdot(dy, stack.forward(params, chunk.inputs, state, chunk.reset)[0]))

    loss()
    (dh,) = stack.backward(params, grads, dy.copy())
    body = {name: value for name, value in params.items() if not name.startswith("head")}
    check(loss, {**body, "state": state[0]}, {**grads, "state": dh})


@pytest.mark.skipif(kernel.target == "numpy", reason="BLAS sums a row as it likes")
@pytest.mark.parametrize("cell", [*CELLS, "minimal"])
@pytest.mark.parametrize(
    "shape", [{}, {"layer_norm": True, "residual": True}, {"embedding": 0}], ids=str
)
def test_a_text_has_the_same_figures_whatever_stands_beside_it(minimal, cell, shape):
    """To the bit, also where NumPy alone computes the cell, and of texts shorter than the compiled loops ask for."""
    texts = ["abcab" * 5, "c", "", "ab", *("abc"[k % 3] * k for k in range(40))]
    model = tiny_model("abc", cell=cell, layers=2, **{"hidden": 19} | shape)
    together = [score.logprob for score in model.scores(texts)]
    assert together == [model.score(text).logprob for text in texts]


def test_a_further_cell_is_trained_resumed_scored_and_written_with(tmp_path, minimal):
    corpus, model = tmp_path / "corpus.txt", tmp_path / "m"
    corpus.write_text(LINES)
    given = {"corpus": (str(corpus),), "cell": minimal, "optimizer": "muon"} | TINY | {"steps": 9}
    train(model, stop_at=4, **given)
    train(model, resume=True)
    train(tmp_path / "whole", **given)
    assert (model / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert charlm("info", "-m", model).stdout.split()[:2] == ["cell", "minimal"]
    assert charlm("score", "-m", model, "aebi").exit_code == 0
    assert len(charlm("sample", "-m", model, "-n", 3).stdout.splitlines()) == 3
    for way in (["--dynamic"], ["--cache", 9]):
        assert charlm("score", "-m", model, "--corpus", corpus, *way).exit_code == 0
    assert (
        train(
            tmp_path / "n", corpus=(str(corpus),), init_from=str(model), steps=2
        ).model.config.cell
        == minimal
    )


# Identities


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["compiled", "numpy"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_peepholes_of_zero_are_none(dtype, layer_norm, chunk_of, params_of, state_of):
    """Loss, states, and all gradients but those of the peepholes themselves; compiled loops may round apart."""
    found = []
    for cell in ("lstm", "lstm-peephole"):
        config = ModelConfig(5, cell=cell, layers=2, hidden=19, embedding=4, layer_norm=layer_norm)
        plain = params_of(ModelConfig(**config.to_dict() | {"cell": "lstm"}), dtype)
        params = Params(shapes(config), dtype)
        for name, value in plain.items():
            params[name][...] = value
        chunk, grads, state = chunk_of(config, 7, 13), params.twin(), state_of(config, 13, dtype)
        nats, after = LanguageModel(config).backward(params, grads, chunk, state, 0.1)
        found.append([nats, *after, *(grads[name] for name in plain)])
        assert all(grads[name].any() for name in grads)
    for with_none, with_zeros in zip(*found, strict=True):
        if dtype == np.float64:
            np.testing.assert_array_equal(with_none, with_zeros)
        np.testing.assert_allclose(with_none, with_zeros, rtol=1e-4, atol=1e-6)


def test_a_closed_update_gate_keeps_the_state_and_an_open_one_forgets_it(params_of, state_of):
    """u = 1: h' = h; u = 0: h' = n, a plain recurrent layer of tanh, with half the rows."""
    config = ModelConfig(5, cell="simple-gru", hidden=4, embedding=3)
    plain = ModelConfig(5, cell="rnn", hidden=4, embedding=3)
    params, state, ids = params_of(config), state_of(config, 2), np.array([[1, 2], [3, 4], [0, 1]])
    params["rnn.bias_ih_l0"][:4] = 1000
    y, _ = Stack(config).forward(params, ids, state)
    np.testing.assert_allclose(y, np.broadcast_to(state[0], y.shape), rtol=1e-12)
    params["rnn.bias_ih_l0"][:4] = -1000
    half = Params(shapes(plain), np.float64)
    for name in half:
        half[name][...] = params[name][4:] if name.startswith("rnn") else params[name]
    y, _ = Stack(config).forward(params, ids, state)
    expected, _ = Stack(plain).forward(half, ids, state)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


# Training


@pytest.mark.parametrize("cell", BEYOND_TORCH)
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_stack_learns_and_its_figures_repeat(cell, optimizer):
    """A cycle of five tokens, on two threads, normalised, residual and with dropout; to the bit."""
    config = ModelConfig(
        5, cell=cell, layers=2, hidden=16, embedding=4, dropout=0.1, layer_norm=True, residual=True
    )
    ids = ((np.arange(21)[:, None] + np.arange(6)) % 5).astype(np.int32)
    batch = Batch(ids[:-1], ids[1:], np.zeros((20, 6), np.bool_), np.ones((20, 6), np.float32))
    runs = []
    for _ in range(2):
        engine, losses = NumpyEngine(config, 2, TrainConfig(optimizer=optimizer, lr=0.01)), []
        state = engine.zero_state(6)
        for _ in range(60):
            loss, _, state = engine.update(batch, state, 0.01)
            losses.append(loss.nats / loss.count)
        runs.append((losses, engine.tensors()))
    assert runs[0][0][0] > 1.2
    assert runs[0][0][-1] < 0.3
    assert runs[0][0] == runs[1][0]
    assert all((value == runs[1][1][name]).all() for name, value in runs[0][1].items())
    moved = [
        name
        for name, value in NumpyEngine(config, 2).tensors().items()
        if (value != runs[0][1][name]).any()
    ]
    assert moved == list(runs[0][1]), "every tensor learns, peepholes too"


# PyTorch


@pytest.mark.parametrize("cell", BEYOND_TORCH)
def test_torch_is_refused_before_the_corpus_is_read(tmp_path, cell):
    """In one line: in a new run, a resumed one, one from another model, and where a model is used."""
    corpus, model, says = (
        tmp_path / "corpus.txt",
        tmp_path / "m",
        f"engine torch has no cell {cell}",
    )
    corpus.write_text(LINES)
    assert charlm("train", corpus, "-m", model, *SMALL, "--cell", cell).exit_code == 0
    corpus.write_bytes(b"PK\x03\x04 and more")  # what reading would refuse
    torch = ["--engine", "torch"]
    assert_refused(charlm("train", corpus, "-m", tmp_path / "n", "--cell", cell, *torch), 2, says)
    assert_refused(charlm("train", "--resume", "-m", model, *torch), 2, says)
    assert_refused(
        charlm("train", corpus, "-m", tmp_path / "n", "--init-from", model, *torch), 2, says
    )
    assert_refused(charlm("score", "-m", model, "abc", *torch), 2, says)
    assert not (tmp_path / "n").exists()
