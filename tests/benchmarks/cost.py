"""What a training step costs, as each size grows by itself: milliseconds, and the rate of the multiplications.

    python tests/benchmarks/cost.py

The law: a step takes about  6 B T (2 layers G H^2 + H V) / rate  seconds, without the 2 for layer 0's input, which is
made once for each distinct token; the rate falls where the products are small.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

if __package__:
    from tests.benchmarks.train_speed import Shape, charlm_step, rate
else:
    from train_speed import Shape, charlm_step, rate

BASE = Shape("lstm", 1, 256, 64, 64, 65)
GROWTH = {
    "hidden": (64, 128, 256, 512, 1024),
    "batch": (8, 16, 32, 64, 128),
    "steps": (16, 32, 64, 128, 256),
    "vocabulary": (65, 256, 1_000, 10_000, 50_000),
    "layers": (1, 2, 3, 4),
    "cell": ("rnn", "gru", "lstm"),
}
THREADS = (1, 2)


def measure(shape: Shape, threads: int) -> float:
    """Return the milliseconds of a step, from a process of its own."""
    command = [sys.executable, __file__, "--one", str(shape), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(1000 / rate(charlm_step(Shape.parse(options.one[0]), int(options.one[1])), 1.0))
        return
    print(f"base: {BASE} (cell, layers, hidden, batch, steps, vocabulary)")
    print(f"{'':20}" + "".join(f"{f'{threads} threads':>12}{'GFLOP/s':>10}" for threads in THREADS))
    for name, values in GROWTH.items():
        for value in values:
            shape = BASE._replace(**{name: value})
            times = [measure(shape, threads) for threads in THREADS]
            cells = "".join(f"{time:9.1f} ms{shape.flops() / time / 1e6:10.0f}" for time in times)
            print(f"{name:12}{value:>8}{cells}", flush=True)


if __name__ == "__main__":
    main()
