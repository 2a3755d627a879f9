"""How the losses of a language model are told: in one unit in a table, and by themselves in
nats."""

from __future__ import annotations

import math
from typing import Protocol

from charlm.scoring import percent
from charlm.text.tokenizers import Tokenizer

_TOO_WIDE = 1e6  # for a column of figures
_MOST_NATS = 700  # whose exponential is a number


class _Part(Protocol):
    """A part of a corpus: its tokens, of them unknown, its characters and texts."""

    def __len__(self) -> int: ...
    @property
    def unknown(self) -> int: ...
    @property
    def characters(self) -> int: ...
    @property
    def sequences(self) -> int: ...


class Losses:
    """Tells nats a token as people read them, given a corpus and how it became tokens.

    As in `charlm score`, there are no bits where a token is unknown or the tokenizer drops
    information.
    """

    def __init__(self, tokenizer: Tokenizer, train: _Part, valid: _Part, document: bool) -> None:
        self._tokenizer, self._parts = tokenizer, (("train", train), ("valid", valid))
        units = train.characters + (0 if document else train.sequences)
        self._bits = len(train) / units / math.log(2) if units else 0.0  # of a loss of one nat

    @property
    def unit(self) -> str:
        """The one unit of all losses in a table: perplexity for words, else bits or nats."""
        if self._tokenizer.kind == "word":
            return "perplexity"
        if any(part.unknown for _, part in self._parts) or not self._tokenizer.lossless:
            return "nats per token"
        return "bits per byte" if self._tokenizer.kind == "byte" else "bits per character"

    @property
    def said(self) -> str:
        """The unit in words, and which share of the tokens is unknown."""
        shares = ((name, part.unknown, len(part)) for name, part in self._parts if part.unknown)
        told = ", ".join(f"{name} {percent(*share)} unknown" for name, *share in shares)
        return f"losses in {self.unit}" + (f" ({told})" if told else "")

    def value(self, nats: float) -> str:
        """Return a loss in that unit, without it."""
        unit = self.unit
        if unit == "perplexity":
            value, decimals = math.exp(min(nats, _MOST_NATS)), 1
        else:
            value, decimals = (nats, 4) if unit == "nats per token" else (nats * self._bits, 3)
        return f"{value:,.{decimals}f}" if value < _TOO_WIDE else f"{value:.3g}"

    def figure(self, nats: float, unknown: int, tokens: int) -> str:
        """Return nats per token with what they mean, and which share of the tokens is unknown."""
        told = [f"{percent(unknown, tokens)} unknown"] if unknown else []
        if self._tokenizer.kind == "word":
            told.insert(0, f"perplexity {math.exp(min(nats, _MOST_NATS)):,.1f}")
        elif not unknown and self._tokenizer.lossless:
            unit = "byte" if self._tokenizer.kind == "byte" else "char"
            told.append(f"{nats * self._bits:.3f} bits/{unit}")
        return f"{nats:.4f} nats" + (f" ({', '.join(told)})" if told else "")
