"""fastText and naive Bayes on a labelled set beside answers of ours; differences with intervals.

    charlm predict -m MODEL --file TEXTS > ours.txt
    python tests/benchmarks/classify.py train.tsv test.tsv --answers ours.txt

TRAIN and TEST hold `label TAB text`. A file of answers has a line for each line of TEST, the label
first (up to a tab, if there is one). An interval is a percentile one, of 10,000 draws of the test's
lines with replacement: a line's two answers stay together, so that what is hard for both cancels.

`--bayes` and `--fasttext` take JSON, merged into the defaults; choose settings on a validation
part given as TEST, and touch the test part once. Needs scikit-learn. Without its package fastText
is left out, and said to be (`pip install fasttext-wheel "numpy<2"` in an environment of its own:
its predict fails with NumPy 2).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Part = tuple[list[str], list[str]]  # labels, texts
BAYES = {"analyzer": "char_wb", "longest": 5, "alpha": 0.1, "lowercase": False}
FASTTEXT = {"minn": 1, "maxn": 5, "epoch": 25, "lr": 0.25, "dim": 50, "bucket": 200_000, "seed": 0}
DRAWS = 10_000


def read(path: Path) -> Part:
    """Return the labels and the texts of a file."""
    rows = [line.partition("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [label for label, _, _ in rows], [text for _, _, text in rows]


def bayes(train: Part, texts: list[str], settings: dict[str, Any]) -> list[str]:
    """Multinomial naive Bayes over the counts of n-grams of 1 to `longest` characters, or words."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    chosen = BAYES | settings
    longest, alpha = chosen.pop("longest"), chosen.pop("alpha")
    counter = CountVectorizer(ngram_range=(1, longest), **chosen)
    model = MultinomialNB(alpha=alpha).fit(counter.fit_transform(train[1]), train[0])
    return list(model.predict(counter.transform(texts)))


def fasttext(train: Part, texts: list[str], settings: dict[str, Any]) -> list[str]:
    """FastText supervised, on one thread; lines are shuffled, as it reads them in their order."""
    import fasttext as package

    chosen = FASTTEXT | settings
    labels = sorted(set(train[0]))  # told by number: a label may have spaces
    number = {label: i for i, label in enumerate(labels)}
    lines = [f"__label__{number[label]} {text}\n" for label, text in zip(*train, strict=True)]
    random.Random(chosen["seed"]).shuffle(lines)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "train.txt")
        path.write_text("".join(lines), encoding="utf-8")
        model = package.train_supervised(str(path), thread=1, verbose=0, **chosen)
    found = model.predict(texts)[0]  # [N][1]
    return [labels[int(first.removeprefix("__label__"))] for (first,) in found]


def macro_f1(gold: list[str], answers: list[str]) -> float:
    """Return the mean F1 of the labels of the gold; a label that is never answered counts 0."""
    pairs = list(zip(gold, answers, strict=True))
    right = {label: sum(a == b == label for a, b in pairs) for label in set(gold)}
    return float(
        np.mean([2 * n / (gold.count(label) + answers.count(label)) for label, n in right.items()])
    )


def interval(difference: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a paired difference [N]."""
    rng, n = np.random.default_rng(0), len(difference)
    low, high = np.percentile(
        [difference[rng.integers(0, n, n)].mean() for _ in range(DRAWS)], (2.5, 97.5)
    )
    return float(low), float(high)


def report(gold: list[str], contenders: dict[str, list[str]]) -> None:
    """Print each contender's figures, and the first one's difference from each of the others."""
    hits = {
        name: np.array([a == b for a, b in zip(gold, answers, strict=True)], float)
        for name, answers in contenders.items()
    }
    first = next(iter(hits))
    print(f"{len(gold)} lines\naccuracy  macro F1  {first} - this one")
    for name, answers in contenders.items():
        line = f"{hits[name].mean():8.2%} {macro_f1(gold, answers):9.4f}  "
        if name != first:
            difference = hits[first] - hits[name]
            low, high = interval(difference)
            line += f"{difference.mean():+.2%} ({low:+.2%} to {high:+.2%})  "
        print(line + name)


def main() -> None:
    """Run what was asked for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument(
        "--answers",
        type=Path,
        nargs="*",
        default=[],
        help="files, the first compared with all else",
    )
    parser.add_argument(
        "--bayes", type=json.loads, default={}, metavar="JSON", help=f"default {json.dumps(BAYES)}"
    )
    parser.add_argument(
        "--fasttext", type=json.loads, default={}, metavar="JSON", help=json.dumps(FASTTEXT)
    )
    options = parser.parse_args()
    train, (gold, texts) = read(options.train), read(options.test)
    contenders = {path.name: read(path)[0] for path in options.answers}
    contenders["naive Bayes"] = bayes(train, texts, options.bayes)
    try:
        contenders["fastText"] = fasttext(train, texts, options.fasttext)
    except ImportError:
        print("fastText's package is not installed: left out")
    report(gold, contenders)


if __name__ == "__main__":
    main()
