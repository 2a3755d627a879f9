"""Whole texts as torch.nn reads them: both directions on packed sequences of different lengths, and the classifier."""

import itertools

import numpy as np
import pytest

from charlm.cells import CELLS as KINDS
from charlm.config import POOLINGS, ModelConfig
from charlm.nn import kernel
from charlm.nn.bidirectional import Bidirectional
from charlm.nn.classifier import ClassifierNetwork, shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Params
from charlm.nn.stack import stack_shapes
from tests.tiny import CELLS, IN_TORCH
from tests.whole import mixed

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
torch.set_num_threads(1)

all_cells = pytest.mark.parametrize("cell", IN_TORCH)
both = pytest.mark.parametrize("bidirectional", [False, True], ids=["onwards", "both"])


class Texts(nn.Module):
    """Embedding and recurrent layers of PyTorch over a chunk's texts, as packed sequences of different lengths."""

    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(config.vocab_size, config.embedding) if config.embedding else None
        extra = {"nonlinearity": config.nonlinearity} if config.cell == "rnn" else {}
        kind = getattr(nn, KINDS[config.cell].torch)
        inputs = config.embedding or config.vocab_size
        self.rnn = kind(
            inputs, config.hidden, config.layers, bidirectional=config.bidirectional, **extra
        )
        self.vocabulary = config.vocab_size

    def values(self, chunk):
        """Return y [T, N, W], padded with zeros."""
        ids = [
            torch.tensor(chunk.inputs[first : first + length, column]).long()
            for first, length, column in zip(chunk.first, chunk.length, chunk.column, strict=True)
        ]
        x = [
            self.embed(text)
            if self.embed
            else nn.functional.one_hot(text, self.vocabulary).double()
            for text in ids
        ]
        packed = nn.utils.rnn.pack_sequence(x, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])[0]


class Classifier(Texts):
    """The whole network, under the names of its parameters; a user of PyTorch would write it so."""

    def __init__(self, config, labels, pool):
        super().__init__(config)
        self.config, self.pooling = config, pool
        if pool == "attention":
            self.pool = nn.Linear(config.width, 1, bias=False)
            self.pool.weight = nn.Parameter(torch.zeros(config.width))
        widths = [config.width] + [config.head_width] * config.head_layers
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.head = nn.Linear(widths[-1], labels)

    def forward(self, chunk):
        """Return log p of each label [N, L]."""
        x = self.pooled(self.values(chunk), torch.tensor(chunk.length))
        for layer in self.dense:
            x = torch.relu(layer(x))
        return self.head(x).log_softmax(dim=1)

    def pooled(self, y, length):
        unused = (torch.arange(len(y))[:, None] >= length)[..., None]
        if self.pooling == "mean":
            return y.sum(dim=0) / length[:, None]
        if self.pooling == "max":
            return y.masked_fill(unused, -torch.inf).max(dim=0).values
        if self.pooling == "attention":
            scores = (y @ self.pool.weight).masked_fill(unused[..., 0], -torch.inf)
            return (scores.softmax(dim=0)[..., None] * y).sum(dim=0)
        last, size = y[length - 1, torch.arange(y.shape[1])], self.config.hidden
        return torch.cat([last[:, :size], y[0, :, size:]], dim=1)


def drawn_weights(network):
    """Return a network in float64 with weights far from its first ones."""
    generator = torch.Generator().manual_seed(0)
    for value in network.double().parameters():
        with torch.no_grad():
            value.copy_(0.5 * torch.randn(value.shape, generator=generator, dtype=torch.float64))
    return network


def params_of(network, expected):
    """Return its weights here; names and shapes must be exactly those."""
    found = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    assert {name: value.shape for name, value in found.items()} == expected
    params = Params(expected, np.float64)
    for name, value in found.items():
        params[name][...] = value
    return params


@all_cells
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("embedding", [0, 4], ids=["one-hot", "embedding"])
def test_both_directions_are_those_of_torch(cell, layers, embedding):
    config = ModelConfig(
        9, hidden=5, embedding=embedding, layers=layers, bidirectional=True, **CELLS[cell]
    )
    network, chunk, body = drawn_weights(Texts(config)), mixed(9), Bidirectional(config)
    params = params_of(network, stack_shapes(config))
    y, _ = body.forward(params, chunk.inputs, (), chunk.reset)
    expected, dy = network.values(chunk), np.zeros_like(y)
    cotangent = torch.tensor(np.random.default_rng(1).standard_normal(expected.shape))
    (expected * cotangent).sum().backward()
    for i, (first, length, column) in enumerate(
        zip(chunk.first, chunk.length, chunk.column, strict=True)
    ):
        place = slice(first, first + length), column
        np.testing.assert_allclose(y[place], expected[:length, i].detach(), rtol=1e-11, atol=1e-14)
        dy[place] = cotangent[:length, i]
    grads = params.twin()
    body.backward(params, grads, dy)
    for name, value in network.named_parameters():
        np.testing.assert_allclose(grads[name], value.grad, rtol=1e-9, atol=1e-12, err_msg=name)


@all_cells
@both
@pytest.mark.parametrize("pool", POOLINGS)
@pytest.mark.parametrize(
    "shape", [{}, {"head_layers": 2, "head_hidden": 6}], ids=["no dense", "dense"]
)
def test_the_classifier_and_its_gradients_are_those_of_torch(cell, bidirectional, pool, shape):
    config = ModelConfig(
        9, hidden=5, embedding=4, layers=2, bidirectional=bidirectional, **shape, **CELLS[cell]
    )
    network, chunk = drawn_weights(Classifier(config, 3, pool)), mixed(9)
    params = params_of(network, shapes(config, 3, pool))
    expected, known = network(chunk), torch.tensor(chunk.labels >= 0)
    chosen = expected[known, torch.tensor(chunk.labels).long()[known]]
    (-0.25 * (chosen * torch.tensor(chunk.weight)[known]).sum()).backward()
    ours, grads = ClassifierNetwork(config, 3, pool), params.twin()
    np.testing.assert_allclose(ours.log_probs(params, chunk), expected.detach(), rtol=1e-11)
    nats, _ = ours.backward(params, grads, chunk, (), 0.25)
    assert nats == pytest.approx(-chosen.sum().item(), rel=1e-11)
    for name, value in network.named_parameters():
        np.testing.assert_allclose(grads[name], value.grad, rtol=1e-9, atol=1e-12, err_msg=name)


@both
@pytest.mark.parametrize("pool", POOLINGS)
def test_predicting_in_float32_is_torch_but_for_rounding(pool, bidirectional):
    config = ModelConfig(
        9, hidden=20, embedding=8, layers=2, bidirectional=bidirectional, cell="lstm"
    )
    network, chunk = drawn_weights(Classifier(config, 3, pool)), mixed(9)
    exact = params_of(network, shapes(config, 3, pool))
    params = Params(exact.shapes)
    params.flat[:] = exact.flat
    given = Panels(config, params) if kernel.serves(params.flat) else params
    found = ClassifierNetwork(config, 3, pool).log_probs(given, chunk)
    np.testing.assert_allclose(found, network(chunk).detach(), rtol=1e-4, atol=1e-5)
