"""`charlm sample`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from charlm.cli.base import GroupedCommand, model_option, option, visible

if TYPE_CHECKING:
    from charlm.model import Model, Sample

_text = option("Text")
_draw = option("Drawing")
_output = option("Output")


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm sample --length 500
  charlm sample -m names -n 20
  charlm sample --prompt "To be" --temperature 0.7 --seed 1""")  # fmt: skip
@model_option()
@_text("--length", type=int, default=200, show_default=True, metavar="N", help="Most tokens to draw.")
@_text("--prompt", default="", metavar="TEXT", help="Begin with this text.")
@_text("-n", "--count", type=click.IntRange(1), default=1, show_default=True, metavar="COUNT",
       help="Write COUNT texts.")  # fmt: skip
@_draw("--temperature", type=float, default=1.0, show_default=True, metavar="X", help="Below 1 safer, above 1 wilder.")
@_draw("--top-k", type=int, metavar="N", help="Draw from the N most probable tokens.")
@_draw("--top-p", type=float, metavar="P", help="Draw from the most probable tokens that reach P together.")
@_draw("--unk", type=click.Choice(["reject", "keep"]), default="reject", show_default=True, help="When <unk> is drawn.")
@_draw("--seed", type=click.IntRange(0), metavar="N", help="The same seed gives the same texts.")
@_output("--json", "as_json", is_flag=True, help="One JSON object a text: text, tokens, logprob, ended, ids.")
def sample(
    model: str, length: int, prompt: str, count: int, temperature: float, top_k: int | None, top_p: float | None,
    unk: str, seed: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Write text with a model, on stdout, until its end (EOS) or --length tokens."""
    from charlm.model import load
    from charlm.sampling import SamplingConfig

    config = SamplingConfig(length, temperature, top_k, top_p, unk)
    writer = load(model, threads=1)
    _warn_of_unknown(writer, prompt)
    if as_json:
        for text in writer.samples(count, config, prompt, seed):
            click.echo(_as_json(text))
    elif count == 1:
        for piece in writer.stream(length, prompt, seed, temperature, top_k, top_p, unk):
            click.echo(_shown(piece), nl=False)
            sys.stdout.flush()
        click.echo()
    else:
        separator = "-" * 20 + "\n" if writer.language.document else ""
        for number, text in enumerate(writer.samples(count, config, prompt, seed)):
            click.echo((separator if number else "") + _shown(text.text))


def _as_json(sample: Sample) -> str:
    values = {
        "text": sample.text,
        "tokens": sample.tokens,
        "logprob": sample.logprob,
        "ended": sample.ended,
        "ids": sample.ids,
    }
    return json.dumps(values, ensure_ascii=False)


def _shown(text: str) -> str:
    return visible(text) if sys.stdout.isatty() else text


def _warn_of_unknown(model: Model, prompt: str) -> None:
    model.prompt_ids(prompt)  # first of all: a prompt that cannot be used at all
    unknown = model.unknown_in(prompt)
    if unknown:
        listed = ", ".join(repr(token) for token in unknown)
        click.echo(f"charlm: the model does not know {listed} of the prompt: read as <unk>", err=True)
