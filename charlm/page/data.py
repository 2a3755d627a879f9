"""What the page's scripts read: JSON in a block that no text in it can close, arrays packed as
base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.page.markup import Markup

DTYPES = ("f2", "f4", "i1", "u1", "i2", "u2", "i4", "u4")  # what frame.js unpacks
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\x7f"})


def packed(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array as JSON: its type, its shape and its bytes, little endian, in C order, as
    base64.

    Raises ValueError where it is not finite, or of a type that the page cannot unpack: give float16
    or float32, or integers of up to 32 bits.

    >>> packed(np.array([1, 2], np.int8))
    {'dtype': 'i1', 'shape': [2], 'base64': 'AQI='}
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("the page has no numbers that are not finite")
    code = array.dtype.str[1:]
    if code not in DTYPES:
        raise ValueError(f"the page unpacks no {array.dtype}: give one of {', '.join(DTYPES)}")
    content = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
    return {"dtype": code, "shape": list(array.shape), "base64": base64.b64encode(content).decode()}


def block(name: str, data: Mapping[str, Any]) -> Markup:
    """Return the data block of a section, in ASCII; ValueError where a number in it is not
    finite."""
    content = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(
        f'<script type="application/json" id="data-{name}">{content.translate(_ESCAPES)}</script>'
    )
