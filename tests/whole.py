"""Chunks of whole texts, for tests of what reads a text to its end before it says anything."""

from dataclasses import dataclass, replace

import numpy as np

from charlm.config import NO_TOKEN


@dataclass(frozen=True)
class Whole:
    """A chunk as `charlm.nn.classifier.WholeTexts` describes it."""

    inputs: np.ndarray
    reset: np.ndarray
    column: np.ndarray
    first: np.ndarray
    length: np.ndarray
    labels: np.ndarray
    weight: np.ndarray

    def columns(self, part):
        """Return some columns with their texts, in the order that they have here."""
        begin, end, _ = part.indices(self.inputs.shape[1])
        own = (self.column >= begin) & (self.column < end)
        texts = {
            name: getattr(self, name)[own]
            for name in ("column", "first", "length", "labels", "weight")
        }
        chunk = replace(self, inputs=self.inputs[:, part], reset=self.reset[:, part], **texts)
        return replace(chunk, column=chunk.column - begin)


def laid_out(columns, texts, steps=None, labels=None, weight=None):
    """Return a chunk of `texts`, arrays of ids; each column is a list of their numbers, end to end."""
    steps = steps or max(sum(len(texts[i]) for i in column) for column in columns)
    shape = steps, len(columns)
    inputs, reset = np.full(shape, NO_TOKEN, np.int32), np.zeros(shape, np.bool_)
    column, first = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    for b, numbers in enumerate(columns):
        t = 0
        for i in numbers:
            column[i], first[i], reset[t, b] = b, t, True
            inputs[t : t + len(texts[i]), b] = texts[i]
            t += len(texts[i])
        if t < steps:
            reset[t, b] = True
    length = np.array([len(text) for text in texts], np.int64)
    labels = np.zeros(len(texts)) if labels is None else labels
    weight = np.ones(len(texts)) if weight is None else weight
    return Whole(
        inputs,
        reset,
        column,
        first,
        length,
        np.asarray(labels, np.int32),
        np.asarray(weight, np.float32),
    )


def drawn_texts(lengths, vocabulary, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(vocabulary, size=length, dtype=np.int32) for length in lengths]


def mixed(vocabulary, labels=3, seed=0):
    """Return a chunk of eight texts: some of one step, one that fills its column, tails, a column without a text."""
    texts = drawn_texts([3, 1, 6, 2, 1, 4, 1, 2], vocabulary, seed)
    rng = np.random.default_rng(seed)
    given = rng.integers(labels, size=8)
    given[:labels], given[4] = np.arange(labels), -1
    return laid_out([[5, 0], [2, 1], [], [4, 7, 3], [6]], texts, 7, given, rng.random(8) + 0.5)
