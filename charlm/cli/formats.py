"""How scores are printed: for people, as JSON lines, as TSV, and as kenlm's `query` prints them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from charlm.cli.base import shown_line, write_line
from charlm.cli.painting import Paint, padded, token_shown
from charlm.cli.records import to_field, to_json
from charlm.scoring import Score, percent

if TYPE_CHECKING:
    from charlm.inputs import LongText
    from charlm.scoring import TokenScore

_COLUMNS = ("logprob", "tokens", "unknown", "perplexity", "ppl known", "bits/char")
_ROW = "{:>12} {:>8} {:>8} {:>11} {:>11} {:>10}  {}"
_FIGURES = ("logprob", "tokens", "unknown", "perplexity", "perplexity_known", "bits_per_char")
_TOKEN_FIGURES = ("text_number", "token", "logprob", "bits", "rank", "unknown")
_KENLM_UNKNOWN, _KENLM_END = 0, 2  # kenlm's ids; ours follow, moved by one


class Totals:
    """Adds scores up, those that pass by or that are given one by one."""

    def __init__(self, scores: Iterable[Score] = ()) -> None:
        self._scores = scores
        self.count = self._tokens = self._unknown = self._characters = self._eos = 0
        self._logprob = self._unknown_logprob = 0.0
        self._n_bytes: int | None = 0
        self._lossless = True

    def __iter__(self) -> Iterator[Score]:
        for score in self._scores:
            self.add(score)
            yield score

    def add(self, score: Score) -> None:
        """Add one more: what `Score` adds, a million times without a new score each."""
        self.count += 1
        self._logprob += score.logprob
        self._tokens += score.tokens
        self._unknown += score.unknown
        self._unknown_logprob += score.unknown_logprob
        self._characters += score.characters
        self._eos += score.eos
        self._lossless &= score.lossless
        if self._n_bytes is not None:
            self._n_bytes = None if score.n_bytes is None else self._n_bytes + score.n_bytes

    @property
    def total(self) -> Score | None:
        """The score of all of them; None where there were none."""
        if not self.count:
            return None
        return Score(
            "", self._logprob, self._tokens, self._unknown, self._unknown_logprob,
            self._characters, self._eos, self._n_bytes, self._lossless,
        )  # fmt: skip


def print_table(scores: Iterable[Score], per_token: bool, paint: Paint | None = None) -> None:
    """Print a table of texts as they come, the tokens of each below it, and the total of several."""
    every = Totals(scores)
    for score in every:
        if every.count == 1:
            write_line(_ROW.format(*_COLUMNS, "text"))
        in_place = paint is not None and paint.texts
        text = paint.text(score, one_line=True) if paint and in_place else shown_line(score.text)
        write_line(_row(score, text))
        for token in () if in_place else score.per_token:
            write_line(_token_line(token, paint))
    total = every.total
    if total is not None and every.count > 1:
        unknown = f", {share(total)} of the tokens unknown" if total.unknown else ""
        write_line(_row(total, f"total of {every.count:,} texts{unknown}"))


def print_one(score: Score, named: bool = False, paint: Paint | None = None) -> None:
    """Print one score in full, below those of its tokens; where it is `named`, first of all what was scored."""
    if named:
        write_line(f"scored           {shown_line(score.text)}")
    if paint is not None and paint.texts:
        write_line(paint.text(score, one_line=False).removesuffix("\n"))
    else:
        for token in score.per_token:
            write_line(_token_line(token, paint))
    write_line(f"log-probability  {score.logprob:.4f} nats ({score.log10:.4f} in log10)")
    unknown = f"{score.unknown:,} unknown" + (f" ({share(score)})" if score.unknown else "")
    write_line(f"tokens           {score.tokens:,}, {unknown}")
    known = f" ({figure(score.perplexity_known)} without unknown tokens)" if score.unknown else ""
    write_line(f"perplexity       {figure(score.perplexity)}{known}")
    bits = f"- ({score.why_no_bits})" if score.why_no_bits else figure(score.bits_per_char)
    write_line(f"bits per char    {bits}")
    if score.n_bytes is not None:
        write_line(f"bits per byte    {figure(score.bits_per_byte)}")


def print_json(scores: Iterable[Score], per_token: bool) -> None:
    """Print an object a text, and the total of several on stderr."""
    every = Totals(scores)
    for score in every:
        tokens = {"per_token": list(map(_token_values, score.per_token))} if per_token else {}
        given = {} if score.source is None else {"source": score.source}
        write_line(to_json(given | {"text": score.text} | _values(score) | tokens))
    _summarise(every)


def print_tsv(scores: Iterable[Score], per_token: bool) -> None:
    """Print a header and a line for each text, or each token; tabs and newlines in texts as escapes, None as NA."""
    write_line("\t".join(_TOKEN_FIGURES if per_token else (*_FIGURES, "text")))
    every = Totals(scores)
    for number, score in enumerate(every, start=1):
        for token in score.per_token:
            write_line(_token_row(number, token))
        if not per_token:
            write_line(_score_row(score))
    _summarise(every)


def print_kenlm(scores: Iterable[Score], per_token: bool) -> None:
    """Print what `query -v sentence` prints, or `query -v word` with tokens: base 10, and a summary at the end."""
    every = Totals(scores)
    for score in every:
        for place, token in enumerate(score.per_token, start=2):
            sys.stdout.write(_kenlm_word(token, place))
        write_line(_kenlm_total(score))
    if every.total is not None:
        _write_kenlm_summary(every.total)


PRINTERS = {"table": print_table, "json": print_json, "tsv": print_tsv, "kenlm": print_kenlm}


def print_long(long: LongText, form: str, paint: Paint | None = None) -> None:
    """Print one text token by token as `form` has it, while it is scored, so that memory does not grow with it."""
    if form == "json":
        _write_long_object(long)
        return
    if form == "tsv":
        write_line("\t".join(_TOKEN_FIGURES))
    for place, token in enumerate(long.tokens, start=2):
        if form == "kenlm":
            sys.stdout.write(_kenlm_word(token, place))
        else:
            write_line(_token_row(1, token) if form == "tsv" else _token_line(token, paint))
    if form == "table":
        print_one(long.total)
    elif form == "kenlm":
        write_line(_kenlm_total(long.total))
        _write_kenlm_summary(long.total)


def _write_long_object(long: LongText) -> None:
    """Write the object that `print_json` writes, piece by piece: text and tokens first, and then the figures."""
    sys.stdout.write('{"text": "')
    for text in long.text:
        sys.stdout.write(to_json(text)[1:-1])
    sys.stdout.write('", "per_token": [')
    for number, token in enumerate(long.tokens):
        sys.stdout.write((", " if number else "") + to_json(_token_values(token)))
    write_line("], " + to_json(_values(long.total))[1:])


def figure(value: float | None, sign: str = "") -> str:
    """Return a figure for people; `sign` + shows that of a positive one too."""
    return "-" if value is None else f"{value:{sign},.4f}"


def share(score: Score) -> str:
    """Return the share of unknown tokens in percent, never rounded to nothing."""
    return percent(score.unknown, score.tokens)


def _token_line(token: TokenScore, paint: Paint | None) -> str:
    best = ((token_shown(name), math.exp(logprob)) for name, logprob in token.alternatives)
    others = "  ".join(f"{name} {p:.2f}" for name, p in best)
    mark = "unknown" if token.unknown else ""
    line = f"{token.logprob:10.4f} nats {token.bits:8.3f} bits  rank {token.rank:<5,}"
    name = token_shown(token.token)
    shown = (
        padded(name, 12).replace(name, paint.painted(name, token.bits), 1)
        if paint
        else padded(name, 12)
    )
    return f"{line} {shown} {mark:<8} best: {others}"


def _score_row(score: Score) -> str:
    """Return the line of a text, as `_fields` would."""
    every, known, bits = map(_na, (score.perplexity, score.perplexity_known, score.bits_per_char))
    return f"{score.logprob}\t{score.tokens}\t{score.unknown}\t{every}\t{known}\t{bits}\t{to_field(score.text)}"


def _na(value: float | None) -> str:
    return "NA" if value is None else str(value)


def _token_row(number: int, token: TokenScore) -> str:
    return _fields(number, token.token, token.logprob, token.bits, token.rank, int(token.unknown))


def _values(score: Score) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(score, name) for name in _FIGURES}
    if score.why_no_bits:
        values["why_no_bits_per_char"] = score.why_no_bits
    if score.n_bytes is not None:
        values["bits_per_byte"] = score.bits_per_byte
    return values


def _token_values(token: TokenScore) -> dict[str, Any]:
    names = ("token", "id", "logprob", "bits", "rank", "unknown")
    best = [{"token": name, "logprob": logprob} for name, logprob in token.alternatives]
    return {name: getattr(token, name) for name in names} | {"alternatives": best}


def _row(score: Score, label: str) -> str:
    figures = (score.perplexity, score.perplexity_known, score.bits_per_char)
    return _ROW.format(f"{score.logprob:.4f}", score.tokens, score.unknown, *map(figure, figures), label)


def _summarise(every: Totals) -> None:
    total = every.total
    if total is None or (every.count == 1 and not total.unknown):
        return
    unknown = f" ({share(total)})" if total.unknown else ""
    sys.stdout.flush()  # where the product cannot be written, that alone is told
    click.echo(
        f"total of {every.count:,} {'text' if every.count == 1 else 'texts'}: {total.logprob:.4f} nats, "
        f"{total.tokens:,} tokens, {total.unknown:,} unknown{unknown}, perplexity {figure(total.perplexity)}, "
        f"bits per char {figure(total.bits_per_char)}",
        err=True,
    )


def _kenlm_word(token: TokenScore, place: int) -> str:
    """Return a word as kenlm has it: no tab and no end of a line may stand in it, which are escaped as in TSV."""
    number = _KENLM_UNKNOWN if token.unknown else _KENLM_END if token.end else token.id + 1
    name = "</s>" if token.end else to_field(token.token)
    return f"{name}={number} {place} {_float32(token.logprob / math.log(10))}\t"


def _kenlm_total(score: Score) -> str:
    return f"Total: {_float32(score.log10)} OOV: {score.unknown}"


def _write_kenlm_summary(total: Score) -> None:
    write_line(f"Perplexity including OOVs:\t{_number(total.perplexity)}")
    write_line(f"Perplexity excluding OOVs:\t{_number(total.perplexity_known)}")
    write_line(f"OOVs:\t{total.unknown}\nTokens:\t{total.tokens}")


def _fields(*values: Any) -> str:
    return "\t".join([to_field(value) for value in values])


def _float32(value: float) -> str:
    """Return the shortest digits of a float32, which is what kenlm computes in."""
    return str(np.float32(value))


def _number(value: float | None) -> str:
    return "nan" if value is None else repr(value)
