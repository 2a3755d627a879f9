"""Tokens a second of a converter in training beside the same network in PyTorch on padded batches,
by turns; and how many sources a second it converts.

    python tests/benchmarks/convert_speed.py pairs.tsv [--words] [--hidden 192] [--threads 2]
    [--pairs 5] [--subnormal] [--model MODEL]

An encoder that reads in both directions, a decoder, attention between them. PyTorch pads each batch
to its longest source and its longest target, and draws its batches as class_speed.py does, and gets
what is fastest, as told there: the encoder packed and as it is, batches at random and by length
(of source and target together). Its decoder reads a whole target in one call and begins with a
state of the encoder's last; its attention is two products of batches, the padding masked. Dropout
is left out on both sides. Targets are characters, with `--words` what white space parts. Each reads
all pairs once per turn; medians over the turns; the processor should have nothing else to do. Needs
torch.

With `--model`, a trained converter, it is also told how many of the file's different sources it
converts in a second, greedily and with a beam of 5, and how many targets it scores.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import charlm
from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.convert_gold import gathered
from charlm.engines.converter import ConverterEngine
from charlm.nn.converter import ConverterShape
from charlm.text.pair_packing import PairList, WholePairBatches
from charlm.text.pairs import Sides, prepare_pairs, read_pairs
from charlm.text.reading import TextFile
from charlm.text.tokenizers import EOS

if __package__:
    from tests.benchmarks.class_speed import batches_of, padded, report
else:
    from class_speed import batches_of, padded, report

BATCH, EMBEDDING, BEAM = 64, 64, 5
NO_TOKEN = -100


class Twin(nn.Module):
    """Both directions of a GRU over the source, a GRU over the target, attention, a softmax."""

    def __init__(self, sources, targets, hidden):
        super().__init__()
        self.read = nn.Embedding(sources, EMBEDDING)
        self.encoder = nn.GRU(EMBEDDING, hidden, bidirectional=True)
        self.begin = nn.Linear(2 * hidden, hidden)
        self.embed = nn.Embedding(targets + 1, EMBEDDING)  # the last: nothing stands before
        self.decoder = nn.GRU(EMBEDDING, hidden)
        self.key = nn.Linear(2 * hidden, hidden, bias=False)
        self.value = nn.Linear(2 * hidden, hidden, bias=False)
        self.combine = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, targets)
        self.first = targets

    def forward(self, source, lengths, target, packed):
        """Return the logits [n, N, V] after the target's tokens [n, N] but its last."""
        x = self.read(source)  # [m, N, E]
        if packed:
            memory, last = self.encoder(pack_padded_sequence(x, lengths, enforce_sorted=False))
            memory = pad_packed_sequence(memory)[0]
        else:
            memory, last = self.encoder(x)
        before = torch.cat([torch.full_like(target[:1], self.first), target[:-1]])
        state = torch.tanh(self.begin(torch.cat([last[0], last[1]], dim=1)))
        y = self.decoder(self.embed(before.clamp(min=0)), state[None])[0].transpose(0, 1)
        keys, values = self.key(memory).transpose(0, 1), self.value(memory).transpose(0, 1)
        shares = torch.bmm(y, keys.transpose(1, 2))  # [N, n, m]
        beyond = torch.arange(len(source))[None] >= lengths[:, None]
        shares = shares.masked_fill(beyond[:, None], -torch.inf).softmax(2)
        y = torch.tanh(self.combine(y) + torch.bmm(shares, values))
        return self.head(y).transpose(0, 1)


def contenders(pairs, sizes, given):
    """Return what trains by name: a step, which returns how many tokens it read, and its
    batches."""
    sources, targets = sizes
    encoder = ModelConfig(sources, hidden=given.hidden, embedding=EMBEDDING, bidirectional=True)
    decoder = ModelConfig(targets, hidden=given.hidden, embedding=EMBEDDING)
    ours = ConverterEngine(ConverterShape(encoder, decoder), given.threads, TrainConfig(lr=1e-3))
    chunks = WholePairBatches(PairList(pairs), BATCH, 32, 0)
    twin = Twin(sources, targets, given.hidden)
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)
    lengths = np.array([len(source) + len(target) + 2 for source, target in pairs])

    def our_step(chunk):
        ours.update(chunk, (), 1e-3)
        return chunk.read

    def their_step(packed):
        def step(numbers):
            source, long = padded([pairs[k][0] for k in numbers])
            ends = [torch.from_numpy(np.append(pairs[k][1], EOS)).long() for k in numbers]
            target = nn.utils.rnn.pad_sequence(ends, padding_value=NO_TOKEN)
            y = twin(source, long, target, packed)
            loss = nn.functional.cross_entropy(
                y.flatten(0, 1), target.flatten(), ignore_index=NO_TOKEN
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
            optimizer.step()
            return int(lengths[numbers].sum())

        return step

    rng = np.random.default_rng(0)
    runs = {"charlm trains": (our_step, lambda: chunks.epoch(0))}
    for bucketed, name in ((False, "random"), (True, "bucketed")):
        for packed, suffix in ((False, "as it is"), (True, "packed")):
            runs[f"PyTorch trains, {name}, {suffix}"] = (
                their_step(packed),
                lambda bucketed=bucketed: batches_of(lengths, bucketed, rng),
            )
    return runs


def converts(path, given):
    """Print how many sources and pairs of a file a trained model converts and scores in a
    second."""
    model = charlm.load(given.model, threads=given.threads)
    pairs = list(read_pairs(TextFile(path), "utf-8"))
    sources = list(gathered(pairs))
    ways = {
        "converts greedily": (len(sources), lambda: model.predict(sources)),
        f"converts, beam {BEAM}": (len(sources), lambda: model.predict(sources, BEAM)),
        "scores": (len(pairs), lambda: model.scores(pairs)),
    }
    found = {name: [] for name in ways}
    for _ in range(given.pairs):
        for name, (count, work) in ways.items():
            begun = time.perf_counter()
            for _ in work():
                pass
            found[name].append(count / (time.perf_counter() - begun))
    for name, rates in found.items():
        middle = statistics.median(rates)
        what = "pairs" if name == "scores" else "sources"
        print(
            f"charlm {name:33} {middle:10,.0f} {what}/s  ({min(rates):,.0f} to {max(rates):,.0f})"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--subnormal", action="store_true")
    parser.add_argument("--model")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(not given.subnormal)
    text = TextConfig(valid_fraction=0.0, min_count=1)
    kind, pattern = ("word", r"\S+") if given.words else ("char", None)
    corpus = prepare_pairs([given.path], text, Sides.of(text, "char", kind, None, pattern))
    pairs = corpus.train.pairs(np.arange(len(corpus.train)))
    sizes = corpus.source.size, corpus.target.size
    mean = corpus.train_tokens / len(pairs)
    shape = f"gru 1x{given.hidden} on both sides, the encoder in both directions, attention"
    what = f"{len(pairs):,} pairs of {mean:.1f} tokens, {shape}, batches of {BATCH}"
    report(contenders(pairs, sizes, given), given.pairs, given.threads, what, "tokens")
    if given.model:
        converts(given.path, given)


if __name__ == "__main__":
    main()
