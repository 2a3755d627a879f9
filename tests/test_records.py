"""Lines for other programs: whatever bytes a text has, JSON parses, columns stay apart, and the text comes back."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.cli.records import to_field, to_json

BYTES = st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape"))
TEXTS = st.text(st.characters(codec=None), max_size=40) | BYTES
VALUES = st.recursive(TEXTS | st.floats() | st.integers() | st.none() | st.booleans(), lambda inner: st.lists(inner)
                      | st.dictionaries(TEXTS, inner) | st.tuples(inner, inner), max_leaves=8)  # fmt: skip


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def as_json_has_it(value):
    if isinstance(value, dict):
        return {key: as_json_has_it(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json_has_it(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(VALUES)
def test_json_of_anything_is_a_line_of_utf8_and_comes_back(value):
    line = to_json(value)
    assert json.loads(line.encode("utf-8").decode("utf-8"), parse_constant=refuse) == as_json_has_it(value)
    assert len(line.splitlines()) <= 1
    assert not [character for character in line if ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0]


@given(TEXTS)
def test_a_field_is_one_field_and_comes_back(text):
    field = to_field(text)
    assert len(f"a\t{field}".split("\t")) == 2
    assert len(field.splitlines()) <= 1
    escaped = "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in field)
    assert escaped.encode("ascii").decode("unicode_escape") == text


@pytest.mark.parametrize(
    ("value", "field"), [(None, "NA"), (1.5, "1.5"), ("a\tb\\", "a\\tb\\\\"), ("\x1b[2J\x85", "\\x1b[2J\\x85")]
)
def test_fields_as_they_look(value, field):
    assert to_field(value) == field
