"""Phonetisaurus and two rules on a set of pairs beside answers of ours; with intervals.

    cut -f 1 test.tsv | charlm predict -m MODEL - > ours.txt
    python tests/benchmarks/convert.py train.tsv test.tsv --answers ours.txt --words
        [--phonetisaurus ENV/bin/phonetisaurus]

TRAIN and TEST hold `source TAB target`; of several lines with one source any target counts, as
`charlm test` has it, whose figures these are. A file of answers has a line for each line of TEST.
Symbols are characters, with `--words` what white space parts (phonemes). Always there are the two
rules: the commonest target of TRAIN, and the source itself. The interval is a percentile one over
the sources, of the difference in exact match from the first file of answers: a source's two answers
stay together.

Phonetisaurus (weighted transducers) is from PyPI, in an environment of its own; it knows phonemes
only, and so is for `--words`. Its settings are the package's own; touch the test part once.
(sequitur-g2p 1.0.1668.30 installs under Python 3.11, but cannot train there.)
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from charlm.comparison import compare_right
from charlm.convert_gold import gathered
from charlm.convert_metrics import ConvertFigures, convert_tally, nearest
from charlm.text.pairs import Pair, read_pairs
from charlm.text.reading import TextFile

Answers = dict[str, str]  # the target of each source


def read(path: Path) -> list[Pair]:
    """Return the pairs of a file."""
    return list(read_pairs(TextFile(str(path)), "utf-8"))


def run(command: Sequence[str], stdin: str = "") -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-2000:]}")
    return done.stdout


def lexicon(pairs: Sequence[Pair], path: Path) -> str:
    """Write pairs as Phonetisaurus reads them; return the name."""
    path.write_text("".join(f"{source} {target}\n" for source, target in pairs), encoding="utf-8")
    return str(path)


def answers_of(text: str) -> Answers:
    """Return the first target that each source of lines `source target` has."""
    found: Answers = {}
    for line in text.splitlines():
        source, target = [*line.split(None, 1), "", ""][:2]
        found.setdefault(source, target.strip())
    return found


def phonetisaurus(command: str, train: Sequence[Pair], sources: Sequence[str]) -> Answers:
    """Train and apply Phonetisaurus."""
    with tempfile.TemporaryDirectory() as directory:
        model = str(Path(directory, "model.fst"))
        run([command, "train", "--model", model, lexicon(train, Path(directory, "train.txt"))])
        words = "".join(f"{source}\n" for source in sources)
        return answers_of(run([command, "predict", "--model", model], words))


def right_of(
    said: Answers, gold: dict[str, list[str]], words: bool
) -> tuple[ConvertFigures, np.ndarray]:
    """Return the figures of answers, and which of the sources are right, [S]."""
    numbers: dict[str, int] = {}

    def ids(text: str) -> np.ndarray:
        symbols = text.split() if words else list(text)
        return np.array([numbers.setdefault(one, 4 + len(numbers)) for one in symbols], np.int32)

    best = [ids(said.get(source, "")) for source in gold]
    references = [[ids(one) for one in some] for some in gold.values()]
    tally = convert_tally(best, references, 0.0, 0, 0)
    return ConvertFigures(tally), nearest(best, references)[0] == 0


def report(gold: dict[str, list[str]], contenders: dict[str, Answers], words: bool) -> None:
    """Print each contender's figures, and the first one's difference from each of the others."""
    found = {name: right_of(said, gold, words) for name, said in contenders.items()}
    first = next(iter(found))
    print(f"{len(gold):,} sources\nexact match  symbol errors  {first} - this one")
    for name, (figures, right) in found.items():
        line = f"{figures.exact_match or 0:11.2%} {figures.symbol_error_rate or 0:14.2%}  "
        if name != first:
            ours = found[first][1]
            ahead, behind = int((ours & ~right).sum()), int((right & ~ours).sum())
            compared = compare_right(ahead, behind, len(right))
            if compared.low is not None and compared.high is not None:
                bounds = f"{compared.low:+.2%} to {compared.high:+.2%}"
                line += f"{compared.mean:+.2%} ({bounds})  "
        print(line + name)


def timed(name: str, work: Callable[[], Answers]) -> Answers:
    """Return what a package answers, and print how long training and answering took."""
    begun = time.perf_counter()
    found = work()
    print(f"{name}: {time.perf_counter() - begun:.0f} s")
    return found


def main() -> None:
    """Run what was asked for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--answers", type=Path, nargs="*", default=[])
    parser.add_argument("--words", action="store_true", help="symbols are parted by white space")
    parser.add_argument("--phonetisaurus", metavar="COMMAND")
    given = parser.parse_args()
    train, test = read(given.train), read(given.test)
    gold = gathered(test)
    sources, contenders = list(gold), dict[str, Answers]()
    for path in given.answers:
        lines = path.read_text(encoding="utf-8").split("\n")[: len(test)]
        pairs = zip((source for source, _ in test), lines, strict=True)
        contenders[path.name] = dict(pairs)
    if given.phonetisaurus:
        contenders["Phonetisaurus"] = timed(
            "Phonetisaurus", lambda: phonetisaurus(given.phonetisaurus, train, sources)
        )
    common = Counter(target for _, target in train).most_common(1)[0][0]
    contenders["always the commonest"] = dict.fromkeys(sources, common)
    contenders["the source itself"] = {source: source for source in sources}
    report(gold, contenders, given.words)


if __name__ == "__main__":
    main()
