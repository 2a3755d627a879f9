"""What other programs read: a value as one line of JSON, a text as one field of a TSV line."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# What JSON leaves as it is and a reader may trip over: control characters, other ends of lines, halves of characters.
_ODD_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ODD_IN_TSV = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHORT = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def to_json(value: Any) -> str:
    r"""Return a value as one line of JSON that any parser takes, in UTF-8 whatever its texts hold.

    A byte 0xNN that is no UTF-8, which a text has as a lone surrogate, is the escape \udcNN, so that nothing is
    lost; JSON has no infinity and no NaN: they are null.
    """
    try:
        line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        line = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    return _ODD_IN_JSON.sub(_code, line)


def to_field(value: Any) -> str:
    r"""Return a value as one field of a TSV line: NA for None, and in a text no tab and no end of a line.

    Backslashes and control characters are written as Python and C write them: \\, \t, \n, \r, \xNN, \uNNNN.
    """
    if value is None:
        return "NA"
    return _ODD_IN_TSV.sub(_escape, value) if isinstance(value, str) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _code(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
