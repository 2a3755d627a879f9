"""A language model as the page holds it: weights rounded, counts cut to what a page may carry, and
what that costs.

    float16     the nearest of 11 bits, half the bytes of float32
    int8        W[i, j] = s[i] q[i, j], s[i] = max |W[i]| / 127, q whole: a quarter; vectors stay
                float32

What is measured is a model with these very numbers, so its figure is the page's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config import NO_TOKEN, TrainConfig, one_of
from charlm.counts.labelled import AnyCounts, LabelCounts
from charlm.counts.pruning import pruned
from charlm.counts.table import Counts
from charlm.engines.choice import make_engine
from charlm.engines.counts import NoNetwork
from charlm.errors import UsageError
from charlm.model import Model
from charlm.page.data import packed
from charlm.scoring import evaluate
from charlm.text.batches import Begun, Ids, StoredIds
from charlm.text.tokenizers import EOS, Tokenizer, WordTokenizer

WEIGHTS = ("float16", "float32", "int8")
COUNTS_BYTES = 2_000_000  # of the page, for n-grams; single tokens all stay
MOST_MEASURED = 100_000  # tokens of a text
_OF_THE_SHAPE = (
    "cell", "nonlinearity", "layers", "hidden", "embedding", "tie", "residual", "head_layers",
)  # fmt: skip

Array = NDArray[Any]


@dataclass(frozen=True)
class Cost:
    """Nats a token of a text: of the model as it is, with its weights rounded, and with its counts
    cut too.

    The last is None where no counts are cut. tokens: how many were scored.
    """

    tokens: int
    original: float
    rounded: float
    cut: float | None


@dataclass(frozen=True)
class Inside:
    """The model that a page holds: `model` computes with its very numbers, of which `data` is what
    scripts read."""

    model: Model
    weights: str
    data: dict[str, Any]

    @classmethod
    def of(cls, model: Model, weights: str = "float16") -> Inside:
        """Round a model's weights and cut its counts (UsageError: a weight too large for float16,
        or a mixture)."""
        one_of("weights", weights, WEIGHTS)
        tensors = {
            name: _Rounded.of(name, value, weights)
            for name, value in model.trained.tensors().items()
        }
        counts = None if model.counts is None else pruned(model.counts, _most(model.counts))
        inside = _with(model, {name: its.value for name, its in tensors.items()}, counts)
        return cls(
            inside, weights, _data(inside, {name: its.data for name, its in tensors.items()})
        )

    @property
    def parameters(self) -> int:
        """How many weights its network has."""
        return sum(value.size for value in self.model.trained.tensors().values())

    @property
    def bytes(self) -> tuple[int, int]:
        """How many bytes of base64 its network takes in the page, and its counts."""
        return _base64(self.data["weights"]), _base64(self.data["counts"])

    def cost(self, model: Model, text: StoredIds) -> Cost | None:
        """Return what the original and this one lose on the beginning of a text; None where nothing
        is scored."""
        some = _beginning(text, model.language.document)
        original, tokens = _nats(model, some)
        if original is None:
            return None
        cut = None if self.model.counts is model.counts else _nats(self.model, some)[0]
        whole = _with(model, self.model.trained.tensors(), model.counts)
        return Cost(tokens, original, _nats(whole, some)[0] or 0.0, cut)


@dataclass(frozen=True)
class _Rounded:
    """A tensor as it is rounded, in float32, and as the page holds it."""

    value: Array
    data: dict[str, Any]

    @classmethod
    def of(cls, name: str, value: Array, weights: str) -> _Rounded:
        if weights == "int8" and value.ndim == 2:
            most = np.abs(value).max(axis=1)
            scale = np.where(most > 0, most / 127, 1).astype(np.float32)
            whole = np.clip(np.rint(value / scale[:, None]), -127, 127).astype(np.int8)
            return cls(whole * scale[:, None], packed(whole) | {"scale": packed(scale)})
        if weights != "float16":
            return cls(value, packed(value))
        if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
            raise UsageError(
                f"{name} has weights beyond what float16 holds: give --weights float32"
            )
        half = value.astype(np.float16)
        return cls(half.astype(np.float32), packed(half))


def _with(model: Model, tensors: dict[str, Array], counts: AnyCounts | None) -> Model:
    """Return the model with other weights and counts."""
    config = model.config
    engine = make_engine(config, TrainConfig(threads=1)) if config.layers else NoNetwork()
    engine.load(tensors)
    weight = model.counts_weight if model.counts else None
    return type(model)(engine, config, model.language, model.facts, counts, weight)


def _most(counts: AnyCounts) -> int:
    """Return how many n-grams of two tokens and more fit beside the single tokens, in base64."""
    each = (sum(its.itemsize for its in table.tensors().values()) for table in counts.tables)
    return max(0, int(COUNTS_BYTES * 3 / 4) // max(each) - counts.ngrams()[0])


def _data(model: Model, weights: dict[str, Any]) -> dict[str, Any]:
    """Return what model.js and tokenizer.js read."""
    language, counts = model.language, model.counts
    return {
        "config": {name: getattr(model.config, name) for name in _OF_THE_SHAPE},
        "weights": weights,
        "size": language.tokenizer.size,
        "first": NO_TOKEN if language.labels else language.start.first_input,
        "labels": list(language.labels.names) if language.labels else [],
        "sequences": language.sequences,
        "end": model.counts_eos(),
        "text": _text(language.tokenizer),
        "weight": model.counts_weight,
        "counts": [_packed(table) for table in (counts.tables if counts else ())],
        "share": counts.share if isinstance(counts, LabelCounts) else 0,
    }


def _packed(table: Counts) -> dict[str, Any]:
    return {name: packed(array) for name, array in table.tensors().items()} | table.facts()


def _base64(values: Any) -> int:
    """Return how many bytes of base64 there are in packed arrays, which stand in lists and
    dictionaries."""
    if isinstance(values, list):
        return sum(map(_base64, values))
    if not isinstance(values, dict):
        return 0
    return len(values.get("base64", "")) + sum(map(_base64, values.values()))


def _text(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return a vocabulary, and the rule of its words, but for a pattern of the user's, which no
    page runs."""
    fields = {"tokens": [], "lowercase": False} | tokenizer.to_dict()
    if not isinstance(tokenizer, WordTokenizer):
        return fields
    split = fields.pop("word_pattern") is not None
    return fields | {
        "split": split,
        "spaced": tokenizer.spaced,
        "newline": tokenizer.newline is not None,
    }


def _nats(model: Model, text: StoredIds) -> tuple[float | None, int]:
    """Return nats a token of a text, as training validates, and how many tokens were scored."""
    language = model.language
    tally = evaluate(model.engine, text, language.running, language.document)
    return (tally.mean, tally.count) if tally else (None, 0)


def _beginning(text: StoredIds, document: bool) -> StoredIds:
    """Return at most so many tokens of a text's beginning, of lines and paragraphs whole ones."""
    if len(text) <= MOST_MEASURED:
        return text
    ends = np.flatnonzero(text.read(0, MOST_MEASURED) == EOS)
    count = MOST_MEASURED if document or not len(ends) else int(ends[-1]) + 1
    return _BegunBeginning(text, count) if isinstance(text, Begun) else _Beginning(text, count)


@dataclass(frozen=True)
class _Beginning:
    """Implements `charlm.text.batches.StoredIds`: the first ids of others."""

    text: StoredIds
    count: int

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, count: int) -> Ids:
        return self.text.read(start, count)


@dataclass(frozen=True)
class _BegunBeginning(_Beginning):
    """Implements `charlm.text.batches.Begun` too."""

    text: Begun

    def firsts(self, start: int, count: int) -> Ids:
        return self.text.firsts(start, count)
