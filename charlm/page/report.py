"""The whole page of one or several models."""

from __future__ import annotations

from collections.abc import Sequence

from charlm.page import curves, what
from charlm.page.document import document
from charlm.page.markup import Markup
from charlm.page.subject import Subject
from charlm.page.svg import standalone


def report(subjects: Sequence[Subject]) -> bytes:
    """Return the page of these models, the first of which the sections for one model are about."""
    return document(title_of(subjects), [what.section(subjects), curves.section(subjects)])


def plot(subjects: Sequence[Subject]) -> bytes:
    """Return the curves of the page as a file of SVG; there must be some, as `curves.why_not` says."""
    drawing: Markup = standalone(list(curves.charts_of(subjects)), title_of(subjects))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{drawing}\n'.encode()


def title_of(subjects: Sequence[Subject]) -> str:
    """Return what the page is called."""
    return ", ".join(its.name for its in subjects)
