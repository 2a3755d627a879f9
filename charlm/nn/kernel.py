"""The compiled inner loops of kernel.c, where they were built: called through ctypes, which lets other threads run.

NumPy does the same work where there are none, in float64, or where CHARLM_KERNEL=numpy says so; CHARLM_KERNEL may
also name a target below this machine's best: avx2, base.
"""

from __future__ import annotations

import ctypes
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np

from charlm.errors import UsageError
from charlm.nn.params import Array

FEW_STEPS = 4  # up to so many, laying the weights out anew costs more than it saves


_SOURCES = ["kernel.c", "counts.c"]  # in the order of setup.py
_TARGETS = ["numpy", "base", "avx2", "avx512"]  # the later the faster


def _open() -> tuple[ctypes.CDLL | None, str, str | None]:
    """Return the library, or None, the target whose functions to call, and why NumPy must do their work, if it must."""
    wanted = os.environ.get("CHARLM_KERNEL")
    if wanted == "numpy":
        return None, wanted, "CHARLM_KERNEL=numpy says so"
    library, reason = _built()
    best = library.best_target().decode() if library else "numpy"
    found, allowed = wanted or best, _TARGETS[: _TARGETS.index(best) + 1]
    if found not in allowed:
        raise UsageError(f"CHARLM_KERNEL is {found!r}, but must be one of {', '.join(allowed)} here")
    return library, found, reason


def _built() -> tuple[ctypes.CDLL | None, str | None]:
    """Open the library; where there is none of use return None and why, and warn of one that was built in vain."""
    here = Path(__file__)
    paths = [path for suffix in EXTENSION_SUFFIXES if (path := here.with_name(f"_kernel{suffix}")).exists()]
    others = [path for path in here.parent.glob("_kernel.*") if path.suffix in (".so", ".pyd", ".dylib")]
    if not paths and not others:
        return None, "none were built when charlm was installed: install a C compiler (gcc, clang), then charlm again"
    library, fault = _opened(paths[0]) if paths else (None, f"{others[0].name} is another Python's")
    if fault is None:
        return library, None
    reason = f"{fault}: NumPy does the work of the compiled loops until charlm is installed again"
    warnings.warn(reason, stacklevel=2)
    return None, reason


def _opened(path: Path) -> tuple[ctypes.CDLL | None, str | None]:
    """Open a library; with None comes what is wrong with it."""
    try:
        library = ctypes.CDLL(str(path))
        library.best_target.restype, library.source_crc.restype = ctypes.c_char_p, ctypes.c_uint32
    except (OSError, AttributeError) as error:
        return None, f"{path} cannot be used ({error})"
    sources = [path.with_name(name) for name in _SOURCES]
    if all(source.exists() for source in sources):
        crc = zlib.crc32(b"".join(source.read_bytes() for source in sources))
        if library.source_crc() != crc:
            return None, f"{' or '.join(_SOURCES)} changed after it was built"
    return library, None


_library, target, missing = _open()


def serves(array: Array) -> bool:
    """Return whether there are compiled loops for arrays of this type."""
    return _library is not None and array.dtype == np.float32


def call(name: str, *arguments: Array | Pointers | int | float | None) -> None:
    """Call a function of kernel.c by name; arrays must be dense (ValueError).

    Raises MemoryError, and IndexError where a function that checks indices found one out of range.
    """
    function = getattr(_library, f"{name}_{target}")
    if status := function(*map(_to_c, arguments)):
        raise IndexError("an index is out of range") if status == 2 else MemoryError


@contextmanager
def flushing() -> Iterator[None]:
    """Take float32 numbers below 1.2e-38 for zeros on this thread meanwhile, where they cost time.

    Where only a sequence's end is judged, the gradient is as small a hundred steps before it.
    """
    before = _library.flush_subnormal(1) if _library else 0
    try:
        yield
    finally:
        if _library:
            _library.flush_subnormal(before)


def panel() -> int:
    """Return the number of columns that stand together in weights in panels."""
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
