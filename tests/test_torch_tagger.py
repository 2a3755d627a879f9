"""The tagger beside a twin of torch.nn, which pads and packs: ten steps of training, softmax and
chain."""

import numpy as np
import pytest

from charlm.config import ModelConfig, TrainConfig
from charlm.engines.tagger import TaggerEngine
from charlm.nn.ngrams import WIDTH, buckets
from charlm.nn.tagger import TaggerShape, shapes
from charlm.text.tag_packing import Reading, make_tag_chunk
from charlm.text.tokenizers import EOS
from tests.tagged import CHARACTERS, TAGS, WORDS, drawn_sentences, tokens_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
torch.set_num_threads(1)

READING = Reading("words")
LENGTHS = [3, 1, 6, 2, 1, 5, 4]


class Twin(nn.Module):
    """A tagger as a user of PyTorch would write it, under the names of its parameters."""

    def __init__(self, shape):
        super().__init__()
        model, self.shape = shape.model, shape
        self.embed = nn.Embedding(WORDS, model.embedding)
        self.characters = nn.Module()
        self.characters.embed = nn.Embedding(CHARACTERS, shape.char_embedding)
        self.characters.rnn = nn.GRU(shape.char_embedding, shape.char_hidden, bidirectional=True)
        self.ngrams = nn.Embedding(1 << 15, WIDTH)
        self.rnn = nn.GRU(shape.width, model.hidden, model.layers, bidirectional=True)
        self.dense = nn.ModuleList([nn.Linear(2 * model.hidden, model.head_width)])
        self.head = nn.Linear(model.head_width, TAGS)
        if shape.crf:
            self.crf = nn.Module()
            self.crf.weight = nn.Parameter(torch.zeros(TAGS, TAGS))
            self.crf.start, self.crf.end = (nn.Parameter(torch.zeros(TAGS)) for _ in range(2))

    def vector(self, word, characters):
        """Return the vector of one token."""
        ids = np.array([*characters, EOS], np.int32)
        _, last = self.characters.rnn(self.characters.embed(torch.tensor(ids).long())[:, None])
        place = type(
            "Place",
            (),
            {
                k: np.array([v])
                for k, v in zip(("column", "first", "length"), (0, 0, len(ids)), strict=True)
            },
        )
        rows, _ = buckets(ids[:, None], place, self.shape.ngrams)
        mean = self.ngrams(torch.tensor(rows)).mean(dim=0)
        return torch.cat([self.embed(torch.tensor(word)), last[0, 0], last[1, 0], mean])

    def scores(self, texts):
        """Return the scores of the tags of each sentence, [n, L] each, padded on the way."""
        ends = self.vector(EOS, [])[None]
        x = [
            torch.cat([torch.stack([self.vector(*token) for token in tokens_of(text)]), ends])
            for text in texts
        ]
        packed = nn.utils.rnn.pack_sequence(x, enforce_sorted=False)
        y = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])[0]
        scores = self.head(torch.relu(self.dense[0](y)))
        return [scores[: len(text), i] for i, text in enumerate(texts)]

    def nats(self, texts):
        """Return the sum of -log p of the known tags."""
        total = 0
        for text, scores in zip(texts, self.scores(texts), strict=True):
            tags = torch.tensor(text.tags).long()
            if self.shape.crf:
                free = (tags < 0)[:, None] | (tags[:, None] == torch.arange(TAGS))
                total = (
                    total + self.log_z(scores) - self.log_z(scores.masked_fill(~free, -torch.inf))
                )
            else:
                total = total + nn.functional.cross_entropy(
                    scores, tags, ignore_index=-1, reduction="sum"
                )
        return total

    def log_z(self, scores):
        """Return log Z of one sentence, by sums of exponentials."""
        alpha = self.crf.start + scores[0]
        for score in scores[1:]:
            alpha = (alpha[:, None] + self.crf.weight).logsumexp(dim=0) + score
        return (alpha + self.crf.end).logsumexp(dim=0)


@pytest.mark.parametrize("crf", [False, True], ids=["softmax", "crf"])
@pytest.mark.parametrize("threads", [1, 2])
def test_ten_steps_of_training_are_those_of_torch(crf, threads):
    model = ModelConfig(
        WORDS, hidden=6, embedding=5, layers=2, bidirectional=True, head_layers=1, head_hidden=8
    )
    shape = TaggerShape(model, TAGS, True, CHARACTERS, 4, 3, 2, crf)
    engine = TaggerEngine(shape, threads, TrainConfig(optimizer="sgd", seed=1, clip=1.0))
    twin = Twin(shape)
    assert {name: tuple(value.shape) for name, value in twin.state_dict().items()} == shapes(shape)
    twin.load_state_dict({name: torch.tensor(value) for name, value in engine.tensors().items()})
    plain = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for step in range(10):
        texts = drawn_sentences(LENGTHS, step)
        chunk = make_tag_chunk(texts, READING, 8)
        tally, norm, _ = engine.update(chunk, (), 0.1)
        plain.zero_grad()
        nats = twin.nats(texts)
        (nats / chunk.count).backward()
        expected = nn.utils.clip_grad_norm_(twin.parameters(), 1.0).item()
        plain.step()
        assert tally.nats == pytest.approx(nats.item(), rel=1e-4)
        assert norm == pytest.approx(expected, rel=1e-4)
    for name, value in engine.tensors().items():
        np.testing.assert_allclose(
            value, twin.state_dict()[name], rtol=1e-3, atol=1e-5, err_msg=name
        )
    texts = drawn_sentences([2, 5, 1], 77)
    scores = torch.cat(twin.scores(texts)).detach().double().numpy()
    said = engine.judge(make_tag_chunk(texts, READING, 8))
    if not crf:
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(said.logp, scores, rtol=1e-4, atol=1e-5)
    assert said.nats.sum() == pytest.approx(twin.nats(texts).item(), rel=1e-4)
