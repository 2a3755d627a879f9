"""Texts to be scored: the lines of a file or of stdin, a whole file, a part of the corpus that a run was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from charlm import exchange
from charlm.config import TextConfig
from charlm.engines import Evaluator, Loss
from charlm.errors import DataError, MissingInputError, UsageError
from charlm.model import Model, parse
from charlm.ownership import RESUME_FILE
from charlm.runs import Settings, digests_of
from charlm.scoring import Score, evaluate
from charlm.text.corpus import Corpus, Part, prepare
from charlm.text.reading import open_source, standard_input, text_blocks
from charlm.text.tokenizers import EOS

PARTS = ("valid", "test")


def file_lines(model: Model, path: str, encoding: str) -> Iterator[str]:
    """Yield the lines of a file, without their newline (errors as reading a corpus)."""
    if model.tokenizer.kind != "byte":
        return _lines(text_blocks(open_source(path), encoding))
    return (_as_utf8(line) for line in _lines(text_blocks(open_source(path), None)))


def stdin_lines(model: Model, encoding: str) -> Iterator[str]:
    """Yield the lines of stdin as they come; a byte model takes any bytes, others raise DataError at a wrong one."""
    escape = "surrogateescape" if model.tokenizer.kind == "byte" else "strict"
    for number, line in enumerate(standard_input(), start=1):
        try:
            yield line.removesuffix(b"\n").decode(encoding, escape)
        except (UnicodeDecodeError, LookupError) as error:
            raise DataError(f"standard input, line {number}: {error}; name its encoding with --encoding") from None


def file_text(model: Model, path: str, encoding: str) -> str:
    """Return a file as one text."""
    whole = "".join(text_blocks(open_source(path), None if model.tokenizer.kind == "byte" else encoding))
    return _as_utf8(whole) if model.tokenizer.kind == "byte" else whole


def score_file(model: Model, path: str, encoding: str, eos: bool) -> Score:
    """Score a file as one text, in memory that does not grow with it."""
    part = _encode(model, path, encoding, "document")
    return _total(model, path, part, evaluate(model.engine, part, model.language.start, True, count_eos=eos), eos)


def score_corpus(
    model: Model, where: Path, corpus: str, encoding: str, dynamic: float | None = None, cache: int | None = None
) -> Score:
    """Score exactly as training validates: a file, or the `valid` or `test` part of the run in directory `where`.

    `dynamic` is the rate of dynamic evaluation, `cache` the tokens of a continuous cache; the score's name says so.

    Raises UsageError where the part was empty or a setting makes no sense, MissingInputError where the directory has
    no run, DataError where the corpus has changed since.
    """
    language = model.language
    part = _held_out(where, corpus, model) if corpus in PARTS else _encode(model, corpus, encoding, language.sequences)
    engine, name = _adapting(model, corpus, dynamic, cache)
    loss = evaluate(engine, part, language.start, language.document)
    return _total(model, name, part, loss, not language.document)


def _adapting(model: Model, name: str, dynamic: float | None, cache: int | None) -> tuple[Evaluator, str]:
    """Return what scores, and the score's name, which tells how."""
    if dynamic is not None:
        name += f", dynamic evaluation at {dynamic:g}"
    if cache is not None:
        return model.cached(cache, dynamic), f"{name}, cache of {cache:,} tokens"
    return model.engine if dynamic is None else model.dynamic(dynamic), name


def _encode(model: Model, path: str, encoding: str, sequences: str) -> Part:
    config = TextConfig(encoding=encoding, valid_fraction=0)
    return prepare([path], config, tokenizer=model.tokenizer, sequences=sequences).train


def training_text(model: Model, where: Path) -> list[str]:
    """Return the sequences of the training part of the run in directory `where` (errors as `score_corpus`)."""
    part = _corpus_of_run(where, model, "--novelty FILE").train
    ids = part.read(0, len(part))
    sequences = (model.tokenizer.decode(piece.tolist()) for piece in np.split(ids, np.flatnonzero(ids == EOS)))
    return [text for text in sequences if text]


def _held_out(where: Path, name: str, model: Model) -> Part:
    corpus = _corpus_of_run(where, model, "--corpus FILE")
    part = corpus.valid if name == "valid" else corpus.test
    if not len(part):
        raise UsageError(f"this run had no {name} part: give --corpus FILE instead")
    return part


def _corpus_of_run(where: Path, model: Model, instead: str) -> Corpus:
    """Read the corpus again that the run in directory `where` was given; `instead` is what to use where it is gone."""
    state = where / RESUME_FILE
    if not exchange.current(state).exists():
        raise MissingInputError(f"{where} has no {RESUME_FILE} that names the corpus: give {instead} instead")
    _, metadata = exchange.load(state)
    settings = Settings.of(parse(metadata, "charlm.resume")["settings"], model.config.vocab_size)
    files = (settings.valid_file, settings.test_file)
    corpus = prepare(settings.corpus, settings.text, *files, model.tokenizer, model.language.sequences)
    if digests_of(corpus) != model.facts.get("digests"):
        raise DataError(f"the corpus of {where} has changed since: give {instead} instead")
    return corpus


def _total(model: Model, name: str, part: Part, loss: Loss | None, eos: bool) -> Score:
    total = loss or Loss()
    tokenizer = model.tokenizer
    return Score(
        text=name,
        logprob=-total.nats,
        tokens=total.count,
        unknown=total.unknown,
        unknown_logprob=-total.unknown_nats,
        characters=part.characters,
        eos=part.sequences if eos else 0,
        n_bytes=part.characters if tokenizer.kind == "byte" else None,
        lossless=tokenizer.lossless,
    )


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        *lines, held = (held + block).split("\n")
        yield from lines
    if held:
        yield held


def _as_utf8(text: str) -> str:
    """Turn characters that stand for bytes into the text that a byte model would have from an argument."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
