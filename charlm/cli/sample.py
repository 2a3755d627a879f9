"""`charlm sample`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.base import PATH, GroupedCommand, as_utf8, model_option, option, visible
from charlm.cli.convert_scores import unknown_of_source, written_of
from charlm.cli.given import Given
from charlm.cli.label_scores import labelled_as
from charlm.cli.records import to_json
from charlm.cli.streams import let_controls_through, tell_what_is_awaited
from charlm.errors import CharlmError, MissingInputError, UsageError

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.novelty import Novelty
    from charlm.sampling import SamplingConfig
    from charlm.writing import Sample, Writer

_text = option("Text")
_draw = option("Drawing")
_must = option("Texts that must match")
_output = option("Output")

OWN_CORPUS = "own"
_LENGTH, _OF_PARAGRAPH = 200, 2000  # tokens; tunes and poems should reach their end


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm sample --length 500
  charlm sample -m names -n 20 --starts-with Ka --pattern '.*us'
  charlm sample -m names -n 10 --label Irish
  charlm sample -m sounds -n 3 --source tough
  charlm sample --prompt "To be" --temperature 0.7 --seed 1
  charlm sample --length 0 | head -n 100""")  # fmt: skip
@model_option()
@option("Model")("--no-counts", is_flag=True, help="Let the network predict alone, without the counts of its text.")
@_text("--length", type=int, default=_LENGTH, metavar="N",
       help="Most tokens of a text; 0: no end, after EOS the next text follows. "
       f"[default: {_LENGTH}; of a paragraph {_OF_PARAGRAPH:,}; of a target by its source]")  # fmt: skip
@_text("--prompt", default="", metavar="TEXT|@FILE|-", callback=as_utf8,
       help="Begin with this text, a file's (@FILE; @@ is an @ of the text itself), or stdin's (-).")  # fmt: skip
@_text(
    "--label",
    metavar="L",
    callback=as_utf8,
    help="Write texts of this label (models of labelled texts).",
)
@_text("--source", metavar="TEXT", callback=as_utf8,
       help="Write targets of this source (converters).")  # fmt: skip
@_text("-n", "--count", type=click.IntRange(1), default=1, show_default=True, metavar="COUNT",
       help="Write COUNT texts.")  # fmt: skip
@_text("--stop", metavar="TEXT", callback=as_utf8, help=r"End before this string; a newline is $'\n' in the shell.")
@_text(
    "--lines", type=int, metavar="N", help="End after N lines (models of documents or paragraphs)."
)
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
@_must("--pattern", metavar="RE", callback=as_utf8, help="Match this from end to end: by drawing until it does.")
@_must("--tries", type=click.IntRange(1), default=10_000, show_default=True, metavar="N",
       help="Most texts to draw for --contains and --pattern.")  # fmt: skip
@_output("--json", "as_json", is_flag=True, help="One JSON object a text: text, tokens, logprob, ended, ids.")
@_output("--echo/--no-echo", default=True, show_default=True, help="Write the prompt too.")
@_output("--number", is_flag=True, help="Number the texts.")
@_output("--separator", metavar="TEXT", callback=as_utf8,
         help=r"Between texts, such as $'\n'. [default: nothing; for paragraphs a blank line, "
         "for documents one of dashes]")  # fmt: skip
@_output("--novelty", type=PATH, metavar="FILE", is_flag=False, flag_value=OWN_CORPUS,
         help="Mark what is copied from the training text, or from FILE.")  # fmt: skip
@_output("--raw", is_flag=True, help="Send control characters to a terminal as they are.")
@click.pass_context
def sample(
    ctx: click.Context, /, model: str, no_counts: bool, label: str | None, source: str | None, prompt: str,
    count: int, beam: int | None, seed: int | None, contains: str | None, pattern: str | None, tries: int,
    as_json: bool, echo: bool, number: bool, separator: str | None, novelty: str | None, raw: bool, **drawing: Any,
) -> None:  # fmt: skip
    """Write text with a model, on stdout, until its end (EOS) or --length tokens; of a converter
    targets."""
    from charlm.loading import load_writer
    from charlm.model import without_counts
    from charlm.sampling import SamplingConfig

    config, given, regex = SamplingConfig(**drawing), Given(ctx), _compiled(pattern)
    _refuse_useless(given)
    opened: Any = load_writer(model, threads=None if count > 1 or beam else 1)
    if no_counts:
        (opened,) = without_counts([opened])
    loaded = labelled_as(written_of(opened, source), label)
    config = _with_length(config, given, opened, loaded, source)
    _refuse_for_this_model(given, loaded)
    prompt = _prompt(prompt, loaded)
    printer = _Printer(prompt, echo, number, as_json, _separator(separator, loaded, as_json))
    streams: Iterable[Iterator[str]] | None = None
    with given.hints_of_escapes("prompt", "starts_with", "stop", "contains"):
        writer = loaded.writer(prompt)
        accept = _acceptance(writer, config, contains, regex)
        if config.length == 0:
            streams = writer.series(config, seed)
        elif count == 1 and not (as_json or novelty or beam or accept):
            streams = [writer.stream(config, seed)]
        else:
            texts = _samples(writer, config, count, beam, accept, tries, seed)
    if raw:
        let_controls_through()
    _warn_of_unknown(loaded.unknown_in(prompt), "prompt")
    if source is not None:
        _warn_of_unknown(unknown_of_source(opened, source), "source")
    given.warn_of_escapes("prompt", "starts_with", "stop", "contains", "separator")
    if streams is not None:
        printer.print_streams(streams)
        return
    written = printer.print_texts(texts, _novelty(loaded, model, novelty) if novelty else None)
    if accept and written < count:
        raise CharlmError(f"only {written} of {count} texts matched in {tries:,} tries: raise --tries, or ask for less")


def _refuse_useless(given: Given) -> None:
    """Raise UsageError for an option that another one leaves nothing to do."""
    for name in ("starts_with", "contains"):
        given.refuse_empty(name)
    if given.values["beam"]:
        drawing = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
        given.refuse("--beam finds texts and draws none", *drawing, "contains", "pattern", "tries")
        given.refuse("--beam K gives K texts", "count")
    if given.values["length"] == 0:
        whole = ("count", "beam", "as_json", "novelty", "contains", "pattern")
        given.refuse("--length 0 writes text after text without end", *whole)
    elif max(given.values["count"], given.values["beam"] or 1) == 1:
        given.refuse("there is one text, with none to part it from: ask for several with -n", "separator")
    if given.values["as_json"]:
        given.refuse("--json writes an object a line", "separator", "raw")
    if given.values["contains"] is None and given.values["pattern"] is None:
        given.refuse("only --contains and --pattern take several tries", "tries")
    if not given.values["echo"] and "prompt" not in given:
        given.refuse("there is no prompt to leave out", "echo")
    if given.values["prompt"] == given.values["novelty"] == "-":
        raise UsageError("--prompt - and --novelty - cannot both read standard input: give one of them a file")


def _refuse_for_this_model(given: Given, model: Model) -> None:
    if not model.language.kind.newline and given.values["lines"] is not None:
        raise UsageError("this model writes single lines: ask for N of them with -n, and leave --lines out")
    if given.values["source"] is not None and given.values["novelty"] == OWN_CORPUS:
        given.refuse("a converter has learnt from pairs: name a file of targets", "novelty")
    if model.tokenizer.kind == "byte":
        given.refuse("a model of bytes knows them all", "unk")


def _with_length(
    config: SamplingConfig, given: Given, opened: Any, model: Model, source: str | None
) -> SamplingConfig:
    """Return the settings; where no length was given, a paragraph may have more than other texts,
    and a target what its source lets it have.
    """
    from charlm.text.sequences import PARAGRAPH

    if not given.left_out("length"):
        return config
    if source is not None:
        return replace(config, length=opened.most_tokens(source))
    return replace(config, length=_OF_PARAGRAPH) if model.language.kind is PARAGRAPH else config


def _samples(
    writer: Writer, config: SamplingConfig, count: int, beam: int | None, accept: Callable[[str], bool] | None,
    tries: int, seed: int | None,
) -> Iterable[Sample]:  # fmt: skip
    if beam:
        return writer.beam(beam, config)
    if accept:
        return writer.matching(count, accept, tries, config, seed)
    return writer.samples(count, config, seed)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern, re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"pattern {pattern!r} is no regular expression: {error}") from None


def _acceptance(
    writer: Writer, config: SamplingConfig, contains: str | None, regex: re.Pattern[str] | None
) -> Callable[[str], bool] | None:
    """Return what tells whether a text is as asked, None where nothing is; UsageError where none can be."""
    if contains is None and regex is None:
        return None
    possible, wanted = writer.possible(config), contains or ""
    longest = possible.longest(config.length, writer.prompt + config.starts_with)
    reason = possible.why_not(wanted, writer.prompt)
    if longest is not None and len(wanted) > longest:
        reason = f"it has more than {longest:,} characters, the most that --length lets a text have"
    if reason:
        raise UsageError(f"no text can have {wanted!r} in it: {reason}")
    if regex is None:
        return lambda text: wanted in text
    reason = possible.why_no_match(regex.pattern, writer.prompt, longest)
    if reason:
        raise UsageError(f"no text can match {regex.pattern!r}: {reason}")
    return lambda text: wanted in text and regex.fullmatch(text) is not None


def _prompt(prompt: str, model: Model) -> str:
    """Return the prompt that an option's value means: @FILE, - for stdin, or the text itself (@@ for @)."""
    from charlm import inputs

    if prompt == "@":
        raise UsageError("give a file after @ (--prompt @FILE), or @@ for the character itself")
    if prompt.startswith("@@") or not (prompt == "-" or prompt.startswith("@")):
        return prompt.removeprefix("@") if prompt.startswith("@@") else prompt
    if prompt == "-":
        tell_what_is_awaited("the prompt")
    file = "-" if prompt == "-" else prompt.removeprefix("@")
    try:
        text = inputs.file_text(model, file, "utf-8")
    except MissingInputError as error:
        if file == "-":
            raise
        raise MissingInputError(f"{error}; for a text that begins with @ write @{prompt}") from None
    return text if model.language.kind.newline else text.removesuffix("\n")


def _separator(separator: str | None, model: Model, as_json: bool) -> str:
    if separator is not None:
        return separator
    if as_json or not model.language.kind.newline:
        return ""
    return "-" * 20 + "\n" if model.language.document else "\n"


@dataclass(frozen=True)
class _Printer:
    """Prints texts, whole or as they are drawn, in the form that was asked for."""

    prompt: str
    echo: bool
    number: bool
    as_json: bool
    separator: str

    def print_streams(self, streams: Iterable[Iterator[str]]) -> None:
        """Print texts piece by piece, each flushed."""
        for written, pieces in enumerate(streams):
            prompt = next(pieces)
            click.echo(self._before(written) + (prompt if self.echo else ""), nl=False)
            for piece in pieces:
                click.echo(piece, nl=False)
            click.echo()

    def print_texts(self, texts: Iterable[Sample], judge: Novelty | None) -> int:
        """Print whole texts, and return how many there were."""
        copied = written = 0
        for text in texts:
            shown = text.text if self.echo else text.text[len(self.prompt) :]
            verdict = _verdict(judge, text.text) if judge else {}
            line = self._json(written, text, shown, verdict) if self.as_json else self._plain(written, shown, verdict)
            click.echo(line)
            written += 1
            copied += verdict.get("copied", 0)
        if judge:
            click.echo(f"{copied} of {written} copied from the training text", err=True)
        return written

    def _before(self, written: int) -> str:
        return (self.separator if written else "") + (f"{written + 1}\t" if self.number else "")

    def _plain(self, written: int, shown: str, verdict: dict[str, Any]) -> str:
        return self._before(written) + shown + ("\t" + _mark(verdict) if verdict else "")

    def _json(self, written: int, text: Sample, shown: str, verdict: dict[str, Any]) -> str:
        return to_json(({"number": written + 1} if self.number else {}) | _values(text, shown) | verdict)


def _novelty(writer: Model, model: str, source: str) -> Novelty:
    from charlm import inputs
    from charlm.novelty import Novelty

    if source != OWN_CORPUS:
        text = inputs.file_text(writer, source, "utf-8")
        return Novelty(writer.language.kind.of(text), writer.language.kind)
    return Novelty(inputs.training_text(writer, Path(model)), writer.language.kind)


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


def _warn_of_unknown(unknown: list[str], of: str) -> None:
    if unknown:
        listed = ", ".join(repr(token) for token in unknown)
        click.echo(f"charlm: the model does not know {listed} of the {of}: read as <unk>", err=True)
