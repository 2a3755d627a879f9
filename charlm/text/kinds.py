"""Of which kind a character is: what the shape of a word tells of one that was never seen."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.text.tokenizers import EOS, SPECIALS, UNK

_KINDS = {
    "Lu": 0,
    "Lt": 0,
    "Ll": 1,
    "Nd": 2,
    "Nl": 2,
    "No": 2,
    "Lo": 3,
    "Lm": 3,
    "Mn": 4,
    "Mc": 4,
    "Me": 4,
}
_OTHER, _UNKNOWN = 5, 6  # punctuation and all else; a character that training did not have
_FIRST = 1 << 21  # beyond every character's id


def kinds_of(characters: Sequence[str]) -> NDArray[np.int32]:
    """Return an id for the kind of each character by the character's own id, [2 + n]: the two
    specials come first.

    Capitals, small letters, digits, other letters, marks and everything else are told apart, and
    what is unknown, of whatever kind; EOS stays EOS.

    >>> kinds_of("Ba9b")[2:] - kinds_of("A")[2]
    array([0, 1, 2, 1], dtype=int32)
    """
    kinds = np.empty(len(SPECIALS) + len(characters), np.int32)
    kinds[EOS], kinds[UNK] = EOS, _FIRST + _UNKNOWN
    kinds[len(SPECIALS) :] = [
        _FIRST + _KINDS.get(unicodedata.category(c), _OTHER) for c in characters
    ]
    return kinds
