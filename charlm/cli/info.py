"""`charlm info`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import GroupedCommand, model_option, option
from charlm.cli.records import to_json

if TYPE_CHECKING:
    from charlm.model import Model


@click.command(cls=GroupedCommand)
@model_option()
@option("Output")("--json", "as_json", is_flag=True, help="One JSON object.")
def info(model: str, as_json: bool) -> None:
    """Say what a model is: cell, sizes, parameters, vocabulary, corpus, best validation figure; and what computes."""
    from charlm.directory import seconds_at
    from charlm.loading import load

    opened = load(model, threads=1)
    opened.facts.setdefault("seconds", seconds_at(model, opened.facts))
    facts = _facts(opened)
    if as_json:
        click.echo(to_json(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            click.echo(f"{name.replace('_', ' '):{width}}  {_shown(value)}")


def _facts(model: Model) -> dict[str, Any]:
    from charlm.nn import kernel

    config, language, origin = model.config, model.language, model.facts
    nats, known = origin.get("valid_nats"), origin.get("valid_nats_known")
    return {
        "cell": config.cell if config.nonlinearity == "tanh" else f"{config.cell} ({config.nonlinearity})",
        "layers": config.layers,
        "hidden": config.hidden,
        "embedding": config.embedding,
        "dropout": config.dropout,
        "tied": config.tie,
        "layer_norm": config.layer_norm,
        "residual": config.residual,
        "parameters": sum(value.size for value in model.trained.tensors().values()),
        "tokenizer": language.tokenizer.kind,
        "vocabulary": config.vocab_size,
        "sequences": language.sequences,
        "context": language.context,
        "corpus": origin.get("corpus"),
        "training_tokens": origin.get("train_tokens"),
        "step": origin.get("step"),
        "epoch": origin.get("epoch"),
        "seconds": origin.get("seconds"),
        "valid_nats": nats,
        "valid_nats_known": known,
        "valid_perplexity": None if nats is None else _perplexity(nats),
        "test_nats": origin.get("test_nats"),
        "trained_by": f"charlm {origin.get('charlm')}",
        "kernel": kernel.target,
        "kernel_missing": kernel.missing,
    }


def _perplexity(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:  # a model that has gone astray: its perplexity is beyond any float
        return math.inf


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return f"{value:,}" if type(value) is int else str(value)
