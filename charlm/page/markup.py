"""What sections are made with: markup, in which a text stays a text, and the pieces that all of
them use."""

from __future__ import annotations

from collections.abc import Sequence

from charlm.markup import Attribute, Markup, join, tag, text

__all__ = ["Attribute", "Markup", "join", "quoted", "table", "tag", "text"]


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """Return a table with a caption; the first cell of each row is its name."""
    head = tag("tr", None, *(tag("th", {"scope": "col"}, name) for name in header))
    body = (
        tag(
            "tr",
            None,
            tag("th", {"scope": "row"}, row[0]),
            *(tag("td", None, cell) for cell in row[1:]),
        )
        for row in rows
    )
    content = tag(
        "table",
        None,
        tag("caption", None, caption),
        tag("thead", None, head),
        tag("tbody", None, *body),
    )
    return tag(
        "div", {"class": "wide", "tabindex": 0, "role": "region", "aria-label": caption}, content
    )


def quoted(value: object) -> Markup:
    """Return a text of the user's that leaves the direction of what stands around it alone."""
    return tag("bdi", None, value)
