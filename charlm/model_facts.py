"""What there is to say of a model, in the order in which `charlm info` says it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from charlm.nn import kernel
from charlm.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charlm.classifier import Classifier
    from charlm.config import ModelConfig
    from charlm.converter import Converter
    from charlm.model import Model
    from charlm.tagger import Tagger
    from charlm.text.label_names import Labels

_CLASS_FIGURES = ("accuracy", "macro_f1", "nats", "majority")
_CONVERT_FIGURES = ("exact_match", "word_error_rate", "symbol_error_rate", "nats")
_TAG_FIGURES = ("accuracy", "span_f1", "unknown_accuracy", "word_accuracy", "nats")


def facts_of(model: Any) -> dict[str, Any]:
    """Return what is to be said of a model of any task."""
    from charlm.classifier import Classifier
    from charlm.converter import Converter
    from charlm.tagger import Tagger

    if isinstance(model, Converter):
        return _of_converter(model)
    if isinstance(model, Tagger):
        return _of_tagger(model)
    return _of_classifier(model) if isinstance(model, Classifier) else _of_language(model)


def _of_language(model: Model) -> dict[str, Any]:
    language, origin = model.language, model.facts
    nats, known = origin.get("valid_nats"), origin.get("valid_nats_known")
    return {
        **_of_labels(language.labels),
        **(
            _of_shape(model.config, {"tied": model.config.tie})
            if model.config.layers
            else {"layers": 0}
        ),
        "parameters": _parameters(model),
        **_of_counts(model),
        **_of_vocabulary(model.tokenizer),
        "sequences": language.sequences,
        "context": language.context,
        **_of_run(origin),
        "valid_nats": nats,
        "valid_nats_known": known,
        **(_of_each(origin) if model.counts else {}),
        "valid_perplexity": None if nats is None else _perplexity(nats),
        "test_nats": origin.get("test_nats"),
        **_of_computing(origin),
    }


def _of_labels(labels: Labels | None) -> dict[str, Any]:
    """Return what is to be said of a language model's labels, nothing where it has none."""
    if labels is None:
        return {}
    counts = zip(labels.names, labels.counts, strict=True)
    named = [{"label": name, "texts": count} for name, count in counts]
    return {"task": "lm", "labels": named, "labels_from": labels.form}


def _of_counts(model: Model) -> dict[str, Any]:
    """Return what is to be said of counts, nothing where there are none."""
    counts = model.counts
    if counts is None:
        return {}
    return {
        "counts_order": counts.order,
        "counts_file": model.facts.get("counts_file"),
        "counted_ngrams": sum(counts.ngrams()),
        "counted_bytes": counts.nbytes,
        "counts_weight": model.counts_weight,
        "counted_tokens": model.facts.get("counted_tokens"),
    }


def _of_each(origin: dict[str, Any]) -> dict[str, Any]:
    """Return what the network alone and the counts alone reach in validation."""
    return {
        f"valid_nats_{part}": origin.get(f"valid_nats_{part}") for part in ("network", "counts")
    }


def _of_classifier(model: Classifier) -> dict[str, Any]:
    classes, origin = model.classes, model.facts
    labels = zip(classes.names, classes.counts, strict=True)
    return {
        "task": "classify",
        "directions": 2 if model.config.bidirectional else 1,
        **_of_shape(model.config, {}),
        "pool": classes.pool,
        "parameters": _parameters(model),
        "labels": [{"label": name, "texts": count} for name, count in labels],
        "labels_from": classes.form,
        "sequences": classes.sequences,
        "balance": classes.balance,
        **_of_vocabulary(model.tokenizer),
        "max_length": classes.max_length,
        "training_texts": sum(classes.counts),
        **_of_run(origin),
        **{
            f"{part}_{name}": origin.get(f"{part}_{name}")
            for part in ("valid", "test")
            for name in _CLASS_FIGURES
        },
        **_of_computing(origin),
    }


def _of_tagger(model: Tagger) -> dict[str, Any]:
    tags, origin = model.tags, model.facts
    layout, words = tags.form.layout, tags.encoder.words
    counts = zip(tags.names, tags.counts, strict=True)
    return {
        "task": "tag",
        "tagged": tags.unit,
        "directions": 2 if model.config.bidirectional else 1,
        **_of_shape(model.config, {}),
        "char_hidden": tags.char_hidden,
        "ngrams": tags.ngrams,
        "crf": tags.crf,
        "parameters": _parameters(model),
        "tags": [{"tag": name, "tokens": count} for name, count in counts],
        "scheme": tags.scheme,
        "columns": None if layout is None else "tabs" if layout.tabs else "white space",
        "token_column": None if layout is None else layout.token,
        "column": None if layout is None else layout.tag,
        **_of_vocabulary(model.tokenizer),
        "words": None if words is None else words.size,
        "characters": tags.encoder.characters.size,
        "max_length": tags.max_length,
        **_of_run(origin),
        **{
            f"{part}_{name}": origin.get(f"{part}_{name}")
            for part in ("valid", "test")
            for name in _TAG_FIGURES
        },
        **_of_computing(origin),
    }


def _of_converter(model: Converter) -> dict[str, Any]:
    conversion, origin = model.conversion, model.facts
    return {
        "task": "convert",
        "converted": conversion.reading,
        "directions": 2 if model.config.bidirectional else 1,
        **_of_shape(model.config, {}),
        "attention": conversion.attention,
        "parameters": _parameters(model),
        "source_tokenizer": conversion.source.kind,
        "source_vocabulary": conversion.source.size,
        "target_tokenizer": conversion.target.kind,
        "target_vocabulary": conversion.target.size,
        "max_length": conversion.max_length,
        **_of_run(origin),
        **{
            f"{part}_{name}": origin.get(f"{part}_{name}")
            for part in ("valid", "test")
            for name in _CONVERT_FIGURES
        },
        **_of_computing(origin),
    }


def _of_shape(config: ModelConfig, output: dict[str, Any]) -> dict[str, Any]:
    """Return the shape of a network, `output` in its place; of layers without recurrence only where
    there are some."""
    head = (
        {"head_layers": config.head_layers, "head_hidden": config.head_width}
        if config.head_layers
        else {}
    )
    return {
        "cell": config.cell
        if config.nonlinearity == "tanh"
        else f"{config.cell} ({config.nonlinearity})",
        "layers": config.layers,
        "hidden": config.hidden,
        "embedding": config.embedding,
        "dropout": config.dropout,
        **output,
        "layer_norm": config.layer_norm,
        "residual": config.residual,
        **head,
    }


def _parameters(model: Model | Classifier | Tagger | Converter) -> int:
    return sum(value.size for value in model.trained.tensors().values())


def _of_vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    return {"tokenizer": tokenizer.kind, "vocabulary": tokenizer.size}


def _of_run(origin: dict[str, Any]) -> dict[str, Any]:
    names = {
        "corpus": "corpus",
        "training_tokens": "train_tokens",
        "step": "step",
        "epoch": "epoch",
    }
    return {name: origin.get(key) for name, key in (names | {"seconds": "seconds"}).items()}


def _of_computing(origin: dict[str, Any]) -> dict[str, Any]:
    by = f"charlm {origin.get('charlm')}"
    return {"trained_by": by, "kernel": kernel.target, "kernel_missing": kernel.missing}


def _perplexity(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:  # a model that has gone astray: its perplexity is beyond any float
        return math.inf
