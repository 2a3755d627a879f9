"""The whole page: sections, their data, one style and one script, and a policy that allows nothing
else.

The policy names the hashes of the very bytes of style and script; a browser runs and shows no
others, and asks for nothing outside the file.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from charlm.page.data import block
from charlm.page.markup import Markup, join, tag
from charlm.page.script import compact

MOST_LETTERS_OF_A_TITLE = 100
_ICON = (  # else a browser asks the server for one
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='3' fill='%230b57a4'/%3E"
    "%3Cpath d='M2 5l5 6 3-3 4 3' stroke='%23fff' stroke-width='2' fill='none'/%3E%3C/svg%3E"
)
_ID = re.compile(r"[a-z][a-z-]*")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Section:
    """A section of the page: `body` stands without script, `data` and `scripts` make it move.

    `name` is its id in the page and names its data block; `scripts` and `styles` are files of
    `charlm/page/`.
    """

    name: str
    title: str
    body: Markup
    data: Mapping[str, Any] = field(default_factory=dict)
    scripts: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()


def absent(name: str, title: str, why: str) -> Section:
    """Return a section of one sentence, which says why there is no more."""
    return Section(name, title, tag("p", {"class": "note"}, why))


def document(title: str, sections: Sequence[Section]) -> bytes:
    """Return the page of these sections in UTF-8; ValueError where a name is no id or is there
    twice."""
    names = [section.name for section in sections]
    if len(set(names)) < len(names) or not all(map(_ID.fullmatch, names)):
        raise ValueError(f"sections need different names of small letters: {names}")
    style, script = _style(sections), _script(sections)
    title = title[:MOST_LETTERS_OF_A_TITLE]
    head = tag(
        "head", None,
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": _policy(style, script)}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "color-scheme", "content": "light dark"}),
        tag("link", {"rel": "icon", "href": _ICON}),
        tag("title", None, title),
        Markup(f"<style>{style}</style>"),
    )  # fmt: skip
    data = [block(section.name, section.data) for section in sections if section.data]
    body = tag("body", None, *_body(title, sections), *data, Markup(f"<script>{script}</script>"))
    return f"<!doctype html>\n{tag('html', {'lang': 'en'}, head, body)}\n".encode()


def _body(title: str, sections: Sequence[Section]) -> Iterable[Markup]:
    yield tag("a", {"class": "skip", "href": "#content"}, "Skip to the content")
    links = (tag("li", None, tag("a", {"href": f"#{its.name}"}, its.title)) for its in sections)
    menu = (
        tag("nav", {"aria-label": "Sections"}, tag("ul", None, *links))
        if len(sections) > 1
        else None
    )
    yield tag("header", None, tag("h1", None, tag("bdi", None, title)), menu)
    yield tag("main", {"id": "content", "tabindex": -1}, *map(_section, sections))
    yield tag("p", {"id": "say", "class": "unseen", "role": "status", "aria-live": "polite"})


def _section(its: Section) -> Markup:
    heading = f"{its.name}-title"
    content = join(tag("h2", {"id": heading}, its.title), its.body)
    return tag("section", {"id": its.name, "aria-labelledby": heading}, content)


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _style(sections: Sequence[Section]) -> str:
    names = ["style.css", *_once(name for section in sections for name in section.styles)]
    return "\n".join(_SPACE.sub(" ", _COMMENT.sub("", _file(name))).strip() for name in names)


def _script(sections: Sequence[Section]) -> str:
    """Return one function: frame.js, then each file as a block of its own, so that no name meets
    another's."""
    parts = [
        compact(_file(name)) for name in _once(name for its in sections for name in its.scripts)
    ]
    blocks = "".join(f"{{{part}}}\n" for part in parts)
    script = f'(function(){{"use strict";{compact(_file("frame.js"))}\n{blocks}page.start()}})();'
    if re.search(r"<!--|</script", script, re.IGNORECASE):
        raise ValueError("a script holds what would end it in the page")
    return script


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _file(name: str) -> str:
    return (resources.files("charlm.page") / name).read_text("utf-8")
