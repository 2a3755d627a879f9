"""The texts that a page shows: those of a file that was named, or the beginning of what training
held out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from charlm import inputs
from charlm.errors import CharlmError, UsageError
from charlm.labelled import LabelledModel
from charlm.model import Model
from charlm.page.subject import Subject
from charlm.page.surprise import MOST_BYTES, Beginning, beginning
from charlm.text.batches import Ids
from charlm.text.tokenizers import EOS, UNK, Tokenizer

_UNKNOWN = "\ufffd"  # in the place of a character that the model does not know


@dataclass(frozen=True)
class Shown:
    """The texts of a page: `name` says what they are, `cut` whether the last one goes on."""

    texts: list[str]
    name: str
    cut: bool


def readers_of(subjects: Sequence[Subject]) -> list[Subject]:
    """Return those whose models read plain texts."""
    return [
        its
        for its in subjects
        if isinstance(its.model, Model) and not isinstance(its.model, LabelledModel)
    ]


def texts_of_file(readers: Sequence[Subject], path: str, encoding: str = "utf-8") -> Shown:
    """Return the beginning of a file, as the first reader's texts are: lines, paragraphs or the
    whole.

    Raises UsageError where there is no text in it, and what reading a corpus raises.
    """
    models = [its.model for its in readers]
    kind = models[0].language.kind
    if kind.document:
        taken = beginning([inputs.file_beginning(models, path, encoding, MOST_BYTES)])
    else:
        taken = beginning(inputs.texts_of(models, kind, path, encoding))
    if not any(map(str.strip, taken.texts)):
        raise UsageError(f"{path} has no text to show: name a file that has some, or say --no-text")
    return _shown(taken, os.path.basename(path) or path)


def held_out_texts(readers: Sequence[Subject]) -> Shown:
    """Return the beginning of the validation part of the first reader's run (errors as
    `charlm.inputs.held_out`)."""
    first, *others = readers
    path, tokenizer = Path(first.path), first.model.tokenizer
    part = inputs.held_out(
        path if path.is_dir() else path.parent, "valid", first.model, "--text FILE"
    )
    ids = part.read(
        0, min(len(part), MOST_BYTES + 1)
    )  # a token is a byte at least: more than are shown
    pieces = np.split(ids, np.flatnonzero(ids == EOS) + 1)
    texts = (_decoded(tokenizer, piece[piece != EOS]) for piece in pieces)
    corpus = ", ".join(map(str, first.model.facts.get("corpus") or ["its corpus"]))
    name = f"the validation part of {corpus}, which was held out from training"
    if any(_held_out_from(its) != _held_out_from(first) for its in others):
        name += f" {first.name} (of the others this is not known)"
    return _shown(beginning(filter(None, texts)), name)


def _held_out_from(reader: Subject) -> object:
    return (reader.model.facts.get("digests") or {}).get("valid")


def texts_for(readers: Sequence[Subject], path: str | None, encoding: str = "utf-8") -> Shown | str:
    """Return the texts to show: of `path` where it is given, else what was held out from the first
    that says it.

    Where there are none, a sentence says why. Errors as `texts_of_file`.
    """
    if not readers:
        return "Only language models of plain texts read a text token by token: this page has none."
    if path is not None:
        return texts_of_file(readers, path, encoding)
    try:
        return held_out_texts(readers)
    except CharlmError as error:
        return f"There is no text to show: {error}."


def _shown(taken: Beginning, name: str) -> Shown:
    return Shown(taken.texts, name if taken.complete else f"the beginning of {name}", taken.cut)


def _decoded(tokenizer: Tokenizer, ids: Ids) -> str:
    """Return the text of ids, in which what is unknown reads as unknown again."""
    if tokenizer.kind == "word":
        return tokenizer.decode(ids.tolist())
    known = np.split(ids, np.flatnonzero(ids == UNK))
    return _UNKNOWN.join(tokenizer.decode(piece[piece != UNK].tolist()) for piece in known)
