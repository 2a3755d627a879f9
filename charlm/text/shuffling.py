"""An order of the numbers 0 to n - 1 that is computed and not stored, so that memory does not grow
with n.

A Feistel network (Luby and Rackoff 1988) permutes the numbers of so many bits as n needs. Each
round adds to one half a keyed hash of the other, which the next round can take off again:

    left ^= hash(key, right)        right ^= hash(key', left)        and so on

What falls outside n is permuted again until it falls inside (cycle walking, Black and Rogaway
2002): the cycle that a number lies on comes back to it, so it has a place inside, and only one
number leads there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charlm.text.splitting import mix

_ROUNDS = 8


class Order:
    """A pseudo-random order of 0 to `count` - 1, the same for the same (seed, number)."""

    def __init__(self, count: int, seed: int, number: int) -> None:
        bits = max(2, (count - 1).bit_length())
        self._count, self._right = np.uint64(count), np.uint64(bits // 2)
        self._left_mask = np.uint64((1 << (bits - bits // 2)) - 1)
        self._right_mask = np.uint64((1 << (bits // 2)) - 1)
        self._keys = np.random.default_rng([seed, number]).integers(0, 1 << 64, _ROUNDS, np.uint64)

    def __len__(self) -> int:
        return int(self._count)

    def at(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers [n] at places start:stop of the order."""
        numbers = self._permuted(np.arange(start, min(stop, len(self)), dtype=np.uint64))
        while (outside := numbers >= self._count).any():
            numbers[outside] = self._permuted(numbers[outside])
        return numbers.astype(np.int64)

    def _permuted(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = numbers >> self._right, numbers & self._right_mask
        for first, second in self._keys.reshape(-1, 2):
            left ^= mix(right + first) & self._left_mask
            right ^= mix(left + second) & self._right_mask
        return left << self._right | right
