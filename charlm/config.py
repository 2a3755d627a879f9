"""Settings as frozen values: what a text is, what a model is, how it is trained.

Each class checks its own ranges when made, so a value that exists is a value that works. `to_dict` and
`from_dict` are the way to JSON and TOML and back.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from charlm.cells import CELLS
from charlm.errors import UsageError

TOKENIZERS = ("char", "byte", "word")
SEQUENCES = ("auto", "line", "paragraph", "document")
CONTEXTS = ("auto", "sequence", "newline", "stream")
HOLD_OUTS = ("auto", "files", "parts")
NONLINEARITIES = ("tanh", "relu")
LABELS = ("file", "tab", "prefix", "first-word")  # where the label of a text stands
UNITS = ("words", "characters")  # what has a tag each
PRIORS = ("training", "uniform")  # how probable a label is before a text is read
POOLINGS = ("last", "mean", "max", "attention")
OPTIMIZERS = ("adam", "muon", "sgd", "rmsprop")
SCHEDULES = ("cosine", "linear", "constant", "step", "plateau")
ENGINES = ("numpy", "torch")
LIMITS = ("epochs", "steps", "minutes")  # of a run, which has one at most
PRECISIONS = ("float32", "tf32", "bfloat16")

_MOST_LAYERS, _WIDEST = 100, 1 << 16  # beyond any use; a hostile file cannot ask for more
_MOST_THREADS = 1024  # each has gradients of its own
_LONGEST = 1e9  # epochs or minutes
_LARGEST = 1e30  # of what float32 multiplies with
_INT64 = 1 << 63  # TOML and NumPy have no larger whole numbers
_IN_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list of texts",
             dict: "a table"}  # fmt: skip

MOST_COUNTED = 10  # tokens of an n-gram
MOST_LABELS = 1 << 16  # different ones; more are no kinds of text

NO_TOKEN = -1  # the input id that stands for the zero vector: batches hold it, the token input reads it


@dataclass(frozen=True)
class Section:
    """Type checks, and conversion to and from plain dictionaries, shared by the frozen dataclasses below."""

    def __post_init__(self) -> None:
        hints = _type_hints(type(self))  # type: ignore[arg-type]  # classes can be hashed
        for name in hints:
            check_type(_as_option(name), getattr(self, name), hints[name])

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a dictionary, refusing unknown and missing names and wrong types (UsageError)."""
        fields = cls.__dataclass_fields__
        for name in values:
            if name not in fields:
                raise UsageError(f"unknown setting {name!r}")
        for name, field in fields.items():
            if field.default is dataclasses.MISSING and name not in values:
                raise UsageError(f"the setting {_as_option(name)} is missing")
        return cls(**values)


@functools.cache
def _type_hints(section: Any) -> dict[str, Any]:
    """Return the types of a class's fields: found once, since that compiles annotations, and no file may cause it."""
    return typing.get_type_hints(section)


def check_type(name: str, value: object, hint: Any) -> None:
    """Raise UsageError unless `value` is exactly of type `hint`: no text for a number, no fraction for a whole number.

    A whole number may stand for a fraction. No number is NaN or infinite or beyond 64 bits, and no text holds a NUL:
    no setting has a use for one. `hint` is int, float, bool, str, list, dict, None, or a union of these; the items of
    a list are texts.
    """
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = type(value)
    if kind not in allowed and not (kind is int and float in allowed):
        wanted = " or ".join(_IN_WORDS[each] for each in allowed if each in _IN_WORDS)
        raise UsageError(f"{name} must be {wanted}, not {_shown(value)}")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise UsageError(f"{name} must be a number of at most 64 bits, not {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value}")
    if isinstance(value, str) and "\0" in value:
        raise UsageError(f"{name} must be a text without NUL characters, not {value!r:.80}")
    if isinstance(value, list):
        for item in value:
            check_type(f"each of {name}", item, str)


def have_counts(names: Sequence[str], counts: object) -> bool:
    """Say whether a file has two or more different names, and a list with a count of each.

    A count is at least 0 and below 2^53: as many as float64 counts.
    """
    if not isinstance(counts, list) or not len(counts) == len(names) == len(set(names)) >= 2:
        return False
    return all(type(count) is int and 0 <= count < 1 << 53 for count in counts)


def _shown(value: object) -> str:
    """Return a value as an error shows it: in one short line, also a number that Python refuses to write out."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"one of {value.bit_length():,} bits"
    return f"{value!r:.80}"


def _as_option(name: str) -> str:
    """Return a setting's name as the user writes it."""
    return name.replace("_", "-")


def path_given(name: str, path: str | os.PathLike[str]) -> str:
    """Return a path that somebody gave under a name; raises TypeError or UsageError for what is no path."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str or a path, not {type(path).__name__}")
    if not text:
        raise UsageError(f"{name} is empty: give the path of a file or a directory")
    if "\0" in text:
        raise UsageError(f"{name} has a NUL character, which no path can have: {text!r}")
    return text


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise UsageError unless a setting has one of the values allowed."""
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {value!r:.80}")


def within(name: str, value: float | None, low: float, high: float = math.inf) -> None:
    """Raise UsageError unless low <= value <= high; None means not given."""
    if value is not None and not low <= value <= high:
        limits = f"{low} or more" if high == math.inf else f"between {low:,} and {high:,}"
        raise UsageError(f"{name} must be {limits}, not {value}")


def share(name: str, value: float) -> None:
    """Raise UsageError unless a share is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise UsageError(f"{name} must be at least 0 and below 1, not {value}")


def _positive(name: str, value: float | None, high: float) -> None:
    if value is not None and not 0 < value <= high:
        raise UsageError(f"{name} must be above 0 and at most {high:g}, not {value}")


def refuse_cell(cell: str, engine: str) -> None:
    """Raise UsageError where an engine has not got a cell."""
    if engine == "torch" and CELLS[cell].torch is None:
        raise UsageError(f"engine torch has no cell {cell}, which PyTorch lacks: leave --engine torch out")


@dataclass(frozen=True)
class TextConfig(Section):
    """How a corpus becomes token ids, and which part of it is for what."""

    tokenizer: str = "char"
    lowercase: bool = False
    punctuation: bool = True
    word_pattern: str | None = None
    vocab_size: int | None = None
    min_count: int | None = None
    sequences: str = "auto"
    context: str = "auto"
    encoding: str = "utf-8"
    valid_fraction: float = 0.1
    test_fraction: float = 0.0
    split_seed: int = 0
    hold_out: str = "parts"  # as before there was a choice; a new run has "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("tokenizer", self.tokenizer, TOKENIZERS)
        one_of("sequences", self.sequences, SEQUENCES)
        one_of("context", self.context, CONTEXTS)
        one_of("hold-out", self.hold_out, HOLD_OUTS)
        within("vocab-size", self.vocab_size, 3)
        within("min-count", self.min_count, 1)
        within("valid-fraction", self.valid_fraction, 0, 1)
        within("test-fraction", self.test_fraction, 0, 1)
        within("split-seed", self.split_seed, 0)
        if self.valid_fraction + self.test_fraction >= 1:
            raise UsageError("valid-fraction and test-fraction leave nothing to train on: their sum must be below 1")
        if self.tokenizer != "word" and (self.word_pattern is not None or not self.punctuation):
            raise UsageError("word-pattern and no-punctuation need tokenizer word")
        if self.tokenizer == "byte" and (self.lowercase or self.vocab_size or self.min_count):
            raise UsageError("lowercase, vocab-size and min-count do not go with tokenizer byte: it keeps every byte")
        if self.word_pattern is not None and re.search("[\ud800-\udfff]", self.word_pattern):
            raise UsageError("word-pattern holds a byte that is no UTF-8, which no text can match")
        if self.word_pattern is not None and not self.punctuation:
            raise UsageError("give word-pattern or no-punctuation, not both: the pattern says what a word is")


@dataclass(frozen=True)
class ModelConfig(Section):
    """The shape of a network: everything that decides which tensors it has and what it computes."""

    vocab_size: int
    cell: str = "gru"
    nonlinearity: str = "tanh"
    layers: int = 1
    hidden: int = 256
    embedding: int = 64
    dropout: float = 0.0
    tie: bool = False
    layer_norm: bool = False
    residual: bool = False
    bidirectional: bool = False
    head_layers: int = 0
    head_hidden: int | None = None  # as wide as what the layers on top read
    beginnings: int = (
        0  # labels: a text begins with a vector of its label's in the place of the zero vector
    )

    @property
    def inputs(self) -> int:
        """How many different inputs the embedding has a row for: the tokens, then the beginnings.
        """
        return self.vocab_size + self.beginnings

    @property
    def width(self) -> int:
        """The number of values that come out of the recurrent layers at each step."""
        return self.hidden * (2 if self.bidirectional else 1)

    @property
    def head_width(self) -> int:
        """The number of values that the softmax reads."""
        return self.head_hidden or self.width

    def __post_init__(self) -> None:
        super().__post_init__()
        within("vocab-size", self.vocab_size, 2)
        one_of("cell", self.cell, tuple(CELLS))
        one_of("nonlinearity", self.nonlinearity, NONLINEARITIES)
        within("layers", self.layers, 0, _MOST_LAYERS)
        within("hidden", self.hidden, 1, _WIDEST)
        within("embedding", self.embedding, 0, _WIDEST)
        share("dropout", self.dropout)
        if self.nonlinearity != "tanh" and CELLS[self.cell].own_nonlinearity:
            raise UsageError(f"nonlinearity {self.nonlinearity} needs cell rnn: a {self.cell} has its own")
        self._check_top()

    def _check_top(self) -> None:
        """Check what stands on top of the recurrent layers, and whether it fits them."""
        within("head-layers", self.head_layers, 0, _MOST_LAYERS)
        within("head-hidden", self.head_hidden, 1, _WIDEST)
        within("beginnings", self.beginnings, 0, MOST_LABELS)
        if self.tie and self.beginnings:
            raise UsageError(
                "tie does not go with labels: they have rows of the embedding, which the output has not"
            )
        if self.head_hidden is not None and not self.head_layers:
            raise UsageError("head-hidden needs head-layers: it is the width of those layers")
        if self.tie and self.bidirectional:
            raise UsageError("tie does not go with bidirectional: only a language model's softmax has a row a token")
        if self.tie and self.embedding != self.head_width:
            last = "hidden" if self.head_hidden is None else "head-hidden"
            raise UsageError(f"tie needs embedding ({self.embedding}) and {last} ({self.head_width}) to be equal")

    @property
    def format(self) -> int:
        """Which format of model files can hold such a network: an older charlm knows 1 alone."""
        return (
            2
            if self.bidirectional or self.head_layers or self.beginnings
            else CELLS[self.cell].format
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields; those that the first model files lack only where they say something."""
        values = super().to_dict()
        silent = [name for name in LATER if values[name] == self.__dataclass_fields__[name].default]
        return {name: value for name, value in values.items() if name not in silent}


@dataclass(frozen=True)
class LanguageConfig(Section):
    """What only a language model has: counts of n-grams beside the network.

    counts: the order of the n-grams of its text, 0 for none. counts_from: an ARPA file that has them instead.
    """

    counts: int = 0
    counts_from: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        within("counts", self.counts, 0, MOST_COUNTED)
        if self.counts and self.counts_from is not None:
            raise UsageError("give counts or counts-from, not both: the file says how long its n-grams are")

    @property
    def counted(self) -> bool:
        """Whether there are counts."""
        return bool(self.counts) or self.counts_from is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, none where nothing is counted: so that such a run is the one that it was before."""
        return super().to_dict() if self.counted else {}


OF_TEXT = (
    "vocab_size",
    "beginnings",
)  # of a model's shape: what a corpus leads to, so no setting has it
LATER = (
    "bidirectional",
    "head_layers",
    "head_hidden",
    "beginnings",
)  # a model without them keeps its file's bytes


def check_language(model: ModelConfig) -> None:
    """Raise UsageError where a language model cannot have this shape."""
    if model.bidirectional:
        raise UsageError(
            "bidirectional does not go with a language model: it predicts what comes next, "
            "which the backward direction would have read"
        )


@dataclass(frozen=True)
class TrainConfig(Section):
    """How a network is trained: the optimizer and its schedule, batches, when to stop, when to report."""

    optimizer: str = "adam"
    lr: float = 0.002
    schedule: str = "cosine"
    warmup: int = 0
    lr_decay: float = 0.5
    lr_decay_after: float = 4.0
    clip: float = 1.0
    weight_decay: float = 0.0
    momentum: float = 0.9
    skip_nan: bool = False
    batch_size: int = 64
    seq_len: int = 64
    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None
    patience: int | None = None
    seed: int = 0
    threads: int | None = None
    engine: str = "numpy"
    device: str = "auto"
    precision: str = "float32"
    eval_every: int | None = None
    save_every: int | None = None
    log_every: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("engine", self.engine, ENGINES)
        one_of("precision", self.precision, PRECISIONS)
        if self.engine == "numpy" and self.device not in ("auto", "cpu"):
            raise UsageError(f"device {self.device} needs --engine torch: NumPy computes on the processor")
        if self.engine == "numpy" and self.precision != "float32":
            raise UsageError(f"precision {self.precision} needs --engine torch: NumPy computes in float32")
        for name in ("lr", "clip"):
            _positive(name, getattr(self, name), _LARGEST)
        for name in ("epochs", "minutes"):
            _positive(name, getattr(self, name), _LONGEST)
        for name in ("warmup", "lr_decay_after", "seed"):
            within(_as_option(name), getattr(self, name), 0)
        for name in ("batch_size", "seq_len", "steps", "patience", "eval_every", "save_every", "log_every"):
            within(_as_option(name), getattr(self, name), 1)
        within("threads", self.threads, 1, _MOST_THREADS)
        within("weight-decay", self.weight_decay, 0, _LARGEST)
        within("lr-decay", self.lr_decay, 0, 1)
        share("momentum", self.momentum)
        if sum(getattr(self, name) is not None for name in LIMITS) > 1:
            raise UsageError("give one of epochs, steps and minutes, not several")
