"""HTML and SVG in which a text can only ever be a text: `tag` is the one way to make markup.

What it writes is also well-formed XML, so that a drawing can stand in a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Attribute = str | int | float | bool | None

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9:-]*")
_VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})
# What no XML may have: control characters, lone surrogates, and the two that are no characters.
_NO_CHARACTER = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\r": "&#13;"}
_ESCAPED = str.maketrans(_ESCAPES)


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is right as it stands. Only this module makes it from text."""

    html: str

    def __str__(self) -> str:
        return self.html


def text(value: object) -> Markup:
    """Return a text as markup that shows it; what HTML cannot hold is shown as U+FFFD."""
    return Markup(_NO_CHARACTER.sub("\ufffd", str(value)).translate(_ESCAPED))


def tag(name: str, attributes: Mapping[str, Attribute] | None = None, *children: object) -> Markup:
    """Return an element; children that are no Markup are texts, and None among them is left out.

    An attribute that is True stands without a value; one that is False or None is left out.

    Raises ValueError for a name that is none, for attributes that the page's policy forbids
    (`style`, `on...`), and for an address outside the page.

    >>> str(tag("p", {"class": "note"}, "1 < 2, ", tag("b", None, "always")))
    '<p class="note">1 &lt; 2, <b>always</b></p>'
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!a} is no name of an element")
    opening = f"<{name}{''.join(_attribute(*pair) for pair in (attributes or {}).items())}>"
    if name in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Return texts and markup in a row."""
    shown = (child for child in children if child is not None)
    return Markup(
        "".join(str(child if isinstance(child, Markup) else text(child)) for child in shown)
    )


def _attribute(name: str, value: Attribute) -> str:
    lower = name.lower()
    if not _ATTRIBUTE.fullmatch(name) or lower == "style" or lower.startswith("on"):
        raise ValueError(
            f"{name!a} is no attribute of the page: style goes into a .css, what happens into a .js"
        )
    if value is None or value is False:
        return ""
    if lower in ("href", "src", "action", "formaction", "srcset", "xlink:href"):
        inside = isinstance(value, str) and value.startswith(("#", "data:image/"))
        if not inside:
            raise ValueError(f"{value!a} is outside the page")
    # XML has no attribute without a value, and HTML takes an empty one for it
    return f' {name}="{"" if value is True else text(value)}"'
