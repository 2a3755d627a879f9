"""Fine-tuning: what a run takes over from the model that it starts from, and the rows that new tokens need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charlm.config import OF_TEXT, ModelConfig
from charlm.engines import Array
from charlm.errors import MissingInputError, UsageError
from charlm.language import Language
from charlm.model import Model, load_language_model
from charlm.model_files import model_file
from charlm.nn import names
from charlm.ownership import MODEL_FILE
from charlm.scoring import percent
from charlm.text.corpus import Corpus
from charlm.text.labelled_ids import ConditionalCorpus
from charlm.text.tokenizers import SPECIALS

_SHAPE = [
    field.name
    for field in dataclasses.fields(ModelConfig)
    if field.name not in (*OF_TEXT, "dropout")
]
_BODY = ("cell", "nonlinearity", "hidden", "embedding", "layer_norm")
_RESOLVED = ("sequences", "context")  # for which "auto" is what the model has
_SHOWN = 12  # new tokens named in the note


def load_base(given: Mapping[str, Any]) -> Model | None:
    """Return the model that a run starts from, None where it starts anew (errors as `load`, and UsageError)."""
    base = _base(given)
    if base:
        _check(given, text_settings(base.language) | _only(dataclasses.asdict(base.config), _SHAPE))
    return base


def load_network(given: Mapping[str, Any]) -> Model | None:
    """Return the language model from whose whole network one of labelled texts starts (as
    `load_base`).
    """
    base = _base(given)
    if base:
        _check(
            given,
            tokenizer_settings(base.language) | _only(dataclasses.asdict(base.config), _SHAPE),
        )
    return base


def load_body(given: Mapping[str, Any]) -> Model | None:
    """Return the language model whose layers a network of another task starts from (as `load_base`)."""
    base = _base(given)
    if base:
        _check(given, tokenizer_settings(base.language) | body_settings(base.config))
    return base


def load_encoder(given: Mapping[str, Any]) -> Model | None:
    """Return the language model whose layers an encoder starts from (as `load_base`)."""
    base = _base(given)
    if base:
        _check(given, encoder_settings(base))
    return base


def _base(given: Mapping[str, Any]) -> Model | None:
    """Return the language model that is named, None where none is."""
    path = given.get("init_from")
    if path is None:
        if given.get("keep_vocabulary"):
            raise UsageError("keep-vocabulary needs --init-from: without it there is no vocabulary to keep")
        return None
    model = load_language_model(path)
    if not model.config.layers:
        raise UsageError(f"{path} is a model of counts alone, without a network to start from: give another")
    return model


def base_file(path: str) -> Path:
    """Return the file of a model to start from; raises MissingInputError where there is none."""
    try:
        return model_file(path)
    except MissingInputError:
        message = f"no model at {path}: give --init-from the directory or the file of a trained one"
        raise MissingInputError(message) from None


def replacement_notes(given: Mapping[str, Any], place: Path) -> Iterator[str]:
    """Yield a sentence where the model to start from is the one that the run in directory `place` will replace."""
    path = given.get("init_from")
    if path is not None and base_file(path).resolve() == (place / MODEL_FILE).resolve():
        yield (
            "the model to start from is the one that this run replaces: "
            "config.toml can repeat the run only from a copy of it, made before"
        )


def tokenizer_settings(language: Language) -> dict[str, Any]:
    """Return what the tokenizer of a model says of a run's settings, by their names."""
    described = language.tokenizer.to_dict()
    described.pop("tokens", None)
    return described


def text_settings(language: Language) -> dict[str, Any]:
    """Return what the language of a model says of a run's settings, by their names."""
    return tokenizer_settings(language) | {"sequences": language.sequences, "context": language.context}


def model_settings(config: ModelConfig) -> dict[str, Any]:
    """Return what the shape of a model says of a run's settings, by their names."""
    settings = config.to_dict()
    return {name: value for name, value in settings.items() if name not in OF_TEXT}


def body_settings(config: ModelConfig) -> dict[str, Any]:
    """Return the settings of the layers that a network of another task can take over from a language model."""
    return _only(config.to_dict(), _BODY)


def body_weights(
    first: Mapping[str, Array], base: Model, config: ModelConfig
) -> tuple[dict[str, Array], str]:
    """Return first weights with a language model's in place of those that can be, and a sentence that says which.

    They are the embedding and the recurrent layers; with both directions layer 0's forward one alone, since the layers
    above read what the other direction says too.
    """
    layers = 1 if config.bidirectional else min(config.layers, base.config.layers)
    weights = grown(base.trained.tensors(), base.config, config.vocab_size)
    wanted = [name for name in weights if name == names.EMBED or names.layer_of(name) in range(layers)]
    taken = {name: weights[name] for name in wanted if name in first and first[name].shape == weights[name].shape}
    note = f"from {base.config.cell} {base.config.layers}x{base.config.hidden} came {', '.join(taken)}"
    return {**first, **taken}, f"{note}; the other {len(first) - len(taken)} tensors begin anew"


def encoder_settings(base: Model) -> dict[str, Any]:
    """Return what a language model says of a run whose encoder starts from it, by the settings'
    names.

    Raises UsageError where it reads words of a kind that no pattern of sources says.
    """
    settings = tokenizer_settings(base.language)
    kind, pattern = settings.pop("tokenizer"), settings.pop("word_pattern", None)
    if not settings.pop("punctuation", True) and pattern is None:
        raise UsageError(
            "the model of --init-from leaves punctuation out, which an encoder cannot: give another"
        )
    sides = {"source_tokenizer": kind, "source_pattern": pattern}
    return sides | settings | body_settings(base.config)


def encoder_weights(
    first: Mapping[str, Array], base: Model, encoder: ModelConfig
) -> tuple[dict[str, Array], str]:
    """Return first weights of a converter with a language model's in place of its encoder's, as
    `body_weights` does."""
    own = {
        name.removeprefix(names.ENCODER): value
        for name, value in first.items()
        if name.startswith(names.ENCODER)
    }
    weights, note = body_weights(own, base, encoder)
    of_encoder = {names.ENCODER + name: value for name, value in weights.items()}
    return {**first, **of_encoder}, f"{note}, and so does the decoder"


def _only(settings: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    return {name: settings[name] for name in wanted if name in settings}


def _check(given: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    """Raise UsageError where settings that were given differ from those that a model fixes."""
    differing = [
        f"{_flag(name, given[name])} (the model has {_flag(name, value)})"
        for name, value in fixed.items()
        if given.get(name) not in (None, value) and not (name in _RESOLVED and given[name] == "auto")
    ]
    if differing:
        raise UsageError(f"these come from the model of --init-from, so leave them out: {', '.join(differing)}")
    useless = [name for name in ("vocab_size", "min_count") if given.get(name) is not None]
    if given.get("keep_vocabulary") and useless:
        raise UsageError(f"give keep-vocabulary or {useless[0].replace('_', '-')}, not both: one says to add no token")


def _flag(name: str, value: Any) -> str:
    """Return a setting as it stands on the command line."""
    option = name.replace("_", "-")
    if value is None or isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return f"--{option} {value}"


def grown(tensors: Mapping[str, Array], model: ModelConfig, size: int) -> dict[str, Array]:
    """Return weights for a vocabulary of `size` tokens, the first of which are those of `model`.

    A new token begins as the mean of the known ones, in what it is read as and in what it is predicted by.
    """
    result, new = dict(tensors), size - model.vocab_size
    for name, axis in _by_token(model):
        known = np.take(tensors[name], range(len(SPECIALS), model.vocab_size), axis)
        mean = known.mean(axis, dtype=np.float64, keepdims=True).astype(known.dtype)
        result[name] = np.concatenate([tensors[name], np.repeat(mean, new, axis)], axis)
    return result


def begun(base: Model, size: int, first: Mapping[str, Array]) -> dict[str, Array]:
    """Return weights of `base` for `size` tokens and labels, which have the further rows of the
    tensors `first`.

    A label begins as the zero vector, with which texts without labels begin: at first it changes
    nothing.
    """
    result = grown(base.trained.tensors(), base.config, size)
    name, _ = next(_by_token(base.config))
    room = [
        (0, wanted - had) for wanted, had in zip(first[name].shape, result[name].shape, strict=True)
    ]
    result[name] = np.pad(result[name], room)
    return result


def _by_token(model: ModelConfig) -> Iterator[tuple[str, int]]:
    """Yield the tensors that have a row or a column for each token, and which axis that is; tied ones once."""
    yield (names.EMBED, 0) if model.embedding else (names.weight_ih(0), 1)
    if not model.tie:
        yield names.HEAD_WEIGHT, 0
    yield names.HEAD_BIAS, 0


def finetuning_notes(base: Model, corpus: Corpus, kept: bool) -> Iterator[str]:
    """Yield a sentence on what a sequence is, and one on what became of the vocabulary."""
    yield f"sequences: {corpus.sequences}, as the model has them"
    yield from vocabulary_notes(base, corpus, kept)


def vocabulary_notes(base: Model, corpus: Corpus | ConditionalCorpus, kept: bool) -> Iterator[str]:
    """Yield a sentence on what became of the vocabulary."""
    kind = {"char": "character", "byte": "byte", "word": "word"}[corpus.tokenizer.kind]
    if kept:
        unknown = percent(corpus.train.unknown, len(corpus.train))
        yield f"vocabulary: kept as the model has it; {unknown} of the training tokens are unknown to it"
    new = [corpus.tokenizer.token(k) for k in range(base.tokenizer.size, corpus.tokenizer.size)]
    if new:
        plural = "s" if len(new) > 1 else ""
        yield (
            f"vocabulary: {len(new):,} new {kind}{plural} added to the model's {base.tokenizer.size:,}: {_shown(new)}"
        )


def _shown(tokens: Sequence[str]) -> str:
    """Return the first tokens of a list, those that cannot be seen as Python writes them."""
    plain = [token if token.isprintable() and not token.isspace() else repr(token) for token in tokens[:_SHOWN]]
    return " ".join(plain) + (" …" if len(tokens) > _SHOWN else "")
