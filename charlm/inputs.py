"""Texts to be scored: the lines of a file or of stdin, a whole file, a part of the corpus that a run was given."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from charlm import exchange
from charlm.classifier import Classifier
from charlm.config import LanguageConfig, TextConfig
from charlm.engines import Evaluator, Tally
from charlm.engines.blend import Scorer
from charlm.errors import DataError, MissingInputError, UsageError
from charlm.labelled import LabelledModel, known_labels
from charlm.model import Model
from charlm.ownership import CONFIG_FILE, RESUME_FILE
from charlm.run_files import streams_of
from charlm.run_settings import LABELLED, Settings
from charlm.runs import stored_settings
from charlm.scoring import Score, TokenScore, evaluate, stream_tokens
from charlm.settings_file import read_toml
from charlm.tasks import Trained, task_named
from charlm.text.corpus import Corpus, prepare
from charlm.text.labelled import labelled_part
from charlm.text.labelled_ids import ConditionalCorpus, LabelledIds
from charlm.text.labels import file_label, labels_of
from charlm.text.parts import Part
from charlm.text.reading import BLOCK, TextFile, is_standard_input, open_file, text_blocks, whole_words
from charlm.text.sequences import Kind
from charlm.text.stream import InOrder, open_texts
from charlm.text.tokenizers import EOS, SPECIALS

PARTS = ("valid", "test")
_Stored = Part | LabelledIds
_P = TypeVar("_P", Part, _Stored)


def texts_of(
    models: Sequence[Trained], kind: Kind, path: str, encoding: str, shard: tuple[int, int] = (1, 1),
    before_waiting: Callable[[], object] = lambda: None,
) -> InOrder:  # fmt: skip
    """Return the lines or paragraphs of a file, or of stdin (`-`) as they come (errors as reading a
    corpus).

    Models of bytes, where there are no others, get the bytes as they are.
    """
    if _bytes_alone(models):
        return open_texts(path, None, kind, shard, _as_utf8, before_waiting)
    return open_texts(path, encoding, kind, shard, str, before_waiting)


def labelled_texts_of(
    model: Classifier | LabelledModel, path: str, encoding: str, shard: tuple[int, int] = (1, 1),
    before_waiting: Callable[[], object] = lambda: None,
) -> tuple[Iterator[tuple[str, str]], InOrder]:  # fmt: skip
    """Return label and text of each line or paragraph of a file, or of stdin (`-`) as they come,
    and what is read.

    They are in the form that the model was trained with (errors as `charlm.text.labels.labels_of`).
    """
    as_bytes = model.tokenizer.kind == "byte"
    form, kind = model.form, model.kind
    stdin, regular = is_standard_input(path), os.path.isfile(path)
    where, stem = (
        "standard input" if stdin else path,
        file_label(path) if regular and not stdin else None,
    )
    if form == "file" and stem is None and (stdin or os.path.exists(path)):
        instead = ", or give --label" if isinstance(model, LabelledModel) else ""
        raise UsageError(
            f"this model takes labels from the names of files, and {where} has none: name a file"
            f"{instead}"
        )
    lines = open_texts(path, None if as_bytes else encoding, kind, shard, str, before_waiting)
    pairs = labels_of(lines.numbered(), where, stem, form, as_bytes, frozenset(model.labels))
    return ((label, _as_utf8(text) if as_bytes else text) for label, text in pairs), lines


def file_text(model: Model, path: str, encoding: str) -> str:
    """Return a file, or stdin (`-`), as one text."""
    whole = "".join(_blocks(model, open_file(path), encoding))
    return _as_utf8(whole) if model.tokenizer.kind == "byte" else whole


def file_beginning(models: Sequence[Trained], path: str, encoding: str, most: int) -> str:
    """Return the beginning of a file, or of stdin (`-`), of more than `most` bytes where it has
    more: all of them read the same text, bytes as they are where there are models of bytes
    alone."""
    blocks, size = [], 0
    as_bytes = _bytes_alone(models)
    for block in text_blocks(open_file(path), None if as_bytes else encoding):
        blocks.append(block)
        size += len(block)
        if size > most:
            break
    text = "".join(blocks)
    return _as_utf8(text) if as_bytes else text


def whole_parts(models: Sequence[Model], path: str, encoding: str) -> list[Part]:
    """Return a file, or stdin (`-`), as one text for each model (UsageError where it is not the same for all)."""
    file = open_file(path)
    return _same_text([_encode(model, file, encoding, "document") for model in models])


def corpus_parts(
    models: Sequence[Model], places: Sequence[Path], corpus: str, encoding: str
) -> list[_Stored]:
    """Return what training validates on, for each model: a file, or the `valid` or `test` part of the run in its place.

    Raises UsageError where the models do not have the same text, or the part was empty; MissingInputError where a
    directory has no run, DataError where its corpus has changed since.
    """
    kinds = dict.fromkeys(model.language.sequences for model in models)
    if len(kinds) > 1:
        raise UsageError(
            f"of these models some have {'s as their texts and some '.join(kinds)}s, which --corpus would cut in "
            "different ways: give --file FILE with --lines or --whole"
        )
    if corpus in PARTS:
        return _same_text(_held_out_parts(models, places, corpus))
    file = open_file(corpus)
    return _same_text([_encode_corpus(model, file, encoding) for model in models])


def score_part(
    model: Model, part: _Stored, name: str, eos: bool, dynamic: float | None = None, cache: int | None = None,
    count_cache: int | None = None,
) -> Score:  # fmt: skip
    """Score a part exactly as training validates; `eos` scores the ends of its texts too.

    `dynamic` is the rate of dynamic evaluation, `cache` the tokens of a continuous cache,
    `count_cache` the tokens of the longest n-grams that are counted on the way; the score's name
    says so.
    """
    language = model.language
    engine, name = _adapting(model, name, dynamic, cache, count_cache)
    return _total(
        model,
        name,
        part,
        evaluate(engine, part, language.running, language.document, count_eos=eos),
        eos,
    )


def score_whole(model: Model, part: Part, name: str, eos: bool) -> Score:
    """Score a file as one text, in memory that does not grow with it."""
    return _total(model, name, part, evaluate(model.engine, part, model.language.start, True, count_eos=eos), eos)


def _adapting(
    model: Model, name: str, dynamic: float | None, cache: int | None, count_cache: int | None
) -> tuple[Evaluator, str]:
    """Return what scores, and the score's name, which tells how."""
    engine: Scorer = (
        model.engine if dynamic is None or cache is not None else model.dynamic(dynamic)
    )
    if dynamic is not None:
        name += f", dynamic evaluation at {dynamic:g}"
    if cache is not None:
        engine, name = model.cached(cache, dynamic), f"{name}, cache of {cache:,} tokens"
    if count_cache is not None:
        engine, name = (
            model.counting(count_cache, engine),
            f"{name}, count cache of {count_cache}-grams",
        )
    return engine, name


@dataclass
class LongText:
    """One text of any length and the scores of its tokens, neither of them held in memory.

    `total` is its score once `tokens` is over.
    """

    text: Iterator[str]
    tokens: Iterator[TokenScore]
    total: Score


def long_text(model: Model, path: str, encoding: str, eos: bool) -> LongText:
    """Return a file, or stdin (`-`), as one text to be scored token by token."""
    file = open_file(path)
    part = _encode(model, file, encoding, "document")
    tokenizer, raw = model.tokenizer, model.tokenizer.kind == "byte"
    blocks = _blocks(model, file, encoding)
    cut = whole_words(blocks) if tokenizer.kind == "word" else blocks
    pieces = (piece for text in cut for piece in tokenizer.pieces(text.encode("latin-1") if raw else text))
    scores = stream_tokens(model.engine, tokenizer, model.language.start, part, pieces, eos)
    text = _utf8_blocks(_blocks(model, file, encoding)) if raw else _blocks(model, file, encoding)
    result = LongText(text, iter(()), _total(model, "", part, None, eos))
    result.tokens = _adding_up(scores, result)
    return result


def _adding_up(scores: Iterator[TokenScore], into: LongText) -> Iterator[TokenScore]:
    nats = unknown_nats = 0.0
    count = unknown = 0
    for score in scores:
        nats, count = nats + score.logprob, count + 1
        if score.unknown:
            unknown_nats, unknown = unknown_nats + score.logprob, unknown + 1
        yield score
    into.total = replace(into.total, logprob=nats, tokens=count, unknown=unknown, unknown_logprob=unknown_nats)


def _blocks(model: Model, file: TextFile, encoding: str) -> Iterator[str]:
    return text_blocks(file, None if model.tokenizer.kind == "byte" else encoding)


def _encode(model: Model, file: TextFile, encoding: str, sequences: str) -> Part:
    config = TextConfig(encoding=encoding, valid_fraction=0)
    return prepare([file], config, tokenizer=model.tokenizer, sequences=sequences).train


def _encode_corpus(model: Model, file: TextFile, encoding: str) -> _Stored:
    """Return a file as training would read it, with its labels where the model has some."""
    if not isinstance(model, LabelledModel):
        return _encode(model, file, encoding, model.language.sequences)
    labels, tokenizer = known_labels(model.language), model.tokenizer
    kind = model.language.kind
    part, _ = labelled_part([file], tokenizer, labels.names, labels.form, None, encoding, kind)
    return LabelledIds.of(part, tokenizer.size)


def _same_text(parts: list[_P]) -> list[_P]:
    """Return the parts; raises UsageError unless they are the same text, whatever the tokens of each model."""
    if len({part.text_digest for part in parts}) > 1:
        raise UsageError(
            "the models would not score the same text (another split or corpus, or a BOM or CRs that models of bytes "
            "keep): give texts, - or --file FILE --lines, which all of them read alike"
        )
    return parts


def _held_out_parts(models: Sequence[Model], places: Sequence[Path], name: str) -> list[_Stored]:
    """Read the part of each model's run, but only once where the ids are known to be the same."""
    read: list[tuple[Model, _Stored]] = []
    for model, where in zip(models, places, strict=True):
        known = (part for other, part in read if _same_ids(model, other, name))
        read.append((model, next(known, None) or held_out(where, name, model)))
    return [part for _, part in read]


def _same_ids(model: Model, other: Model, name: str) -> bool:
    digests = [(each.facts.get("digests") or {}).get(name) for each in (model, other)]
    return None not in digests and digests[0] == digests[1] and (model.tokenizer.to_dict() == other.tokenizer.to_dict())


def training_text(model: Model, where: Path) -> list[str]:
    """Return the sequences of the training part of the run in directory `where` (errors as `score_corpus`)."""
    part = _corpus_of_run(where, model, "--novelty FILE").train
    ids = part.read(0, len(part))
    sequences = (model.tokenizer.decode(piece.tolist()) for piece in np.split(ids, np.flatnonzero(ids == EOS)))
    return [text for text in sequences if text]


def held_out(where: Path, name: str, model: Model, instead: str = "--corpus FILE") -> _Stored:
    """Return the `valid` or `test` part of the run in directory `where` (errors as `corpus_parts`).

    `instead` is what a user may give where it is gone.
    """
    corpus = _corpus_of_run(where, model, instead)
    part = corpus.valid if name == "valid" else corpus.test
    if not len(part):
        raise UsageError(f"this run had no {name} part: give {instead} instead")
    return part


def _corpus_of_run(where: Path, model: Model, instead: str) -> Corpus | ConditionalCorpus:
    """Read the corpus again that the run in directory `where` was given; `instead` is what to use where it is gone."""
    settings = _settings_of_run(where, model, instead)
    if streams_of(settings.flat()):
        raise MissingInputError(
            f"the run in {where} read standard input or a pipe, whose text is gone: give {instead} instead"
        )
    corpus: Corpus | ConditionalCorpus
    if isinstance(model, LabelledModel):
        corpus = task_named(LABELLED).read_again(settings, model.language)  # type: ignore[assignment]
    else:
        files = (settings.valid_file, settings.test_file)
        corpus = prepare(
            settings.corpus, settings.text, *files, model.tokenizer, model.language.sequences
        )
    if corpus.digests != model.facts.get("digests"):
        raise DataError(f"the corpus of {where} has changed since: give {instead} instead")
    return corpus


def _settings_of_run(where: Path, model: Model, instead: str) -> Settings:
    """Return the settings of a run from its state, or from its config.toml where counts alone have left no state."""
    state, config = (exchange.current(where / name) for name in (RESUME_FILE, CONFIG_FILE))
    if state.exists() or model.config.layers:
        if not state.exists():
            raise MissingInputError(f"{where} has no {RESUME_FILE} that names the corpus: give {instead} instead")
        return stored_settings(where / RESUME_FILE, model.config.vocab_size)
    if not config.exists():
        raise MissingInputError(f"{where} has no {CONFIG_FILE} that names the corpus: give {instead} instead")
    try:
        return Settings.of(read_toml(str(config)), model.config.vocab_size, LanguageConfig)
    except (UsageError, LookupError) as error:
        raise DataError(f"{config} is not as charlm wrote it ({error}): give {instead} instead") from None


def _total(model: Model, name: str, part: _Stored, loss: Tally | None, eos: bool) -> Score:
    total, raw = loss or Tally(), model.tokenizer.kind == "byte"
    return Score(
        text=name,
        logprob=-total.nats,
        tokens=total.count,
        unknown=total.unknown,
        unknown_logprob=-total.unknown_nats,
        characters=_code_points(part) if raw else part.characters,
        eos=part.sequences if eos else 0,
        n_bytes=part.characters if raw else None,
        lossless=model.tokenizer.lossless,
    )


def _code_points(part: _Stored) -> int:
    """Count the characters that the bytes of a part are: a byte that is no UTF-8 counts as one."""
    decoder, count = codecs.getincrementaldecoder("utf-8")("surrogateescape"), -part.sequences
    for start in range(0, len(part), BLOCK):
        ids = part.read(start, min(BLOCK, len(part) - start))
        values = np.where(ids == EOS, ord("\n"), ids - len(SPECIALS)).astype(np.uint8)
        count += len(decoder.decode(values.tobytes()))
    return count + len(decoder.decode(b"", final=True))


def _bytes_alone(models: Sequence[Trained]) -> bool:
    return all(model.tokenizer.kind == "byte" for model in models)


def _utf8_blocks(blocks: Iterator[str]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for block in blocks:
        yield decoder.decode(block.encode("latin-1"))
    yield decoder.decode(b"", final=True)


def _as_utf8(text: str) -> str:
    """Turn characters that stand for bytes into the text that a byte model would have from an argument."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
