"""The torch engine beside the NumPy engine and beside a bare loop of PyTorch's modules; resets; ranks.

    python tests/benchmarks/engines.py [--pairs 3] [--threads 2] [--device cpu] [--shape lstm,2,512,256,64,65 ...]
    python tests/benchmarks/engines.py --ranks lstm,1,256,64,64

Tokens/s of whole training steps, by turns, medians. "lines" has a reset after 20 tokens on average, so that the torch
engine cuts the chunk into pieces. With --ranks: two ranks of one thread under torchrun beside one rank of two threads,
from the logs of whole runs. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

if __package__:
    from tests.benchmarks.paired import announce, measure
    from tests.benchmarks.train_speed import Shape, charlm_step, rate, torch_step
else:
    from paired import announce, measure
    from train_speed import Shape, charlm_step, rate, torch_step

SHAPES = [
    Shape(cell, layers, hidden, batch, 64, vocabulary)
    for cell, layers, hidden, batch, vocabulary in [
        ("gru", 1, 128, 64, 65),
        ("gru", 1, 448, 64, 65),
        ("gru", 1, 1024, 64, 65),
        ("lstm", 1, 128, 64, 65),
        ("lstm", 2, 512, 64, 65),
        ("lstm", 2, 512, 256, 65),
        ("lstm", 3, 1024, 128, 65),
        ("lstm", 1, 2048, 64, 65),
        ("lstm", 2, 200, 32, 10_000),
    ]
]
LINE = 20  # tokens between resets
CONTENDERS = ("numpy", "torch", "bare", "numpy-lines", "torch-lines")


def one(contender: str, shape: Shape, threads: int, device: str) -> float:
    engine, _, lines = contender.partition("-")
    if engine == "bare":
        step = torch_step(shape, threads, device)
    else:
        step = charlm_step(shape, threads, engine, "auto" if engine == "numpy" else device, LINE if lines else math.inf)
    return rate(step, shape.batch * shape.steps)


def report(shapes: Sequence[Shape], threads: int, device: str, pairs: int) -> None:
    print(f"{'shape':26}" + "".join(f"{name:>13}" for name in CONTENDERS) + "  numpy/torch  torch/bare  its lines")
    for shape in shapes:
        arguments = [["--one", name, "--shape", str(shape), "--threads", str(threads), "--device", device]
                     for name in CONTENDERS]  # fmt: skip
        numpy, torch, bare, _, torch_lines = found = measure(__file__, arguments, pairs, threads)
        print(
            f"{shape!s:26}" + "".join(f"{figure:13,.0f}" for figure in found)
            + f"{numpy / torch:13.2f}{torch / bare:12.0%}{torch_lines / torch:11.0%}", flush=True,
        )  # fmt: skip


def report_ranks(shape: str, pairs: int) -> None:
    """Print tokens/s of two ranks with a thread each, and of one rank with two, by turns."""
    cell, layers, hidden, batch, steps = shape.split(",")
    settings = [
        "--engine", "torch", "--device", "cpu", "--cell", cell, "--layers", layers, "--hidden", hidden, "--batch-size",
        batch, "--seq-len", steps, "--dropout", "0", "--steps", "60", "--log-every", "10", "--eval-every", "1000",
    ]  # fmt: skip
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "charlm", "train"]
    contenders = {"two ranks": [*torchrun, "--threads", "1"], "one rank": ["-m", "charlm", "train", "--threads", "2"]}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as room:
        corpus = Path(room, "corpus.txt")
        corpus.write_text("".join(map(chr, np.random.default_rng(0).integers(32, 96, 400_000))) + "\n\n")
        for _ in range(pairs):
            for name, command in contenders.items():
                arguments = [sys.executable, *command, str(corpus), "-m", f"{room}/model", "--force", "-q", *settings]
                subprocess.run(arguments, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
                entries = map(json.loads, Path(room, "model", "log.jsonl").read_text().splitlines())
                found[name].append(statistics.median(entry["tokens_per_second"] for entry in entries))
    two, alone = (statistics.median(figures) for figures in found.values())
    print(f"{shape}: two ranks of one thread {two:,.0f} tokens/s, one of two threads {alone:,.0f}: {two / alone:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=Shape.parse, nargs="+", default=SHAPES)
    parser.add_argument("--ranks", nargs="+", default=[], metavar="SHAPE")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(one(options.one, options.shape[0], options.threads, options.device))
        return
    announce([options.threads])
    for shape in options.ranks:
        report_ranks(shape, options.pairs)
    if not options.ranks:
        report(options.shape, options.threads, options.device, options.pairs)


if __name__ == "__main__":
    main()
