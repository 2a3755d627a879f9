"""Tokens a second of a tagger beside the same network in PyTorch on padded batches, by turns.

    python tests/benchmarks/tag_speed.py train.conll [--hidden 128] [--characters] [--threads 2]
    [--pairs 5] [--crfsuite [--iterations 30]] [--subnormal]

Training and predicting. Of columns each word's vector is its embedding beside what a small GRU in
both directions says of its characters, made once for each different word of a batch, on both
sides. Of lines `source TAB target`, or with `--characters`, the network reads characters. PyTorch
pads and draws its batches as class_speed.py does, and gets what is fastest, as told there: packed
and as it is, at random and by length; the quickest of each is shown. N-grams, transitions and
dropout are left out. Charlm's answers are the best tags of all, PyTorch's too. Each reads all
sentences once per pair; medians over the pairs; the processor should have nothing else to do.

`--crfsuite` tags with python-crfsuite too, trained for a few iterations (`tags.py` has its
features): with the features being made, and apart from it. Needs torch, and python-crfsuite.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.engines.tagger import TaggerEngine
from charlm.nn.tagger import TaggerShape
from charlm.text.tag_packing import Reading, WholeSentenceBatches, sentence_chunks
from charlm.text.tagged import prepare_tagged

if __package__:
    from tests.benchmarks.class_speed import batches_of, padded, report
    from tests.benchmarks.tags import Chain, features, in_iob2, read
else:
    from class_speed import batches_of, padded, report
    from tags import Chain, features, in_iob2, read

BATCH, EMBEDDING, OF_CHARACTERS = 32, 64, 32  # the last: units and embedding of words' characters
NO_TAG = -100


def both_ways(rnn, x, lengths, packed):
    """Return the values of all steps [T, N, 2H]; as it is, the backward ones begin in the
    padding."""
    if not packed:
        return rnn(x)[0]
    return pad_packed_sequence(rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))[0])[0]


class Twin(nn.Module):
    """Words' vectors or embedded characters, both directions of a GRU, a linear map to the tags."""

    def __init__(self, shape):
        super().__init__()
        hidden = shape.model.hidden
        self.embed = nn.Embedding(shape.model.vocab_size, EMBEDDING)
        if shape.words:
            self.characters = nn.Embedding(shape.characters, OF_CHARACTERS)
            self.spelling = nn.GRU(OF_CHARACTERS, OF_CHARACTERS, bidirectional=True)
        self.rnn = nn.GRU(EMBEDDING + 2 * OF_CHARACTERS * shape.words, hidden, bidirectional=True)
        self.head = nn.Linear(2 * hidden, shape.tags)

    def forward(self, batch, packed):
        ids, lengths, words = batch
        x = self.embed(ids) if words is None else self.vectors(*words, packed)[ids]
        return self.head(both_ways(self.rnn, x, lengths, packed))

    def vectors(self, ids, spelt, long, packed):
        y = both_ways(self.spelling, self.characters(spelt), long, packed)
        last = y[long - 1, torch.arange(len(long)), :OF_CHARACTERS]
        return torch.cat([self.embed(ids), last, y[0, :, OF_CHARACTERS:]], dim=1)


class Sentences:
    """What PyTorch trains on: padded batches of a part's sentences."""

    def __init__(self, part, words):
        self._texts = part.sentences(np.arange(len(part)))
        self.lengths = np.array([len(text.words) for text in self._texts])
        self._spelt = {}
        for text in self._texts if words else ():
            pieces = np.split(text.characters, np.cumsum(text.lengths)[:-1])
            self._spelt |= dict(zip(text.words.tolist(), pieces, strict=True))
        self._words = words

    def batch(self, numbers):
        """Return ids [T, N], lengths [N], the different words with their characters, and tags [T,
        N]."""
        texts = [self._texts[k] for k in numbers]
        ids, lengths = padded([text.words for text in texts])
        tags = [torch.from_numpy(np.append(text.tags, NO_TAG)).long() for text in texts]
        gold = nn.utils.rnn.pad_sequence(tags, padding_value=NO_TAG)
        gold[gold < 0] = NO_TAG
        if not self._words:
            return (ids, lengths, None), gold
        found, numbers = torch.unique(ids, return_inverse=True)
        spelt = [self._spelt.get(word, np.zeros(0, np.int32)) for word in found.tolist()]
        return (numbers, lengths, (found, *padded(spelt))), gold


def contenders(part, shape, reading, given):
    """Return what is measured by name: a step, which returns how many tokens it read, and its
    batches."""
    ours = TaggerEngine(shape, given.threads, TrainConfig(lr=1e-3))
    chunks, rng = WholeSentenceBatches(part, BATCH, 32, 0, reading), np.random.default_rng(0)
    theirs, twin = Sentences(part, shape.words), Twin(shape)
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)

    def train(packed):
        def step(numbers):
            batch, gold = theirs.batch(numbers)
            y = twin(batch, packed)
            loss = nn.functional.cross_entropy(y.flatten(0, 1), gold.flatten(), ignore_index=NO_TAG)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
            optimizer.step()
            return int(theirs.lengths[numbers].sum())

        return step

    def predict(packed):
        def step(numbers):
            with torch.no_grad():
                twin(theirs.batch(numbers)[0], packed).argmax(2)
            return int(theirs.lengths[numbers].sum())

        return step

    def our_step(chunk):
        ours.update(chunk, (), 1e-3)
        return chunk.read

    def our_answers(pair):
        ours.decode(pair[1])
        return pair[1].read

    runs = {"charlm trains": (our_step, lambda: chunks.epoch(0)),
            "charlm predicts": (our_answers, lambda: sentence_chunks(part, reading))}  # fmt: skip
    for way, suffix in ((False, "as it is"), (True, "packed")):
        for kind, name in ((False, "random"), (True, "bucketed")):
            runs[f"PyTorch trains, {name}, {suffix}"] = (
                train(way), lambda kind=kind: batches_of(theirs.lengths, kind, rng),
            )  # fmt: skip
        runs[f"PyTorch predicts, bucketed, {suffix}"] = (
            predict(way), lambda: batches_of(theirs.lengths, True, rng),
        )  # fmt: skip
    return runs


def crfsuite(path, iterations):
    """Print how many tokens a second python-crfsuite tags."""
    sentences = in_iob2(read([Path(path)])[1][0])
    with tempfile.TemporaryDirectory() as directory:
        options = Namespace(c1=0.1, c2=0.1, iterations=iterations)
        chain = Chain(sentences, options, Path(directory, "model"))
        begun = time.perf_counter()
        found = [features(words) for words, _ in sentences]
        made = time.perf_counter()
        for each in found:
            chain.tag_features(each)
        done = time.perf_counter()
    tokens = sum(map(len, found))
    print(f"python-crfsuite predicts {tokens / (done - begun):,.0f} tokens/s, "
          f"{tokens / (done - made):,.0f} where the features are there already")  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--characters", action="store_true", help="lines source TAB target")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--crfsuite", action="store_true")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--subnormal", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(not given.subnormal)
    words = not given.characters
    text = TextConfig(tokenizer="word" if words else "char", valid_fraction=0.0, min_count=1)
    corpus = prepare_tagged([given.path], text, "words" if words else "characters", longest=1000)
    part, size = corpus.train, corpus.tokenizer.size
    model = ModelConfig(size, hidden=given.hidden, embedding=EMBEDDING, bidirectional=True)
    beside = {"char_hidden": OF_CHARACTERS, "char_embedding": OF_CHARACTERS} if words else {}
    shape = TaggerShape(model, len(corpus.names), words, corpus.encoder.characters.size, **beside)
    runs = contenders(part, shape, Reading("words" if words else "steps"), given)
    network = f"gru 1x{given.hidden} in both directions, batches of {BATCH}"
    what = f"{len(part):,} sentences of {part.tokens / len(part):.1f} tokens, {shape.tags} tags, {network}"
    report(runs, given.pairs, given.threads, what, "tokens")
    if given.crfsuite:
        crfsuite(given.path, given.iterations)


if __name__ == "__main__":
    main()
