"""Parameters as named views on one flat vector, and scratch arrays that are reused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
State: TypeAlias = tuple[Array, ...]  # each [layers, B, H]: (h,) or, for an LSTM, (h, c)


def places(shapes: Mapping[str, Shape]) -> dict[str, slice]:
    """Return where in the flat vector each parameter stands."""
    ends = itertools.accumulate(map(math.prod, shapes.values()))
    return {name: slice(end - math.prod(shapes[name]), end) for name, end in zip(shapes, ends, strict=True)}


class Params(Mapping[str, Array]):
    """Named arrays that are views on one contiguous vector, `flat`.

    Gradients and optimizer moments are twins of the parameters, so clipping, zeroing and stepping are one
    operation on one vector.
    """

    def __init__(
        self, shapes: Mapping[str, Shape], dtype: DTypeLike = np.float32, flat: Array | None = None
    ) -> None:
        """Make zeros, or view the vector `flat` of the right size, whose type then counts."""
        self.shapes = dict(shapes)
        size = sum(math.prod(shape) for shape in shapes.values())
        self.flat: Array = np.zeros(size, dtype) if flat is None else flat
        self._views = {name: self.flat[part].reshape(shapes[name]) for name, part in places(shapes).items()}
        self._parts: dict[str, Params] = {}

    def twin(self) -> Params:
        """Zeros of the same names, shapes and type."""
        return Params(self.shapes, self.flat.dtype)

    def under(self, prefix: str) -> Params:
        """View the parameters whose names begin with a prefix, under the rest of their names.

        They must stand side by side in the order of the names (ValueError).
        """
        found = self._parts.get(prefix)
        if found is None:
            where = {
                name: part for name, part in places(self.shapes).items() if name.startswith(prefix)
            }
            shapes = {name.removeprefix(prefix): self.shapes[name] for name in where}
            ends = [part.stop for part in where.values()]
            if [part.start for part in where.values()][1:] != ends[:-1]:
                raise ValueError(f"the parameters under {prefix} do not stand side by side")
            start = next(iter(where.values())).start if where else 0
            found = Params(shapes, self.flat.dtype, self.flat[start : ends[-1] if where else 0])
            self._parts[prefix] = found
        return found

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def affine(self, weight: str, bias: str | None, x: Array, out: Array) -> Array:
        """Write x [N, D] times the transpose of a weight [M, D], plus a bias [M], to `out` [N, M], and return it."""
        np.matmul(x, self[weight].T, out=out)
        if bias is not None:
            out += self[bias]
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


def rows_of(x: Array) -> Array:
    """View [T, B, D] as [T·B, D]."""
    return x.reshape(-1, x.shape[-1])


class Workspace:
    """Scratch arrays by name: asked for again, the same memory comes back, grown where it must.

    What an array held before is undefined, and it is valid until the name is asked for again.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Array] = {}

    def __call__(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        size = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.size < size or memory.dtype != dtype:
            memory = self._memory[name] = np.empty(size, dtype)
        return memory[:size].reshape(shape)
