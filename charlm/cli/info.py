"""`charlm info`."""

from __future__ import annotations

from typing import Any

import click

from charlm.cli.base import GroupedCommand, model_option, option, visible
from charlm.cli.records import to_json

_SHOWN_LABELS = 10


@click.command(cls=GroupedCommand)
@model_option()
@option("Output")("--json", "as_json", is_flag=True, help="One JSON object.")
def info(model: str, as_json: bool) -> None:
    """Say what a model is: cell, sizes, parameters, vocabulary, corpus, best validation figure; and what computes."""
    from charlm.directory import seconds_at
    from charlm.loading import load
    from charlm.model_facts import facts_of

    opened = load(model, threads=1)
    opened.facts.setdefault("seconds", seconds_at(model, opened.facts))
    facts = facts_of(opened)
    if as_json:
        click.echo(to_json(facts))
        return
    width = max(map(len, facts))
    for name, value in shown_facts(facts).items():
        click.echo(f"{name.replace('_', ' '):{width}}  {value}")


def shown_facts(facts: dict[str, Any]) -> dict[str, str]:
    """Return facts as people read them: what is not known is left out, of many labels the commonest
    are named."""
    facts = dict(facts)
    if "labels" in facts:
        every = sorted(facts["labels"], key=lambda one: -one["texts"])
        named = [f"{one['label']} {one['texts']:,}" for one in every[:_SHOWN_LABELS]]
        more = ["..."] if len(every) > _SHOWN_LABELS else []
        facts["labels"] = f"{len(every):,}: {', '.join(named + more)}"
    if "balance" in facts:
        facts["balance"] = (
            "labels counted alike in training, however many texts had them"
            if facts["balance"] else "labels counted as often as texts had them"
        )  # fmt: skip
    if "tags" in facts:
        every = sorted(facts["tags"], key=lambda one: -one["tokens"])
        named = [
            f"{visible(one['tag'], keep='') or '(keep)'} {one['tokens']:,}"
            for one in every[:_SHOWN_LABELS]
        ]
        more = ["..."] if len(every) > _SHOWN_LABELS else []
        facts["tags"] = f"{len(every):,}: {', '.join(named + more)}"
    return {name: _shown(value) for name, value in facts.items() if value is not None}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return f"{value:,}" if type(value) is int else str(value)
