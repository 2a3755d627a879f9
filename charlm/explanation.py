"""What made a token of a text likely or not, character by character, and how far back it
reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charlm import checks
from charlm.errors import UsageError
from charlm.inspection import MOST_BACK, Memory, inspect, memory_of, spread, steps_learnt
from charlm.model import Model

_BEGINNING = "<beginning>"


@dataclass(frozen=True)
class Earlier:
    """A token that was read before the one in question, `back` steps before; 1 is the last one
    read.

    worth: to first order, how many nats of log p would be lost without its vector (gradient times
    input): below 0 where it made the token less probable. gradient: the length of the gradient of
    the loss with respect to the state before it was read, in nats per unit of the state; None where
    that state is the zero of a text's beginning.
    """

    token: str
    place: int
    back: int
    worth: float
    gradient: float | None


@dataclass(frozen=True)
class Explanation:
    """What the network of a model goes by at one token of a text.

    `place` counts tokens from 1; what a text begins with has place 0. logprob: log p in nats by the
    network alone, without counts. earlier: the tokens before it, the last one first. memory: of the
    tokens of the whole text, or of 200 spread over it. seq_len: after how many steps training cut
    the gradients, where the model says so.
    """

    text: str
    token: str
    place: int
    tokens: int
    logprob: float
    earlier: tuple[Earlier, ...]
    memory: Memory
    seq_len: int | None

    @property
    def bits(self) -> float:
        """The surprisal: -log2 p."""
        return -self.logprob / math.log(2)


def explain(model: Model, text: str, place: int = -1) -> Explanation:
    """Return what bears on the token at `place`, counted from 1, or from the end below 0.

    Raises UsageError for a text without a token, a place that it has not, and a model without a
    network.
    """
    place = checks.whole("place", place)
    pieces = model.tokenizer.pieces(checks.text("text", text))
    if not pieces:
        raise UsageError("the text has no tokens, so nothing is to be explained: give one that has")
    if not 1 <= abs(place) <= len(pieces):
        raise UsageError(
            f"token must be from 1 to {len(pieces):,}, or from -{len(pieces):,} to -1, not {place}"
        )
    inspection = inspect(model, [text])
    step = place - 1 if place > 0 else len(pieces) + place
    steps = np.union1d(spread(np.arange(len(pieces))), [step])
    found = inspection.recall(steps)
    row = int(np.searchsorted(steps, step))
    before = [_BEGINNING, *pieces][step::-1][:MOST_BACK]  # what each step has read, the last first
    figures = zip(found.worth[row].tolist(), found.slope[row].tolist(), strict=True)
    earlier = tuple(
        Earlier(token, step - k, k + 1, worth, None if math.isnan(slope) else slope)
        for k, (token, (worth, slope)) in enumerate(zip(before, figures, strict=False))
    )
    memory = memory_of(found.slope, fewest=1)
    logprob, cut = -float(found.nats[row]), steps_learnt(model)
    return Explanation(text, pieces[step], step + 1, len(pieces), logprob, earlier, memory, cut)
