"""The converter beside a twin of torch.nn: packed encoder, a loop of a decoder, attention; ten
steps of training."""

import numpy as np
import pytest

from charlm.config import ModelConfig, TrainConfig
from charlm.engines.converter import ConverterEngine
from charlm.nn.converter import ConverterShape, shapes
from charlm.text.pair_packing import make_pair_chunk
from charlm.text.tokenizers import EOS
from tests.pairs import SIZES, SOURCES, TARGETS, drawn_pairs

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
torch.set_num_threads(1)


class Twin(nn.Module):
    """A converter as a user of PyTorch would write it, under the names of its parameters."""

    def __init__(self, shape, cell):
        super().__init__()
        encoder, decoder, self.shape = shape.encoder, shape.decoder, shape
        network = getattr(nn, cell.upper())
        self.encoder = nn.Module()
        self.encoder.embed = nn.Embedding(SOURCES, encoder.embedding)
        self.encoder.rnn = network(
            encoder.embedding, encoder.hidden, encoder.layers, bidirectional=encoder.bidirectional
        )
        self.embed = nn.Embedding(TARGETS, decoder.embedding)
        self.rnn = network(decoder.embedding, decoder.hidden, decoder.layers)
        width, rows = encoder.width, self.rnn.weight_ih_l0.shape[0]
        self.source = nn.Linear(width, rows, bias=False)
        if shape.attention:
            self.attention = nn.ModuleDict({
                "key": nn.Linear(width, decoder.hidden, bias=False),
                "value": nn.Linear(width, decoder.hidden, bias=False),
                "combine": nn.Linear(decoder.hidden, decoder.hidden),
            })  # fmt: skip
        self.dense = nn.ModuleList([nn.Linear(decoder.hidden, decoder.head_width)])
        self.head = nn.Linear(decoder.head_width, TARGETS)

    def logits(self, pairs):
        """Return the logits of each target's tokens and EOS, and the shares of attention."""
        sources = [torch.tensor([*source, EOS]).long() for source, _ in pairs]
        x = [self.encoder.embed(source) for source in sources]
        packed = nn.utils.rnn.pack_sequence(x, enforce_sorted=False)
        memory, lengths = nn.utils.rnn.pad_packed_sequence(self.encoder.rnn(packed)[0])
        return [
            self.target(memory[:length, i], target)
            for i, (length, (_, target)) in enumerate(zip(lengths.tolist(), pairs, strict=True))
        ]

    def target(self, memory, target):
        """Return the logits [n, V] of one target, step by step, and the shares [n, m]."""
        size = self.shape.encoder.hidden
        ends = memory[-1]
        if self.shape.encoder.bidirectional:
            ends = torch.cat([memory[-1, :size], memory[0, size:]])
        state, said, looks = None, [], []
        for token in [None, *target.tolist()]:
            y, state = self.stepped(ends, token, state)
            if self.shape.attention:
                share = torch.softmax(self.attention["key"](memory) @ y, dim=0)
                seen = self.attention["value"](memory).T @ share
                y = torch.tanh(self.attention["combine"](y) + seen)
                looks.append(share)
            said.append(self.head(torch.relu(self.dense[0](y))))
        return torch.stack(said), looks and torch.stack(looks)

    def stepped(self, ends, token, state):
        """Return the decoder's values after one more token, None for the start, and the state
        after."""
        # A decoder that reads [embedding, encoder's values] has both weights side by side.
        wide = type(self.rnn)(
            self.shape.decoder.embedding + len(ends), self.rnn.hidden_size, self.rnn.num_layers
        )
        weights = dict(self.rnn.named_parameters())
        weights["weight_ih_l0"] = torch.cat([weights["weight_ih_l0"], self.source.weight], dim=1)
        own = torch.zeros(self.shape.decoder.embedding)
        if token is not None:
            own = self.embed(torch.tensor(token))
            ends = torch.zeros_like(ends) if self.shape.attention else ends
        x = torch.cat([own, ends])[None, None]
        y, state = torch.func.functional_call(wide, weights, (x, state))
        return y[0, 0], state


@pytest.mark.parametrize("attention", [False, True], ids=["state", "attention"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize(("threads", "bidirectional"), [(1, True), (2, False)])
def test_ten_steps_of_training_are_those_of_torch(cell, attention, threads, bidirectional):
    encoder = ModelConfig(
        SOURCES, cell=cell, hidden=5, embedding=4, layers=2, bidirectional=bidirectional
    )
    decoder = ModelConfig(
        TARGETS, cell=cell, hidden=7, embedding=3, layers=2, head_layers=1, head_hidden=6
    )
    shape = ConverterShape(encoder, decoder, attention)
    engine = ConverterEngine(shape, threads, TrainConfig(optimizer="sgd", seed=1, clip=1.0))
    twin = Twin(shape, cell)
    assert {name: tuple(value.shape) for name, value in twin.state_dict().items()} == shapes(shape)
    twin.load_state_dict({name: torch.tensor(value) for name, value in engine.tensors().items()})
    plain = torch.optim.SGD(twin.parameters(), lr=0.3, momentum=0.9)
    for step in range(10):
        pairs = drawn_pairs(SIZES, step)
        chunk = make_pair_chunk(pairs, 8)
        tally, norm, _ = engine.update(chunk, (), 0.3)
        plain.zero_grad()
        logits = torch.cat([said for said, _ in twin.logits(pairs)])
        targets = torch.tensor([token for _, target in pairs for token in (*target, EOS)])
        nats = nn.functional.cross_entropy(logits, targets.long(), reduction="sum")
        (nats / chunk.count).backward()
        expected = nn.utils.clip_grad_norm_(twin.parameters(), 1.0).item()
        plain.step()
        assert tally.nats == pytest.approx(nats.item(), rel=1e-4)
        assert norm == pytest.approx(expected, rel=1e-3)
    for name, value in engine.tensors().items():
        np.testing.assert_allclose(
            value, twin.state_dict()[name], rtol=1e-3, atol=1e-5, err_msg=name
        )
    compare_looks(engine, twin)


def compare_looks(engine, twin):
    """Both look at the same steps of the source."""
    pairs = drawn_pairs(SIZES, 99)
    looks = engine.shares(make_pair_chunk(pairs, 8))
    for (source, target), mine, (_, theirs) in zip(pairs, looks, twin.logits(pairs), strict=True):
        assert mine.shape[0] == len(target) + 1
        if not engine.shape.attention:
            assert mine.shape[1] == 0
            continue
        assert mine.shape[1] == len(source) + 1
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-3, atol=1e-5)
