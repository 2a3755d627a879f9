"""`charlm predict` with a converter: the target of each source, a line each, as TSV or as JSON
lines, and what each of its tokens looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from charlm.cli.answers import tell_of_cuts
from charlm.cli.base import visible
from charlm.cli.given import Given
from charlm.cli.records import to_field, to_json
from charlm.cli.streams import tell_what_is_awaited
from charlm.cli.texts import STDIN, part_of_lines, tell_of_line_ends
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.converter import Alignment, Converted, Converter, Target

_MOST_SEEN, _LEAST_SEEN = 3, 0.05  # tokens of the source beside one of the target; their shares


def predict_targets(model: Converter, asked: Given, texts: Sequence[str], path: str | None) -> None:
    """Print the targets of sources: texts of the command line, or lines of a file."""
    values = asked.values
    top, beam = values["top"], values["beam"]
    _check(model, asked)
    sources, ready = _sources(asked, texts, path)
    answers = model.predict(sources, beam or top, top, values["unknown"], ready)
    aligned = ((answer, _aligned(model, answer) if values["align"] else None) for answer in answers)
    form = "json" if values["as_json"] else "tsv" if values["as_tsv"] else "plain"
    notes = _Notes(model.conversion.max_length)
    _print(aligned, form, top, "top" in asked, notes)
    notes.tell()


def _aligned(model: Converter, answer: Converted) -> Alignment | None:
    best = answer.targets[0]
    return None if best.logprob is None else model.align(answer.source, best.text)


def _check(model: Converter, asked: Given) -> None:
    """Raise UsageError for what does not go with a converter, or not together."""
    asked.refuse("a converter writes targets, which have no labels", "threshold", "prior")
    asked.refuse("a converter takes a line as a source", "columns")
    top, beam = asked.values["top"], asked.values["beam"]
    if beam is not None and top > beam:
        raise UsageError(f"a beam of {beam} has no {top} targets: raise --beam, or lower --top")
    if asked.values["align"]:
        if asked.values["as_tsv"]:
            raise UsageError("--align has no place in a line of --tsv: leave one of them out")
        if not model.conversion.attention:
            raise UsageError("this model was trained without attention: leave --align out")


def _sources(
    asked: Given, texts: Sequence[str], path: str | None
) -> tuple[Iterable[str], Callable[[], bool]]:
    """Return the sources, and what tells whether the next one is there."""
    if path is None:
        return texts, lambda: True
    if path == STDIN:
        tell_what_is_awaited("the sources")
    from charlm.text.stream import open_lines

    shard = part_of_lines(asked.values["shard"])
    lines = open_lines(path, asked.values["encoding"], shard, before_waiting=sys.stdout.flush)
    tell_of_line_ends(path, lines)
    return lines, lines.ready


def _print(
    answers: Iterator[tuple[Converted, Alignment | None]], form: str, top: int, scored: bool,
    notes: _Notes,
) -> None:  # fmt: skip
    """Print what was found for each source."""
    if form == "tsv":
        more = (name for k in range(2, top + 1) for name in (f"target_{k}", f"logprob_{k}"))
        sys.stdout.write("\t".join(["target", "logprob", *more, "source"]) + "\n")
    for answer, alignment in answers:
        notes.add(answer)
        if form == "json":
            line = _json(answer, alignment)
        else:
            line = _tsv(answer, top) if form == "tsv" else _plain(answer, top, scored)
        sys.stdout.write(line + "\n")
        if alignment is not None and form == "plain":
            sys.stdout.write("".join(f"{row}\n" for row in (*_rows(alignment), "")))


class _Notes:
    """What is to be known of all sources together."""

    def __init__(self, longest: int) -> None:
        """Prepare; of a source `longest` tokens are read."""
        self._longest = longest
        self._count = self._unknown = self._tokens = self._tabs = self._cut = self._limited = 0

    def add(self, answer: Converted) -> None:
        """Take what was found for one more."""
        self._count += 1
        self._unknown += answer.unknown > 0
        self._tokens += answer.unknown
        self._tabs += "\t" in answer.source
        self._cut += answer.cut
        self._limited += not answer.targets[0].ended

    def tell(self) -> None:
        """Tell it on stderr."""
        sys.stdout.flush()  # where the product cannot be written, that alone is told
        of = "source" if self._count == 1 else "sources"
        if self._unknown:
            tokens = "token" if self._tokens == 1 else "tokens"
            told = f"{self._tokens:,} {tokens} that training has not"
            click.echo(f"charlm: {self._unknown:,} of {self._count:,} {of} with {told}", err=True)
        if self._tabs:
            told = "a tab: predict takes sources alone (cut -f 1), charlm test pairs"
            click.echo(f"charlm: {self._tabs:,} of {self._count:,} {of} with {told}", err=True)
        tell_of_cuts(self._cut, self._count, self._longest)
        if self._limited:
            targets = "target" if self._limited == 1 else "targets"
            told = "stopped at the length limit, before an end was found"
            click.echo(f"charlm: {self._limited:,} {targets} {told}", err=True)


def _plain(answer: Converted, top: int, scored: bool) -> str:
    if not scored:
        return _line(answer.targets[0].text)
    fields = [
        field
        for target in answer.targets
        for field in (visible(target.text, keep=""), _figure(target.logprob))
    ]
    return "\t".join([*fields, *["-"] * (2 * top - len(fields))])


def _figure(logprob: float | None) -> str:
    return "-" if logprob is None else f"{logprob:.4f}"


def _line(text: str) -> str:
    """Return a target as one line; only one of bytes can have ends of lines."""
    return visible(text, keep="\t") if "\n" in text else text


def _tsv(answer: Converted, top: int) -> str:
    values: list[Any] = [
        value for target in answer.targets for value in (target.text, target.logprob)
    ]
    return "\t".join(map(to_field, [*values, *[None] * (2 * top - len(values)), answer.source]))


def _json(answer: Converted, alignment: Alignment | None) -> str:
    targets = [
        {"target": target.text, "logprob": target.logprob, "ended": _ended(target)}
        for target in answer.targets
    ]
    values = {"source": answer.source} | targets[0] | {"targets": targets}
    values |= {"unknown": answer.unknown}
    return to_json(values | ({} if alignment is None else {"alignment": _values(alignment)}))


def _ended(target: Target) -> str:
    if target.logprob is None:
        return "copied"
    return "eos" if target.ended else "length"


def _values(alignment: Alignment) -> dict[str, Any]:
    return {
        "source_tokens": alignment.source_tokens, "target_tokens": alignment.target_tokens,
        "shares": [[round(share, 6) for share in row] for row in alignment.shares.tolist()],
    }  # fmt: skip


def _rows(alignment: Alignment) -> Iterator[str]:
    """Yield a line for each token of a target: the tokens of the source that it looked at most."""
    for token, row in zip(alignment.target_tokens, alignment.shares.tolist(), strict=True):
        best = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:_MOST_SEEN]
        seen = [place for place in best if row[place] >= _LEAST_SEEN or place == best[0]]
        shown = (
            f"{place + 1}:{_token(alignment.source_tokens[place])} {row[place]:.2f}"
            for place in seen
        )
        yield f"  {_token(token):<8}  {'  '.join(shown)}"


def _token(token: str) -> str:
    """Return a token as people see it: the end by its name, white space between quotes."""
    return "<eos>" if not token else repr(token) if token.isspace() else visible(token, keep="")
