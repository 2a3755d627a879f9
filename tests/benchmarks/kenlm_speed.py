"""Scoring lines by n-grams: charlm's and kenlm's own Python package on the same ARPA file, by turns, on one thread.

    pip install kenlm python tests/benchmarks/kenlm_speed.py FILE [--order 6] [--lines 1000000]
    [--tokenizer char] [-m MODEL]

A text's lines are counted, and as many scored, over and over until there are enough. kenlm gets
each line as its tokens with spaces between, once made beforehand and once made within its time, as
it must be for a text. charlm gets the text: its table alone, and with -m all of `Model.scores` and
of the command `charlm score -`, from its start to its last line of output, beside a script that
reads and prints as much by kenlm; the model's counts are then exported to kenlm. Times are
processor time, which a busy machine changes less than the clock's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
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


SCRIPT = """
import json, sys
import kenlm
model, names = kenlm.Model(sys.argv[1]), json.loads(sys.argv[2])
for line in sys.stdin:
    print("Total:", model.score(" ".join([names.get(each, "<unk>") for each in line.rstrip("\\n")])))
"""


def by_command(command: list[str], lines: list[str]) -> float:
    """Return log10 p of all lines by a command that reads them and prints a total of each."""
    with tempfile.TemporaryFile() as read, tempfile.TemporaryFile("w+") as written:
        read.write("".join(f"{line}\n" for line in lines).encode())
        read.seek(0)
        subprocess.run([sys.executable, *command], stdin=read, stdout=written, check=True)
        written.seek(0)
        return sum(float(line.split()[1]) for line in written if line.startswith("Total"))


def processor_time() -> float:
    """Return the seconds that this process and those that it has waited for have computed."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--order", type=int, default=6)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--tokenizer", default="char")
    parser.add_argument("-m", "--model")
    parser.add_argument("--repeats", type=int, default=3)
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
    names = arpa_names(tokenizer)
    file = tempfile.NamedTemporaryFile(suffix=".arpa")  # noqa: SIM115  (gone when this process ends)
    write_arpa(file, counts, names)
    file.flush()
    theirs = kenlm.Model(file.name)

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
        score = ["-m", "charlm", "score", "-m", options.model, "-", "--format", "kenlm"]
        ways["charlm score -"] = lambda: by_command(score, lines)
        if tokenizer.kind == "char":
            spelling = json.dumps({tokenizer.token(k): name for k, name in enumerate(names)})
            script = ["-c", SCRIPT, file.name, spelling]
            ways["kenlm, a script"] = lambda: by_command(script, lines)
    times: dict[str, list[float]] = {way: [] for way in ways}
    found = {}
    for _ in range(options.repeats):
        for way, work in ways.items():
            begun = processor_time()
            found[way] = work()
            times[way].append(processor_time() - begun)
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
