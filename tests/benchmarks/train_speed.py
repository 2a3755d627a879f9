"""Training speed against PyTorch: tokens/s of whole steps (forward, backward, clipping, Adam), by turns.

    python tests/benchmarks/train_speed.py [--pairs 3] [--threads 2 1] [--shape lstm,2,128,50,50,65 ...]

Random tokens, since the time does not depend on them; for words they follow Zipf's law, since charlm makes use of
tokens that repeat. Needs torch.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from charlm.cells import CELLS

if __package__:
    from tests.benchmarks.paired import announce, measure
else:
    from paired import announce, measure


class Shape(NamedTuple):
    cell: str
    layers: int
    hidden: int
    batch: int
    steps: int
    vocabulary: int

    def __str__(self) -> str:
        return ",".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Shape:
        cell, *sizes = text.split(",")
        return cls(cell, *map(int, sizes))

    @property
    def embedding(self) -> int:
        return self.hidden if self.vocabulary > 1000 else 64

    def flops(self) -> float:
        """Return the operations that one step cannot do without: layer 0's input product once a distinct token."""
        gates = CELLS[self.cell].gates * self.hidden
        rows = self.batch * self.steps
        table = min(rows, self.vocabulary) * gates * self.embedding
        products = table + rows * self.hidden * (gates * (2 * self.layers - 1) + self.vocabulary)
        return 6.0 * products


SHAPES = [
    Shape("lstm", 2, 128, 50, 50, 65),
    Shape("lstm", 2, 256, 64, 64, 65),
    Shape("lstm", 2, 512, 50, 50, 65),
    Shape("lstm", 1, 256, 32, 64, 65),
    Shape("gru", 2, 128, 50, 50, 65),
    Shape("gru", 2, 512, 50, 50, 65),
    Shape("rnn", 2, 128, 50, 50, 65),
    Shape("lstm", 2, 200, 20, 35, 10_000),
]
SECONDS = 4.0  # of measured steps in each process


def tokens(shape: Shape) -> np.ndarray:
    """Return ids [T + 1, B]."""
    rng = np.random.default_rng(0)
    if shape.vocabulary > 1000:
        ranks = np.arange(1, shape.vocabulary - 1)
        odds = 1 / ranks
        return rng.choice(ranks + 1, (shape.steps + 1, shape.batch), p=odds / odds.sum())
    return rng.integers(2, shape.vocabulary, (shape.steps + 1, shape.batch))


def charlm_step(
    shape: Shape, threads: int, engine: str = "numpy", device: str = "auto", line: float = math.inf
) -> Callable[[], object]:
    """Return a training step of an engine, with a reset after `line` tokens on average."""
    from charlm.config import NO_TOKEN, ModelConfig, TrainConfig
    from charlm.engines.choice import make_engine
    from charlm.text.batches import Batch

    config = ModelConfig(
        shape.vocabulary, cell=shape.cell, layers=shape.layers, hidden=shape.hidden, embedding=shape.embedding
    )
    trained = make_engine(config, TrainConfig(engine=engine, threads=threads, device=device))
    ids = tokens(shape).astype(np.int32)
    reset = np.random.default_rng(1).random(ids[1:].shape) < 1 / line
    batch = Batch(np.where(reset, np.int32(NO_TOKEN), ids[:-1]), ids[1:], reset, np.ones(reset.shape, np.float32))
    state = trained.zero_state(shape.batch)

    def step() -> None:
        nonlocal state
        _, _, state = trained.update(batch, state, 0.002)

    return step


def torch_step(shape: Shape, threads: int, device: str = "cpu") -> Callable[[], object]:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    kind: Any = getattr(nn, str(CELLS[shape.cell].torch))
    embed = nn.Embedding(shape.vocabulary, shape.embedding).to(device)
    rnn = kind(shape.embedding, shape.hidden, shape.layers).to(device)
    head = nn.Linear(shape.hidden, shape.vocabulary).to(device)
    parameters = [*embed.parameters(), *rnn.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.002)
    ids = torch.from_numpy(tokens(shape).astype(np.int64)).to(device)
    state = None

    def step() -> None:
        nonlocal state
        optimizer.zero_grad()
        output, after = rnn(embed(ids[:-1]), state)
        loss = nn.functional.cross_entropy(head(output).flatten(0, 1), ids[1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        state = tuple(part.detach() for part in after) if isinstance(after, tuple) else after.detach()
        loss.item()  # as any loop that reports its loss, and so that a GPU's work is waited for

    return step


def sgemm_step(threads: int) -> Callable[[], object]:
    del threads  # set in the environment
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out)


def rate(step: Callable[[], object], work: float) -> float:
    """Return the median of `work` over the seconds of a step."""
    for _ in range(3):
        step()
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 5:
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return work / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--shape", type=Shape.parse, nargs="+", default=SHAPES)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        contender, threads, *shape = options.one
        if contender == "sgemm":
            print(rate(sgemm_step(int(threads)), 2.0 * 2048**3))
            return
        make = charlm_step if contender == "charlm" else torch_step
        one = Shape.parse(shape[0])
        print(rate(make(one, int(threads)), one.batch * one.steps))
        return
    announce(options.threads)
    for threads in options.threads:
        report(options.shape, threads, options.pairs)


def report(shapes: list[Shape], threads: int, pairs: int) -> None:
    print(f"\n{threads} threads\n{'shape':26} {'charlm':>10} {'PyTorch':>10} {'ratio':>6} {'of sgemm':>9}")
    ratios = []
    for shape in shapes:
        contenders = [["--one", name, str(threads), str(shape)] for name in ("charlm", "torch", "sgemm")]
        ours, theirs, peak = measure(__file__, contenders, pairs, threads)
        ratios.append(ours / theirs)
        share = ours * shape.flops() / (shape.batch * shape.steps) / peak
        print(f"{shape!s:26} {ours:10,.0f} {theirs:10,.0f} {ratios[-1]:6.2f} {share:9.0%}", flush=True)
    print(f"geometric mean {math.exp(statistics.fmean(map(math.log, ratios))):.2f}")


if __name__ == "__main__":
    main()
