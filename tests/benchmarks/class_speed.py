"""Texts a second of a classifier beside the same network in PyTorch on padded batches, by turns.

    python tests/benchmarks/class_speed.py labelled.tsv [--words] [--hidden 128] [--threads 2]
    [--pairs 5] [--subnormal]

Training and predicting. PyTorch pads each batch to its longest text. It draws batches at random,
and bucketed: texts of like length together, the batches in random order. What it is given is as
fast as it can be: the padded batch as it is (whose backward direction begins in the padding, which
is wrong, and quicker) and packed, with numbers below 1.2e-38 taken for zeros, which it does not do
unless told to (`--subnormal` leaves it so); the quickest of each is shown. Each reads all texts once
per pair, since batches by length differ too much for a part of them to stand for all. N-grams are
left out on both sides. Medians over the pairs; the processor should have nothing else to do. Needs
torch.
"""

import argparse
import itertools
import platform
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from charlm.config import ModelConfig, TextConfig, TrainConfig
from charlm.engines.classifier import ClassifierEngine
from charlm.text.labelled import prepare_labelled
from charlm.text.packing import WholeTextBatches, chunks_of
from charlm.text.tokenizers import EOS

BATCH, EMBEDDING = 64, 64


class Twin(nn.Module):
    """Embedding, both directions of a GRU, the two last states, a linear map to the labels."""

    def __init__(self, tokens, labels, hidden):
        super().__init__()
        self.embed = nn.Embedding(tokens, EMBEDDING)
        self.rnn = nn.GRU(EMBEDDING, hidden, bidirectional=True)
        self.head = nn.Linear(2 * hidden, labels)

    def forward(self, ids, lengths, packed):
        x = self.embed(ids)  # [T, N, E]
        if packed:
            y, _ = pad_packed_sequence(
                self.rnn(pack_padded_sequence(x, lengths, enforce_sorted=False))[0]
            )
        else:
            y, _ = self.rnn(x)
        half = y.shape[2] // 2
        last = y[lengths - 1, torch.arange(len(lengths)), :half]
        return self.head(torch.cat([last, y[0, :, half:]], dim=1))


def padded(texts):
    ids = [torch.from_numpy(np.append(text, EOS)).long() for text in texts]
    return nn.utils.rnn.pad_sequence(ids), torch.tensor([len(each) for each in ids])


def batches_of(lengths, bucketed, rng):
    order = rng.permutation(len(lengths))
    if bucketed:
        order = order[np.argsort(lengths[order], kind="stable")]
    parts = np.array_split(order, -(-len(order) // BATCH))
    rng.shuffle(parts)
    return parts


def rate(step, items):
    """Return texts a second of calling `step` on all items."""
    begun = time.perf_counter()
    done = sum(map(step, items))
    return done / (time.perf_counter() - begun)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--subnormal", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(not given.subnormal)
    text = TextConfig(tokenizer="word" if given.words else "char", valid_fraction=0.0, min_count=1)
    corpus = prepare_labelled([given.path], text, longest=1000)
    part, size, labels = corpus.train, corpus.tokenizer.size, len(corpus.names)
    numbers = np.arange(len(part))
    texts, gold, lengths = (
        part.texts(numbers),
        torch.from_numpy(part.labels(numbers)).long(),
        part.lengths(numbers) + 1,
    )
    config = ModelConfig(size, hidden=given.hidden, embedding=EMBEDDING, bidirectional=True)
    ours = ClassifierEngine(config, labels, "last", given.threads, TrainConfig(lr=1e-3))
    chunks, rng = WholeTextBatches(part, BATCH, 32, 0), np.random.default_rng(0)
    twin = Twin(size, labels, given.hidden)
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)

    def torch_train(packed):
        def step(batch):
            ids, long = padded([texts[k] for k in batch])
            loss = nn.functional.cross_entropy(twin(ids, long, packed), gold[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
            optimizer.step()
            return len(batch)

        return step

    def torch_predict(packed):
        def step(batch):
            with torch.no_grad():
                twin(*padded([texts[k] for k in batch]), packed).log_softmax(1)
            return len(batch)

        return step

    def our_step(chunk):
        ours.update(chunk, (), 1e-3)
        return len(chunk.length)

    def our_answers(pair):
        ours.log_probs(pair[1])
        return len(pair[0])

    runs = {"charlm trains": (our_step, lambda: chunks.epoch(0)),
            "charlm predicts": (our_answers, lambda: chunks_of(part))}  # fmt: skip
    for name, kind in (("random", False), ("bucketed", True)):
        for way in (False, True):
            suffix = f"{name}, {'packed' if way else 'as it is'}"
            runs[f"PyTorch trains, {suffix}"] = (
                torch_train(way),
                lambda kind=kind: batches_of(lengths, kind, rng),
            )
    for way in (False, True):
        runs[f"PyTorch predicts, {'packed' if way else 'as it is'}"] = (
            torch_predict(way),
            lambda: batches_of(lengths, True, rng),
        )
    shape = f"gru 1x{given.hidden} in both directions, batches of {BATCH}"
    what = f"{len(texts):,} texts of {lengths.mean():.1f} tokens, {shape}"
    report(runs, given.pairs, given.threads, what, "texts")


def report(runs, pairs, threads, what, unit):
    """Run the contenders by turns, a step and its items each, and print medians and charlm's share
    of PyTorch's.
    """
    for step, items in runs.values():
        rate(step, itertools.islice(items(), 4))  # to warm up
    found = {name: [] for name in runs}
    for _ in range(pairs):
        for name, (step, items) in runs.items():
            found[name].append(rate(step, items()))
    where = platform.processor() or platform.machine()
    print(f"{where}, {threads} threads, torch {torch.__version__}")
    print(what)
    middle = {name: statistics.median(rates) for name, rates in found.items()}
    for name, value in middle.items():
        low, high = min(found[name]), max(found[name])
        print(f"{name:40} {value:10,.0f} {unit}/s  ({low:,.0f} to {high:,.0f})")
    for does in ("trains", "predicts"):
        theirs = [value for name, value in middle.items() if name.startswith(f"PyTorch {does}")]
        if theirs:
            ours = middle[f"charlm {does}"]
            print(f"charlm {does}: {ours / max(theirs):.2f} of PyTorch's best")


if __name__ == "__main__":
    main()
