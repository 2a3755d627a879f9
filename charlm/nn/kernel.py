"""The compiled inner loops of kernel.c, where they were built: called through ctypes, which lets other threads run.

NumPy does the same work where there are none, in float64, or where CHARLM_KERNEL=numpy says so; CHARLM_KERNEL may
also name a target below this machine's best: avx2, base.
"""

from __future__ import annotations

import ctypes
import os
import warnings
import zlib
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np

from charlm.errors import UsageError
from charlm.nn.params import Array

FEW_STEPS = 4  # up to so many, laying the weights out anew costs more than it saves


_TARGETS = ["numpy", "base", "avx2", "avx512"]  # the later the faster


def _open() -> tuple[ctypes.CDLL | None, str]:
    """Return the library, or None, and the target whose functions to call."""
    library = _built()
    best = "numpy"
    if library is not None:
        library.best_target.restype = ctypes.c_char_p
        best = library.best_target().decode()
    target, allowed = os.environ.get("CHARLM_KERNEL") or best, _TARGETS[: _TARGETS.index(best) + 1]
    if target not in allowed:
        raise UsageError(f"CHARLM_KERNEL is {target!r}, but must be one of {', '.join(allowed)} here")
    return (None if target == "numpy" else library), target


def _built() -> ctypes.CDLL | None:
    """Open the library; None where none was built, or where it was built from another kernel.c than lies here."""
    paths = [Path(__file__).with_name(f"_kernel{suffix}") for suffix in EXTENSION_SUFFIXES]
    library = next((ctypes.CDLL(str(path)) for path in paths if path.exists()), None)
    source = Path(__file__).with_name("kernel.c")
    if library is None or not source.exists():
        return library
    crc: Any = getattr(library, "source_crc", lambda: None)
    crc.restype = ctypes.c_uint32
    if crc() != zlib.crc32(source.read_bytes()):
        warnings.warn("kernel.c changed after it was built: NumPy does its work until it is installed", stacklevel=2)
        return None
    return library


_library, target = _open()


def serves(array: Array) -> bool:
    """Return whether there are compiled loops for arrays of this type."""
    return _library is not None and array.dtype == np.float32


def call(name: str, *arguments: Array | Pointers | int | float | None) -> None:
    """Call a function of kernel.c by name; arrays must be dense (ValueError). Raises MemoryError."""
    function = getattr(_library, f"{name}_{target}")
    if function(*map(_to_c, arguments)):
        raise MemoryError


def panel() -> int:
    """Return the number of columns that stand together in packed weights."""
    return int(getattr(_library, f"panel_{target}")())


class Pointers:
    """An array of pointers to arrays, null for None; it keeps them alive."""

    def __init__(self, arrays: Sequence[Array | None]) -> None:
        self._arrays = [_to_c(array) for array in arrays]
        addresses = [None if array is None else ctypes.addressof(array) for array in self._arrays]
        self._as_parameter_ = (ctypes.c_void_p * len(arrays))(*addresses)


_Memory = ctypes.c_char * 0  # from_buffer makes it a pointer to an array, in a seventh of the time of `array.ctypes`


def _to_c(value: Array | Pointers | int | float | None) -> Any:
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise ValueError("the compiled loops take dense arrays only")
        return _Memory.from_buffer(value)  # type: ignore[arg-type]  # the buffer protocol of an array
    if value is None or isinstance(value, Pointers):
        return value
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_long(value)
