"""Scoring lines by n-grams: charlm's and kenlm's own Python package on the same ARPA file, by turns, on one thread.

    pip install kenlm python tests/benchmarks/kenlm_speed.py FILE [--order 6] [--lines 1000000]
    [--tokenizer char] [-m MODEL]

A text's lines are counted, and as many scored, over and over until there are enough. kenlm gets
each line as its tokens with spaces between, once made beforehand and once made within its time, as
it must be for a text. charlm gets the text: its table alone, and with -m all of `Model.scores`,
whose counts are then exported to kenlm.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np

from charlm.config import TextConfig
from charlm.counts.arpa import write_arpa
from charlm.counts.kneser_ney import count_text
from charlm.counts.names import arpa_names
from charlm.counts.table import Counts
from charlm.loading import load
from charlm.text.corpus import prepare
from charlm.text.tokenizers import EOS, Tokenizer

REPEATS = 5
BLOCK = 1 << 16  # lines that are encoded and looked up at a time


def by_table(counts: Counts, tokenizer: Tokenizer, lines: list[str]) -> float:
    """Return log10 p of all lines by the table alone."""
    total = 0.0
    for start in range(0, len(lines), BLOCK):
        text = "".join(f"{line}\n" for line in lines[start : start + BLOCK])
        targets = tokenizer.encode_lines(text)[:, None]
        inputs = np.concatenate([np.full((1, 1), EOS, np.int32), targets[:-1]])
        nodes = counts.walk(inputs, None, counts.zero_state(1))
        total += float(np.log10(counts.targets(nodes, targets)).sum())
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--order", type=int, default=6)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--tokenizer", default="char")
    parser.add_argument("-m", "--model")
    options = parser.parse_args()
    model = load(options.model, threads=1) if options.model else None
    if model is not None:
        counts, tokenizer = model.counts, model.tokenizer
    else:
        corpus = prepare([options.file], TextConfig(tokenizer=options.tokenizer, sequences="line"))
        tokenizer = corpus.tokenizer
        counts = count_text(corpus.train, tokenizer.size, options.order, EOS)
    own = [
        line for line in Path(options.file).read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    lines = list(itertools.islice(itertools.cycle(own), options.lines))
    with tempfile.NamedTemporaryFile(suffix=".arpa") as file:
        write_arpa(file, counts, arpa_names(tokenizer))
        file.flush()
        theirs = kenlm.Model(file.name)
    names = arpa_names(tokenizer)

    def spelled() -> list[str]:
        return [
            " ".join([names[token] for token in tokenizer.encode(line).tolist()]) for line in lines
        ]

    ready = spelled()
    ways: dict[str, Callable[[], float]] = {
        "kenlm, tokens given": lambda: sum(map(theirs.score, ready)),
        "kenlm, from text": lambda: sum(map(theirs.score, spelled())),
        "charlm, table alone, from text": lambda: by_table(counts, tokenizer, lines),
    }
    if model is not None:
        ways["charlm, Model.scores"] = lambda: sum(score.log10 for score in model.scores(lines))
    times: dict[str, list[float]] = {way: [] for way in ways}
    found = {}
    for _ in range(REPEATS):
        for way, work in ways.items():
            begun = time.perf_counter()
            found[way] = work()
            times[way].append(time.perf_counter() - begun)
    tokens = sum(map(len, map(str.split, ready))) + len(lines)
    print(
        f"{len(lines):,} lines, {tokens:,} tokens, order {counts.order}, {sum(counts.ngrams()):,} n-grams"
    )
    for way, seconds in times.items():
        middle = statistics.median(seconds)
        rate = f"{len(lines) / middle:12,.0f} lines/s {tokens / middle / 1e6:8.2f} million tokens/s"
        print(f"{way:32}{middle:8.2f} s {rate}   log10 p {found[way]:,.1f}")


if __name__ == "__main__":
    main()
