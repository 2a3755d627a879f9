"""`charlm info`."""

from __future__ import annotations

import click

from charlm.cli.base import GroupedCommand, model_option, option
from charlm.cli.records import to_json


@click.command(cls=GroupedCommand)
@model_option()
@option("Output")("--json", "as_json", is_flag=True, help="One JSON object.")
def info(model: str, as_json: bool) -> None:
    """Say what a model is: cell, sizes, parameters, vocabulary, corpus, best validation figure; and what computes."""
    from charlm.cli.model_facts import facts_of, shown_facts
    from charlm.directory import seconds_at
    from charlm.loading import load

    opened = load(model, threads=1)
    opened.facts.setdefault("seconds", seconds_at(model, opened.facts))
    facts = facts_of(opened)
    if as_json:
        click.echo(to_json(facts))
        return
    width = max(map(len, facts))
    for name, value in shown_facts(facts).items():
        click.echo(f"{name.replace('_', ' '):{width}}  {value}")
