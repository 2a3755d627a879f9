"""`charlm sample`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import PATH, GroupedCommand, as_utf8, model_option, option, visible
from charlm.cli.records import to_json
from charlm.config import path_given
from charlm.errors import CharlmError, UsageError

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.novelty import Novelty
    from charlm.sampling import SamplingConfig
    from charlm.writing import Sample

_text = option("Text")
_draw = option("Drawing")
_must = option("Texts that must match")
_output = option("Output")

OWN_CORPUS = "own"


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm sample --length 500
  charlm sample -m names -n 20 --starts-with Ka --pattern '.*us'
  charlm sample --prompt "To be" --temperature 0.7 --seed 1
  charlm sample --length 0 | head -n 100""")  # fmt: skip
@model_option()
@_text("--length", type=int, default=200, show_default=True, metavar="N", help="Most tokens to draw; 0: no end.")
@_text("--prompt", default="", metavar="TEXT|@FILE|-", callback=as_utf8,
       help="Begin with this text, a file's (@FILE), or stdin's (-).")  # fmt: skip
@_text("-n", "--count", type=click.IntRange(1), default=1, show_default=True, metavar="COUNT",
       help="Write COUNT texts.")  # fmt: skip
@_text("--stop", metavar="TEXT", callback=as_utf8, help="End before this string.")
@_text("--lines", type=int, metavar="N", help="End after N lines (models of documents).")
@_text("--beam", type=click.IntRange(1), metavar="K", help="The K most probable texts, found by a beam of width K.")
@_draw("--temperature", type=float, default=1.0, show_default=True, metavar="X",
       help="Below 1 safer, above 1 wilder; 0: the most probable.")  # fmt: skip
@_draw("--top-k", type=int, metavar="N", help="Draw from the N most probable tokens.")
@_draw("--top-p", type=float, metavar="P", help="Draw from the most probable tokens that reach P together.")
@_draw("--min-p", type=float, metavar="P", help="Draw from tokens at least P times as probable as the first.")
@_draw("--repetition-penalty", type=float, default=1.0, show_default=True, metavar="X",
       help="Multiply the log-probability of tokens already written.")  # fmt: skip
@_draw("--unk", type=click.Choice(["reject", "keep"]), default="reject", show_default=True, help="When <unk> is drawn.")
@_draw("--seed", type=click.IntRange(0), metavar="N", help="The same seed gives the same texts.")
@_must("--starts-with", default="", metavar="TEXT", callback=as_utf8,
       help="Begin so, after the prompt: exact, by masking.")  # fmt: skip
@_must("--contains", metavar="TEXT", callback=as_utf8, help="Have this in it: by drawing until it does.")
@_must("--pattern", metavar="RE", help="Match this from end to end: by drawing until it does.")
@_must("--tries", type=click.IntRange(1), default=10_000, show_default=True, metavar="N",
       help="Most texts to draw for --contains and --pattern.")  # fmt: skip
@_output("--json", "as_json", is_flag=True, help="One JSON object a text: text, tokens, logprob, ended, ids.")
@_output("--echo/--no-echo", default=True, show_default=True, help="Write the prompt too.")
@_output("--number", is_flag=True, help="Number the texts.")
@_output("--separator", metavar="TEXT", help="Between texts. [default: nothing, or a line of dashes for documents]")
@_output("--novelty", type=PATH, metavar="FILE", is_flag=False, flag_value=OWN_CORPUS,
         help="Mark what is copied from the training text, or from FILE.")  # fmt: skip
@_output("--raw", is_flag=True, help="Send control characters to a terminal as they are.")
def sample(
    model: str, prompt: str, count: int, beam: int | None, seed: int | None, contains: str | None,
    pattern: str | None, tries: int, as_json: bool, echo: bool, number: bool, separator: str | None,
    novelty: str | None, raw: bool, **drawing: Any,
) -> None:  # fmt: skip
    """Write text with a model, on stdout, until its end (EOS) or --length tokens."""
    from charlm.model import load
    from charlm.sampling import SamplingConfig

    config, accept = SamplingConfig(**drawing), _acceptance(contains, pattern)
    writer = load(model, threads=None if count > 1 or beam else 1)
    prompt = _prompt(prompt, writer)
    _check(writer, config, count, beam, accept, as_json)
    _warn_of_unknown(writer, prompt)
    plain = not (as_json or number or novelty or beam or accept)
    if count == 1 and plain:
        _stream(writer, config, prompt, seed, echo, raw)
        return
    judge = _novelty(writer, model, novelty) if novelty else None
    if separator is None:
        separator = "-" * 20 + "\n" if writer.language.document and not as_json else ""
    copied = written = 0
    for text in _samples(writer, config, prompt, count, beam, accept, tries, seed):
        shown = text.text if echo else text.text[len(prompt) :]
        verdict = _verdict(judge, text.text) if judge else {}
        line = to_json(_values(text, shown) | verdict) if as_json else _shown(shown, raw)
        if verdict and not as_json:
            line += "\t" + _mark(verdict)
        click.echo((separator if written else "") + (f"{written + 1}\t" if number and not as_json else "") + line)
        written += 1
        copied += verdict.get("copied", 0)
    if judge:
        click.echo(f"{copied} of {written} copied from the training text", err=True)
    if accept and written < count:
        raise CharlmError(f"only {written} of {count} texts matched in {tries:,} tries: raise --tries, or ask for less")


def _samples(
    writer: Model, config: SamplingConfig, prompt: str, count: int, beam: int | None,
    accept: Callable[[str], bool] | None, tries: int, seed: int | None,
) -> Iterator[Sample]:  # fmt: skip
    if beam:
        yield from writer.beam(beam, config.length, prompt, config.unk)
    elif accept:
        yield from writer.matching(count, accept, config, prompt, seed, tries)
    else:
        yield from writer.samples(count, config, prompt, seed)


def _stream(writer: Model, config: SamplingConfig, prompt: str, seed: int | None, echo: bool, raw: bool) -> None:
    pieces = writer.writer(prompt).stream(config, seed)
    begin = next(pieces)
    if echo:
        click.echo(_shown(begin, raw), nl=False)
    for piece in pieces:
        click.echo(_shown(piece, raw), nl=False)
        sys.stdout.flush()
    click.echo()


def _acceptance(contains: str | None, pattern: str | None) -> Callable[[str], bool] | None:
    """Return what tells whether a text is as asked; None where nothing is asked."""
    if contains is None and pattern is None:
        return None
    try:
        regex = re.compile(pattern if pattern is not None else ".*", re.DOTALL)
    except re.error as error:
        raise UsageError(f"pattern {pattern!r} is no regular expression: {error}") from None
    return lambda text: (contains or "") in text and regex.fullmatch(text) is not None


def _check(
    writer: Model, config: SamplingConfig, count: int, beam: int | None, accept: object, as_json: bool
) -> None:
    """Raise UsageError for what does not go together."""
    if config.length == 0 and (count > 1 or as_json or accept or beam):
        raise UsageError("a text without end (length 0) is written alone, as it comes: leave -n, --json and such out")
    if beam and (count > 1 or accept or config.starts_with):
        raise UsageError("--beam K gives K texts: leave -n, --starts-with, --contains and --pattern out")
    if config.lines is not None and not writer.language.document:
        raise UsageError("this model writes single lines: ask for N of them with -n")


def _prompt(prompt: str, writer: Model) -> str:
    """Return the prompt that an option's value means: @FILE, - for stdin, or the text itself (@@ for @)."""
    if prompt == "-":
        from charlm.text.reading import standard_input

        text = standard_input().read().decode("utf-8", "replace")
    elif prompt.startswith("@") and not prompt.startswith("@@"):
        from charlm import inputs

        text = inputs.file_text(writer, path_given("--prompt @FILE", prompt[1:]), "utf-8")
    else:
        return prompt[1:] if prompt.startswith("@@") else prompt
    return text if writer.language.document else text.removesuffix("\n")


def _novelty(writer: Model, model: str, source: str) -> Novelty:
    from charlm import inputs
    from charlm.novelty import Novelty

    if source != OWN_CORPUS:
        text = inputs.file_text(writer, source, "utf-8")
        return Novelty([text] if writer.language.document else text.split("\n"), not writer.language.document)
    return Novelty(inputs.training_text(writer, Path(model)), not writer.language.document)


def _verdict(judge: Novelty, text: str) -> dict[str, Any]:
    return {"copied": judge.copied(text), "longest_copied_run": judge.longest_run(text)}


def _mark(verdict: dict[str, Any]) -> str:
    if verdict["copied"]:
        return "[copied]"
    run = verdict["longest_copied_run"]
    return f"[new; {len(run)} copied in a row: {visible(run, keep='')}]"


def _values(sample: Sample, shown: str) -> dict[str, Any]:
    return {
        "text": shown,
        "tokens": sample.tokens,
        "logprob": sample.logprob,
        "ended": sample.ended,
        "ids": sample.ids,
    }


def _shown(text: str, raw: bool = False) -> str:
    return visible(text) if sys.stdout.isatty() and not raw else text


def _warn_of_unknown(model: Model, prompt: str) -> None:
    model.prompt_ids(prompt)  # first of all: a prompt that cannot be used at all
    unknown = model.unknown_in(prompt)
    if unknown:
        listed = ", ".join(repr(token) for token in unknown)
        click.echo(f"charlm: the model does not know {listed} of the prompt: read as <unk>", err=True)
