"""The whole page of one or several models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from charlm.model import Model
from charlm.page import curves, memory, surprise, units, what, write
from charlm.page.document import Section, absent, document
from charlm.page.parts import read_by
from charlm.page.subject import Subject
from charlm.page.svg import standalone
from charlm.page.texts import Shown, readers_of


def report(
    subjects: Sequence[Subject], shown: Shown | str, writing: Section | None = None
) -> bytes:
    """Return the page of these models; `shown` are the texts that they read in it, or why there are
    none.

    `writing` is the section in which one of them writes, as `writing_section` returns it.
    """
    sections = [
        what.section(subjects),
        curves.section(subjects),
        *_of_texts(readers_of(subjects), shown),
    ]
    return document(title_of(subjects), [*sections, *([writing] if writing else [])])


def writing_section(
    subjects: Sequence[Subject], weights: str, text: str | None = None, encoding: str = "utf-8"
) -> Section:
    """Return the section in which the first language model writes; `text`, a file, is what rounding
    is measured on.

    Raises UsageError as `charlm.page.write.section`.
    """
    its = next((its for its in subjects if isinstance(its.model, Model)), None)
    if its is None:
        return absent(write.NAME, write.TITLE, "Only language models write: this page has none.")
    measured_on = write.held_out(its.model, its.path, text, encoding)
    known = None if isinstance(measured_on, str) else measured_on
    return write.section(its.model, weights, known, its.name if len(subjects) > 1 else "")


def plot(subjects: Sequence[Subject]) -> bytes:
    """Return the curves of the page as a file of SVG; there must be some, as `curves.why_not`
    says."""
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
    looked_into = next((its for its in readers if its.model.config.layers), readers[0])
    named = looked_into.name if len(readers) > 1 else ""
    yield units.section(looked_into.model, shown.texts, shown.name, named)
    yield memory.section(list(zip(names, models, strict=True)), shown.texts, shown.name)
