"""The whole page of one or several models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charlm.page import curves, surprise, what
from charlm.page.document import Section, absent, document
from charlm.page.parts import read_by
from charlm.page.subject import Subject
from charlm.page.svg import standalone
from charlm.page.texts import Shown, readers_of


def report(subjects: Sequence[Subject], shown: Shown | str) -> bytes:
    """Return the page of these models; `shown` are the texts that they read in it, or why there are none."""
    sections = [
        what.section(subjects),
        curves.section(subjects),
        *_of_texts(readers_of(subjects), shown),
    ]
    return document(title_of(subjects), sections)


def plot(subjects: Sequence[Subject]) -> bytes:
    """Return the curves of the page as a file of SVG; there must be some, as `curves.why_not` says."""
    drawing = standalone(list(curves.charts_of(subjects)), title_of(subjects))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing}\n'.encode()


def title_of(subjects: Sequence[Subject]) -> str:
    """Return what the page is called."""
    return ", ".join(its.name for its in subjects)


def _of_texts(readers: Sequence[Subject], shown: Shown | str) -> Iterator[Section]:
    """Yield the sections of what models make of texts."""
    if isinstance(shown, str):
        yield absent(surprise.NAME, surprise.TITLE, shown)
        return
    models, names = [its.model for its in readers], [its.name for its in readers]
    ends = models[0].counts_eos() and not shown.cut
    source = f"What is read: {shown.name}"
    readings = read_by(names, models, shown.texts, ends)
    nothing = absent(surprise.NAME, surprise.TITLE, "There is no token to score in the text.")
    yield surprise.section(readings, source) or nothing
