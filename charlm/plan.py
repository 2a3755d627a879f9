"""Settings for a corpus and a time, where the user gives none: rules fitted to measurements on real texts.

The README has the measurements. A GRU learnt most in a given time: one layer where the time is short for the text,
two narrower ones where it allows many readings. More text and more time ask for a wider network, and reading a text
more often for more dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from charlm.cells import CELLS

_FLOPS = 110e9  # what two cores of a laptop reach in training; the default time is counted in it, not by a clock
_FULL_SPEED = 384  # units, from which on training reaches that; narrower layers do in proportion
_SECONDS, _LEAST_SECONDS, _MOST_SECONDS = 40, 40, 240  # for 20,000 tokens, rising with the square root
_TOKENS = 20_000  # of the reference corpus, for which the numbers here stand
_HIDDEN, _HIDDEN_LARGE_VOCABULARY = 144, 72  # in the default time; with many tokens the output layer takes its part
_LARGE_VOCABULARY = 1000
_MOST_GROWTH = 3.1  # of the width, with the text: beyond some 600,000 tokens it is the time that limits
_CELL, _EMBEDDING = "gru", 64
_READINGS_FOR_TWO, _WIDTH_OF_TWO = 8, 0.7  # by one layer, from which two, each so much as wide, serve characters better
_LARGE_CORPUS = 100_000  # tokens from which larger batches pay, and layer normalisation: less is learnt by heart
_MULTIPLE, _WIDEST = 32, 1024  # widths that matrix multiplication likes
_EPOCHS = 80  # a small text read more often than this is learnt by heart
_LEAST_STEPS = 300
_COUNTS, _COUNTS_LARGE_VOCABULARY, _WORD_COUNTS = 8, 4, 5  # the order of the n-grams
_PATIENCE = 8  # evaluations, of some 25, where the time asked for would go beyond that
_WEIGHT_DECAY = 0.1
_MANY_TEXTS, _LONG_TEXT = 5000, 40  # texts that ask for a wider classifier; tokens of one that has no one end
_CHARACTER_EPOCHS, _WORD_EPOCHS = 20, 10  # after which a classifier only learns its texts by heart
_CLASSIFIER_SHARE = 0.4  # of what products reach: short texts leave it waiting for the rest
_CLASSIFIER_LR, _CLASSIFIER_DECAY = 0.003, 0.01
_TAGGER = {  # by what is read: words, characters of words, characters that have the tags
    "word": {"layers": 1, "hidden": 128, "embedding": 64, "char_hidden": 32, "ngrams": 4, "token_dropout": 0.1,
             "embedding_scale": 0.2, "dropout": 0.5, "batch_size": 32, "epochs": 15},
    "char": {"layers": 1, "hidden": 128, "embedding": 64, "char_hidden": 0, "ngrams": 0, "token_dropout": 0.0,
             "embedding_scale": 1.0, "dropout": 0.3, "batch_size": 32, "epochs": 20},
    "characters": {"layers": 2, "hidden": 192, "embedding": 64, "char_hidden": 0, "ngrams": 0, "token_dropout": 0.0,
                   "embedding_scale": 1.0, "dropout": 0.2, "batch_size": 64, "epochs": 20},
}  # fmt: skip
_TAGGER_SHARE = {"word": 0.25, "char": 0.4, "characters": 0.8}  # of what products reach
_TAGGER_LR, _TAGGER_DECAY = 0.006, 0.01
_CONVERTER: dict[str, Any] = {
    "layers": 1, "hidden": 192, "embedding": 64, "dropout": 0.3,
}  # fmt: skip
_CONVERTER_EPOCHS = 30  # after which it only learns its pairs by heart
_CONVERTER_SHARE = 0.35  # of what products reach: attention, and short texts
_CONVERTER_DECAY = 0.01
_CONVERTER_BATCHES = [  # up to so many pairs: the batch, and the learning rate that goes with it
    (1000, 32, 0.004), (5000, 64, 0.006), (30_000, 128, 0.008), (math.inf, 256, 0.008),
]  # fmt: skip
_LR, _LR_HIDDEN = 0.005, 384  # the learning rate up to this width, above it falling with the width


def defaults(
    tokens: int, vocabulary: int, given: Mapping[str, Any], speed: Callable[[], float] = lambda: _FLOPS
) -> tuple[dict[str, Any], str]:
    """Return model and training settings for a training part of `tokens` ids over `vocabulary` different ones; and why.

    `given` are the settings that the user chose; what follows from them does. With `minutes` it counts how many
    operations a second this machine reaches, as `speed` says. Without, the run is fixed in steps, the same on every
    machine: some 15 seconds for a list of a thousand names, some four minutes from a megabyte on, on two cores.
    """
    words, minutes = given.get("tokenizer") == "word", given.get("minutes")
    order = 0 if given.get("counts_from") else _counts(words, vocabulary)
    if given.get("layers") == 0:
        return {"counts": order, "hidden": 1, "embedding": 0}, "plan: counts, and no network"
    optimizer = given.get("optimizer", "muon")
    usual = min(max(_SECONDS * math.sqrt(tokens / _TOKENS), _LEAST_SECONDS), _MOST_SECONDS)
    flops = speed() if minutes else _FLOPS
    operations = flops * (60 * minutes if minutes else usual)
    shape = _shape(tokens, vocabulary, given, operations, operations / (_FLOPS * usual))
    hidden, embedding = int(shape["hidden"]), int(shape["embedding"])
    affordable = operations / flops_per_token(shape, vocabulary)  # tokens
    budget = min(affordable, _EPOCHS * tokens)
    batch_size, seq_len = (32, 35) if words else (64, 64) if tokens > _LARGE_CORPUS else (32, 32)
    rows = given.get("batch_size", batch_size) * given.get("seq_len", seq_len)
    settings = {
        "counts": order,
        "cell": shape["cell"],
        "layers": shape["layers"],
        "hidden": hidden,
        "embedding": embedding,
        "tie": words and embedding == hidden,
        "layer_norm": tokens > _LARGE_CORPUS
        and not words
        and given.get("engine") != "torch",  # there a step at a time
        "residual": shape["layers"] > 1,
        "dropout": _dropout(budget / tokens),
        "optimizer": optimizer,
        "schedule": "linear",
        "weight_decay": _WEIGHT_DECAY if optimizer == "muon" else 0.0,
        "lr": round(_LR * min(1.0, _LR_HIDDEN / max(1, hidden)), 5),
        "batch_size": batch_size,
        "seq_len": seq_len,
        "steps": None if minutes else max(_LEAST_STEPS, math.ceil(budget / max(1, rows))),
        "patience": _PATIENCE if minutes and affordable > budget else None,
    }
    seconds = budget * flops_per_token(shape, vocabulary) / _FLOPS / min(1.0, hidden / _FULL_SPEED)
    usually = f"the usual time for so much text, {_about(seconds)} on two cores,"
    time = f"{minutes:g} minutes at {flops / 1e9:.0f} GFLOP/s" if minutes else usually
    reads = f"about {budget:,.0f} tokens, the text {budget / tokens:.1f} times"
    return settings, f"plan: {time} will read {reads}; layers, width, dropout and learning rate follow"


def classifier_defaults(
    tokens: int, texts: int, vocabulary: int, given: Mapping[str, Any],
    speed: Callable[[], float] = lambda: _FLOPS,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Return settings of a classifier for `texts` texts of `tokens` ids together (as `defaults`); and why.

    One layer that reads in both directions, with n-grams beside it: deeper and wider ones were no better. More texts
    ask for a wider layer, and long texts for the largest values of all steps instead of the last ones.
    """
    words, minutes = given.get("tokenizer") == "word", given.get("minutes")
    optimizer = given.get("optimizer", "adam")
    wide = texts > _MANY_TEXTS
    shape: dict[str, Any] = {
        "cell": _CELL, "layers": 1, "hidden": 128 if wide else 64, "embedding": 64, "bidirectional": True,
    } | dict(given)  # fmt: skip
    operations = body_flops_per_token(shape, vocabulary) * tokens  # of one reading
    flops = speed() if minutes else _FLOPS
    wanted = _WORD_EPOCHS if words else _CHARACTER_EPOCHS
    affordable = (60 * minutes if minutes else _MOST_SECONDS) * _CLASSIFIER_SHARE * flops / operations
    epochs = affordable if minutes else max(1.0, min(affordable, wanted))
    settings = {
        "cell": shape["cell"],
        "bidirectional": shape["bidirectional"],
        "layers": shape["layers"],
        "hidden": shape["hidden"],
        "embedding": shape["embedding"],
        "layer_norm": False,
        "residual": int(shape["layers"]) > 1,
        "dropout": 0.5 if wide else 0.3,
        "pool": "max" if tokens > _LONG_TEXT * texts else "last",
        "ngrams": 2 if words else 4,
        "token_dropout": 0.1 if words else 0.0,
        "embedding_scale": 0.2 if words else 1.0,  # a word seen once would keep its first values
        "optimizer": optimizer,
        "schedule": "linear",
        "weight_decay": _CLASSIFIER_DECAY if optimizer in ("adam", "muon") else 0.0,
        "lr": _CLASSIFIER_LR,
        "batch_size": 64 if wide else 32,
        "epochs": None if minutes else round(epochs, 1),
        "patience": _PATIENCE if minutes and affordable > 2 * wanted else None,
    }
    usually = f"so many texts, and {_about(_MOST_SECONDS * epochs / affordable)} on two cores,"
    time = f"{minutes:g} minutes" if minutes else usually
    return settings, f"plan: {time} allow reading each text {epochs:.1f} times; width, pooling and n-grams follow"


def tagger_defaults(
    read: str,
    tokens: int,
    characters: int,
    given: Mapping[str, Any],
    speed: Callable[[], float] = lambda: _FLOPS,
) -> tuple[dict[str, Any], str]:
    """Return settings of a tagger for sentences of so many steps and characters together (as
    `defaults`); and why.

    `read` is "word" where a step is a word, "char" where it is a character of one, "characters"
    where characters have the tags. One layer that reads in both directions, two of them where
    characters have the tags: an accent hangs on a word and on those around it. For words also what
    a small layer says of their characters, and their n-grams, so that a word which is seen once
    means something.
    """
    usual, minutes, optimizer = _TAGGER[read], given.get("minutes"), given.get("optimizer", "muon")
    shape: dict[str, Any] = {
        "cell": _CELL, "bidirectional": True,
        **{name: usual[name] for name in ("layers", "hidden", "embedding", "char_hidden")},
    } | dict(given)  # fmt: skip
    of_characters = shape | {
        "layers": 1,
        "hidden": shape["char_hidden"] or 0,
        "bidirectional": True,
    }
    operations = body_flops_per_token(shape, _LARGE_VOCABULARY + 1) * tokens  # of one reading
    operations += body_flops_per_token(of_characters, 0) * characters if shape["char_hidden"] else 0
    flops = speed() if minutes else _FLOPS
    affordable = (
        (60 * minutes if minutes else _MOST_SECONDS) * _TAGGER_SHARE[read] * flops / operations
    )
    epochs = affordable if minutes else max(1.0, min(affordable, usual["epochs"]))
    settings = {
        **usual,
        "cell": shape["cell"],
        "bidirectional": shape["bidirectional"],
        "layers": shape["layers"],
        "layer_norm": False,
        "residual": int(shape["layers"]) > 1,
        "optimizer": optimizer,
        "schedule": "linear",
        "weight_decay": _TAGGER_DECAY if optimizer in ("adam", "muon") else 0.0,
        "lr": _TAGGER_LR,
        "epochs": None if minutes else round(epochs, 1),
        "patience": _PATIENCE if minutes and affordable > 2 * usual["epochs"] else None,
    }
    usually = f"so many sentences, and {_about(_MOST_SECONDS * epochs / affordable)} on two cores,"
    time = f"{minutes:g} minutes" if minutes else usually
    return (
        settings,
        f"plan: {time} allow reading each sentence {epochs:.1f} times; widths and dropout follow",
    )


def converter_defaults(
    pairs: int,
    sources: int,
    targets: int,
    given: Mapping[str, Any],
    speed: Callable[[], float] = lambda: _FLOPS,
) -> tuple[dict[str, Any], str]:
    """Return settings of a converter for pairs whose sources and targets have so many ids together
    (as `defaults`); and why.

    An encoder of one layer that reads in both directions, and a decoder as wide. Batches grow with
    the corpus: what muon takes for a step is the same for each, and more than a small one's rest.
    """
    minutes, optimizer = given.get("minutes"), given.get("optimizer", "muon")
    shape: dict[str, Any] = {
        "cell": _CELL, "bidirectional": True,
        **{name: _CONVERTER[name] for name in ("layers", "hidden", "embedding")},
    } | dict(given)  # fmt: skip
    onwards = shape | {"bidirectional": False}
    operations = (
        body_flops_per_token(shape, 0) * sources + body_flops_per_token(onwards, 0) * targets
    )
    flops = speed() if minutes else _FLOPS
    seconds = 60 * minutes if minutes else _MOST_SECONDS
    affordable = seconds * _CONVERTER_SHARE * flops / operations
    epochs = affordable if minutes else max(1.0, min(affordable, _CONVERTER_EPOCHS))
    batch_size, lr = next((size, lr) for most, size, lr in _CONVERTER_BATCHES if pairs <= most)
    settings = {
        **_CONVERTER,
        "cell": shape["cell"],
        "bidirectional": shape["bidirectional"],
        "layers": shape["layers"],
        "layer_norm": False,
        "residual": int(shape["layers"]) > 1,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "schedule": "linear",
        "weight_decay": _CONVERTER_DECAY if optimizer in ("adam", "muon") else 0.0,
        "lr": lr,
        "epochs": None if minutes else round(epochs, 1),
        "patience": _PATIENCE if minutes and affordable > 2 * _CONVERTER_EPOCHS else None,
    }
    usually = f"so many pairs, and {_about(seconds * epochs / affordable)} on two cores,"
    time = f"{minutes:g} minutes" if minutes else usually
    reads = f"allow reading each pair {epochs:.1f} times"
    return settings, f"plan: {time} {reads}; widths and dropout follow"


def _about(seconds: float) -> str:
    """Return a time as people say it.

    >>> _about(100)
    'about 2 minutes'
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"about {max(2, round(seconds))} seconds"
    return f"about {minutes} minutes"


def body_flops_per_token(shape: Mapping[str, Any], vocabulary: int) -> float:
    """Return the operations of a training step over one token in the recurrent layers alone (as `flops_per_token`)."""
    directions = 2 if shape.get("bidirectional") else 1
    hidden, layers, gates = float(shape["hidden"]), int(shape["layers"]), CELLS[shape["cell"]].gates
    inputs = float(shape["embedding"]) if vocabulary > _LARGE_VOCABULARY else 0
    above = (layers - 1) * (1 + directions)
    return max(1.0, 6.0 * directions * gates * hidden * (hidden * (1 + above) + inputs))


def _shape(
    tokens: int, vocabulary: int, given: Mapping[str, Any], operations: float, time: float
) -> dict[str, Any]:
    """Return cell, layers, hidden and embedding: one layer, or two where it would read a text of characters often.

    `operations` are what the run may take, `time` is that over the default.
    """
    words, width = given.get("tokenizer") == "word", _width(tokens, vocabulary, time)

    def of(layers: int) -> dict[str, Any]:
        hidden = given.get("hidden", _rounded(width if layers == 1 else _WIDTH_OF_TWO * width))
        usual = {"cell": _CELL, "layers": layers, "hidden": hidden, "embedding": hidden if words else _EMBEDDING}
        return usual | dict(given)

    if "layers" in given:
        return of(int(given["layers"]))
    exact = of(1) | {"hidden": given.get("hidden", width)}
    readings = operations / flops_per_token(exact, vocabulary) / tokens  # not rounded, so that it grows with the time
    deep = readings >= _READINGS_FOR_TWO and tokens > _LARGE_CORPUS and vocabulary <= _LARGE_VOCABULARY
    return of(2 if deep and not words else 1)


def _counts(words: bool, vocabulary: int) -> int:
    """Return the order of the n-grams that served best; thousands of characters are Chinese or the like."""
    if words:
        return _WORD_COUNTS
    return _COUNTS if vocabulary <= _LARGE_VOCABULARY else _COUNTS_LARGE_VOCABULARY


def _rounded(width: float) -> int:
    return max(_MULTIPLE, _MULTIPLE * round(width / _MULTIPLE))


def _width(tokens: int, vocabulary: int, time: float) -> float:
    """Return the hidden size of one layer that served best; `time` is what the run may cost over the default."""
    reference = _HIDDEN if vocabulary <= _LARGE_VOCABULARY else _HIDDEN_LARGE_VOCABULARY
    return min(_WIDEST, reference * min(math.cbrt(tokens / _TOKENS), _MOST_GROWTH) * math.sqrt(math.sqrt(time)))


def flops_per_token(shape: Mapping[str, Any], vocabulary: int) -> float:
    """Return the operations of a training step over one token: each product once forward and twice backward.

    `shape` has cell, layers, hidden and embedding. The first layer's input product is made once for each different
    token of a chunk, which is nothing beside the rest where there are few.
    """
    hidden, layers, gates = float(shape["hidden"]), int(shape["layers"]), CELLS[shape["cell"]].gates
    inputs = float(shape["embedding"]) if vocabulary > _LARGE_VOCABULARY else 0
    recurrent = gates * hidden * (hidden * (2 * layers - 1) + inputs)
    return max(1.0, 6.0 * (recurrent + hidden * vocabulary))


def _dropout(epochs: float) -> float:
    """Return the dropout that kept validation falling when a text was read so many times."""
    return round(min(max(0.05 + 0.37 * math.log10(epochs / 6), 0.0), 0.5), 2)
