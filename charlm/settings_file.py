"""Settings as TOML, and back: what a run writes as config.toml, and what `--config` reads."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from charlm.errors import NO_ACCESS, DataError, MissingInputError, StorageError, UsageError

_PATHS = ("corpus", "valid_file", "test_file", "init_from", "counts_from")
_URI = "file://"
_NO_UTF8 = re.compile("[\ud800-\udfff]")


def to_toml(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML under the names of the command line's options; those that are None are left out.

    TOML is UTF-8, and the name of a file need not be: such a path is written as a file URI, which has its bytes.
    """
    lines = [
        f"{name.replace('_', '-')} = {_value([*map(_as_uri, value)] if _is_list(value) else _as_uri(value))}\n"
        for name, value in settings.items()
        if value is not None
    ]
    return "".join(lines)


def read_toml(path: str) -> dict[str, Any]:
    """Return the settings that a TOML file has, by option name with underscores; a file URI there is a path.

    Raises MissingInputError, StorageError, DataError where the file is not TOML, and UsageError where a setting is
    there both with - and with _.
    """
    try:
        with open(path, "rb") as file:
            settings = tomllib.load(file)
    except OSError as error:
        kind = MissingInputError if error.errno in NO_ACCESS else StorageError
        raise kind(f"{path}: {error.strerror}; give a TOML file with --config") from None
    except (ValueError, RecursionError) as error:  # ValueError: also of numbers too long, and bytes that are no UTF-8
        raise DataError(f"{path} is not TOML: {error}") from None
    values = {name.replace("-", "_"): value for name, value in settings.items()}
    if len(values) < len(settings):
        twice = sorted(name for name in settings if "-" in name and name.replace("-", "_") in settings)
        raise UsageError(f"{', '.join(twice)} is there twice, with - and with _: leave one out")
    for name in values.keys() & set(_PATHS):
        value = values[name]
        values[name] = [*map(_from_uri, value)] if _is_list(value) else _from_uri(value)
    return values


def _value(value: Any) -> str:
    """Return a value as TOML: as JSON, that is, save that TOML wants DEL escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _as_uri(value: Any) -> Any:
    if isinstance(value, str) and _NO_UTF8.search(value):
        return _URI + quote_from_bytes(os.fsencode(value))
    return value


def _from_uri(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_URI):
        return os.fsdecode(unquote_to_bytes(value.removeprefix(_URI)))
    return value
