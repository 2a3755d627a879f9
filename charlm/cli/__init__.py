"""The command line: it parses, calls the library and prints. Only these files know click and tqdm."""

from __future__ import annotations

from charlm.cli.base import CharlmGroup
from charlm.cli.explain import explain
from charlm.cli.export import export
from charlm.cli.info import info
from charlm.cli.predict import predict
from charlm.cli.report import plot, report
from charlm.cli.sample import sample
from charlm.cli.score import score
from charlm.cli.test import test
from charlm.cli.train import train

main = CharlmGroup(
    "charlm",
    commands=[train, sample, score, predict, test, info, report, plot, explain, export],
    help=(
        "Train small language models on a text of yours, write new text in its manner, score sentences;\n"
        "train classifiers on labelled lines and taggers on tagged words, and label and tag new ones.\n\n"
        "\b\nExit codes: 0 done, 1 failure, 2 usage, 65 bad data or damaged model, 66 no such input, 73 cannot\n"
        "create output, 74 I/O failed, 75 busy, 129, 130 or 143 interrupted."
    ),
)
