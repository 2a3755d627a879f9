"""The compiled inner loops of kernel.c, where they were built: called through ctypes, which lets other threads run.

NumPy does the same work where there are none, in float64, or where CHARLM_KERNEL=numpy says so; CHARLM_KERNEL may
also name a target below this machine's best: avx2, base.
"""

from __future__ import annotations

import ctypes
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

from charlm.errors import UsageError
from charlm.nn.params import Array

FEW_STEPS = 4  # up to so many, laying the weights out anew costs more than it saves


_TARGETS = ["numpy", "base", "avx2", "avx512"]  # the later the faster


def _open() -> tuple[ctypes.CDLL | None, str]:
    """Return the library, or None, and the target whose functions to call."""
    library = next(map(ctypes.CDLL, _built()), None)
    best = "numpy"
    if library is not None:
        library.best_target.restype = ctypes.c_char_p
        best = library.best_target().decode()
    target, allowed = os.environ.get("CHARLM_KERNEL") or best, _TARGETS[: _TARGETS.index(best) + 1]
    if target not in allowed:
        raise UsageError(f"CHARLM_KERNEL is {target!r}, but must be one of {', '.join(allowed)} here")
    return (None if target == "numpy" else library), target


def _built() -> list[str]:
    paths = [Path(__file__).with_name(f"_kernel{suffix}") for suffix in EXTENSION_SUFFIXES]
    return [str(path) for path in paths if path.exists()]


_library, target = _open()


def serves(array: Array) -> bool:
    """Return whether there are compiled loops for arrays of this type."""
    return _library is not None and array.dtype == np.float32


def call(name: str, *arguments: Array | int | float | None) -> None:
    """Call a function of kernel.c by name; arrays must be dense (ValueError). Raises MemoryError."""
    function = getattr(_library, f"{name}_{target}")
    if function(*map(_to_c, arguments)):
        raise MemoryError


def _to_c(value: Array | int | float | None) -> ctypes.c_void_p | ctypes.c_long | ctypes.c_float | None:
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise ValueError("the compiled loops take dense arrays only")
        return ctypes.c_void_p(value.ctypes.data)
    if value is None:
        return None
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_long(value)
