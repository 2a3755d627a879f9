"""`charlm score`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charlm import config
from charlm.cli.base import DEFAULT_MODEL, PATH, GroupedCommand, as_utf8, option, visible
from charlm.errors import DataError, UsageError

if TYPE_CHECKING:
    from charlm.model import Model
    from charlm.scoring import Score

_model = option("Model")
_input = option("Input")
_figures = option("Figures")
_output = option("Output")

_DYNAMIC_RATE = 1e-4
_CACHE_TOKENS = 2000

_FORMATS = ("table", "json", "tsv", "kenlm")


@click.command(cls=GroupedCommand, epilog="""\b
Examples:
  charlm score "a sentence" "another one"
  charlm score --per-token "a sentence"
  cat lines.txt | charlm score - --json > scores.jsonl
  charlm score -m ours -m theirs --file held-out.txt""")  # fmt: skip
@click.argument("texts", nargs=-1, metavar="TEXT... | -", callback=as_utf8)
@_model("-m", "--model", "models", metavar="PATH", multiple=True, type=PATH, default=[DEFAULT_MODEL],
        show_default=True, envvar="CHARLM_MODEL", show_envvar=True,
        help="Model directory or .safetensors file; several are compared.")  # fmt: skip
@_model("--mix", metavar="W,W...", help="Mix the models, of one vocabulary, with these weights.")
@_model("--engine", type=click.Choice(config.ENGINES), default="numpy", show_default=True,
        help="What computes; torch: on a GPU.")  # fmt: skip
@_model("--device", metavar="NAME", default="auto", help="Of engine torch: cpu, cuda, cuda:1, mps.")
@_input("--file", "path", type=PATH, metavar="FILE",
        help="Score a file: its lines, or the whole for a model of documents.")  # fmt: skip
@_input("--lines/--whole", "lines", default=None, help="Take --file by lines, or as one text.")
@_input("--shard", metavar="I/N", help="Only every Nth line, from the Ith on.")
@_input("--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of the file.")
@_input("--corpus", type=PATH, metavar="FILE|valid|test",
        help="Score as training validates: a file, or a part of the run's own.")  # fmt: skip
@_input("--dynamic", type=float, is_flag=False, flag_value=_DYNAMIC_RATE, metavar="[RATE]",
        help="With --corpus: go on learning from the text once it is scored (dynamic evaluation), "
        f"at {_DYNAMIC_RATE:g} or RATE.")  # fmt: skip
@_input("--cache", type=int, is_flag=False, flag_value=_CACHE_TOKENS, metavar="[N]",
        help="With --corpus: look up what came in places like this one among the last "
        f"{_CACHE_TOKENS} or N tokens (continuous cache).")  # fmt: skip
@_input("--nbest", is_flag=True, help="Lines are lists to be re-ordered: list, other score and text, by tabs.")
@_figures("--weight", type=float, default=1.0, show_default=True, metavar="W",
          help="With --nbest: a total is the other score + W times the log-probability.")  # fmt: skip
@_figures("--eos/--no-eos", default=None, help="Score the end of each text. [default: for models of lines]")
@_figures("--per-token", is_flag=True, help="Also each token: log-probability, bits, rank, and the three best.")
@_output("--format", "form", type=click.Choice(_FORMATS), help="[default: table; json and tsv: totals on stderr]")
@_output("--json", "as_json", is_flag=True, help="Short for --format json.")
@_output("--tsv", "as_tsv", is_flag=True, help="Short for --format tsv.")
def score(
    models: tuple[str, ...], mix: str | None, nbest: bool, weight: float, per_token: bool, form: str | None,
    as_json: bool, as_tsv: bool, engine: str, device: str, **source: Any,
) -> None:  # fmt: skip
    """Say how probable texts are under a model: each argument, each line of stdin (-), or a file."""
    if sum((bool(source["texts"]), source["path"] is not None, source["corpus"] is not None)) != 1:
        raise UsageError('give texts to score ("a sentence"), - for stdin, --file FILE or --corpus FILE')
    adapts = source["dynamic"] is not None or source["cache"] is not None
    if adapts and source["corpus"] is None:
        raise UsageError("dynamic evaluation and the cache need one long text: give --corpus FILE, valid or test")
    if adapts and engine != "numpy":
        raise UsageError(f"engine {engine} has no dynamic evaluation and no cache: leave --engine out")
    form = form or ("json" if as_json else "tsv" if as_tsv else "table")
    import charlm.model

    scorers = [charlm.model.load(path, engine=engine, device=device) for path in models]
    if mix is not None:
        scorers = [charlm.model.mix(scorers, _weights(mix))]
    if len(scorers) > 1:
        _refuse_with_several(nbest, per_token, form)
        _compare(scorers, models, source, form == "json")
        return
    if nbest:
        _print_nbest(scorers[0], _texts(scorers[0], source), weight)
        return
    from charlm.cli.formats import PRINTERS

    PRINTERS[form](_scores(scorers[0], models[0], per_token, **source), per_token)


def _refuse_with_several(nbest: bool, per_token: bool, form: str) -> None:
    if nbest or per_token or form not in ("table", "json"):
        raise UsageError("several models are compared as a table or --json: leave the other options out, or --mix them")


def _weights(mix: str) -> list[float]:
    try:
        return [float(part) for part in mix.split(",")]
    except ValueError:
        raise UsageError(f"mix must be numbers with commas between, such as 0.7,0.3, not {mix!r}") from None


def _scores(
    scorer: Model, model: str, per_token: bool, texts: tuple[str, ...], path: str | None, lines: bool | None,
    shard: str | None, encoding: str, corpus: str | None, dynamic: float | None, cache: int | None,
    eos: bool | None,
) -> Iterable[Score]:  # fmt: skip
    """Return the scores that the arguments ask for."""
    from charlm import inputs

    whole = path is not None and (scorer.language.document if lines is None else not lines)
    if shard is not None and (whole or corpus is not None):
        raise UsageError("shard needs lines: give - or --file FILE --lines")
    if corpus is not None:
        return [inputs.score_corpus(scorer, Path(model), corpus, encoding, dynamic, cache)]
    if path is not None and whole and not per_token:
        return [inputs.score_file(scorer, path, encoding, scorer.counts_eos(eos))]
    source = {"texts": texts, "path": path, "lines": lines, "shard": shard, "encoding": encoding}
    return scorer.scores(_texts(scorer, source), eos, per_token)


def _texts(scorer: Model, source: dict[str, Any]) -> Iterable[str]:
    """Return the texts to be scored, one by one."""
    from charlm import inputs

    path, encoding = source["path"], source["encoding"]
    if path is None:
        stdin = source["texts"] == ("-",)
        texts: Iterable[str] = inputs.stdin_lines(scorer, encoding) if stdin else source["texts"]
    elif scorer.language.document if source["lines"] is None else not source["lines"]:
        texts = [inputs.file_text(scorer, path, encoding)]
    else:
        texts = inputs.file_lines(scorer, path, encoding)
    return texts if source["shard"] is None else _sharded(texts, source["shard"])


def _sharded(texts: Iterable[str], shard: str) -> Iterator[str]:
    first, _, count = shard.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise UsageError(f"shard must be I/N with I from 1 to N, such as 1/4, not {shard!r}")
    return (text for number, text in enumerate(texts) if number % int(count) == int(first) - 1)


def _compare(scorers: list[Model], names: tuple[str, ...], source: dict[str, Any], as_json: bool) -> None:
    """Print every text's log-probability under each model, and in total how the others stand to the first."""
    from charlm.comparison import compare

    if source["texts"] == ("-",):  # read once, for all of them
        texts = list(_texts(scorers[0], source))
        lists = [list(scorer.scores(texts, source["eos"])) for scorer in scorers]
    else:
        lists = [list(_scores(scorer, name, False, **source)) for scorer, name in zip(scorers, names, strict=True)]
    if not lists[0]:
        return
    if not as_json:
        click.echo("  ".join(f"{name[-14:]:>14}" for name in names) + "  text")
    for row in zip(*lists, strict=True):
        values = [score.logprob for score in row]
        if as_json:
            best = names[values.index(max(values))]
            click.echo(json.dumps({"text": row[0].text, "logprob": values, "best": best}, ensure_ascii=False))
        else:
            click.echo("  ".join(f"{value:14.4f}" for value in values) + f"  {visible(row[0].text, keep='')}")
    for name, scores in zip(names[1:], lists[1:], strict=True):
        found = compare([score.logprob for score in lists[0]], [score.logprob for score in scores])
        click.echo(
            f"{names[0]} against {name}: {found.total:+.4f} nats in total, ahead in {found.better:,} of "
            f"{found.texts:,} texts; a text {found.mean:+.4f} nats "
            f"(95 % interval {found.low:+.4f} to {found.high:+.4f}, paired bootstrap)", err=as_json,
        )  # fmt: skip


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, float, str]]:
    """Yield the entries of n-best lists: which list, the other score, the text."""
    for number, line in enumerate(lines, start=1):
        parts = line.split("\t", 2)
        try:
            yield parts[0], float(parts[1]), parts[2]
        except (IndexError, ValueError):
            raise DataError(f"line {number} is not: list, TAB, score, TAB, text") from None


def _print_nbest(scorer: Model, lines: Iterable[str], weight: float) -> None:
    """Print lists re-ordered, best first: list, total, other score, log-probability, text."""
    entries, copies = itertools.tee(_entries(lines))
    scored = zip(entries, scorer.scores(text for _, _, text in copies), strict=True)
    for name, group in itertools.groupby(scored, key=lambda pair: pair[0][0]):
        rows = [(other + weight * s.logprob, other, s.logprob, text) for (_, other, text), s in group]
        for total, other, logprob, text in sorted(rows, key=lambda row: -row[0]):
            click.echo(f"{name}\t{total:.6f}\t{other:g}\t{logprob:.6f}\t{text}")
