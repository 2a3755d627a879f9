"""Writing, scoring and starting, by turns with PyTorch or a bare interpreter. Needs torch.

    python tests/benchmarks/run_speed.py [--pairs 3]

writing: tokens/s of one stream, and of 64 texts at once; PyTorch draws with softmax and multinomial.
scoring: tokens/s of a forward pass with log-probabilities, 64 columns of 64 steps; PyTorch under inference_mode.
starting: milliseconds of whole processes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

if __package__:
    from tests.benchmarks.paired import announce, measure
else:
    from paired import announce, measure

VOCABULARY, SECONDS = 65, 3.0
NOTHING = "pass"


def charlm_engine(hidden: int, threads: int):
    from charlm.config import ModelConfig
    from charlm.engines.numpy import NumpyEngine

    return NumpyEngine(ModelConfig(VOCABULARY, cell="lstm", layers=2, hidden=hidden), threads)


def torch_model(hidden: int, threads: int):
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    return nn.Embedding(VOCABULARY, 64), nn.LSTM(64, hidden, 2), nn.Linear(hidden, VOCABULARY)


def charlm_write(hidden: int, texts: int, threads: int) -> float:
    from charlm.sampling import SamplingConfig, generate
    from charlm.text.batches import Context

    engine = charlm_engine(hidden, threads)
    engine.params["head.bias"][0] = -1e9  # EOS never comes, so that every text has its length
    config, prompt = SamplingConfig(length=200), np.zeros(0, np.int32)
    return rate(lambda: sum(len(step.ids) for step in generate(engine, Context(), prompt, config, 1, range(texts))))


def torch_write(hidden: int, texts: int, threads: int) -> float:
    import torch

    embed, rnn, head = torch_model(hidden, threads)

    def write() -> int:
        ids, state = torch.ones((1, texts), dtype=torch.long), None
        with torch.inference_mode():
            for _ in range(200):
                output, state = rnn(embed(ids), state)
                ids = torch.multinomial(torch.softmax(head(output[0]), -1), 1).T
                ids.tolist()
        return 200 * texts

    return rate(write)


def charlm_score(hidden: int, _: int, threads: int) -> float:
    from charlm.text.batches import Batch

    engine = charlm_engine(hidden, threads)
    ids = np.random.default_rng(0).integers(2, VOCABULARY, (65, 64)).astype(np.int32)
    batch = Batch(ids[:-1], ids[1:], np.zeros((64, 64), np.bool_), np.ones((64, 64), np.float32))
    state = engine.zero_state(64)

    def score() -> int:
        engine.log_probs(batch, state)
        return ids[1:].size

    return rate(score)


def torch_score(hidden: int, _: int, threads: int) -> float:
    import torch

    embed, rnn, head = torch_model(hidden, threads)
    ids = torch.from_numpy(np.random.default_rng(0).integers(2, VOCABULARY, (65, 64)))

    def score() -> int:
        with torch.inference_mode():
            output, _ = rnn(embed(ids[:-1]))
            torch.log_softmax(head(output), -1).gather(-1, ids[1:, :, None])
        return ids[1:].numel()

    return rate(score)


def rate(work: Callable[[], int]) -> float:
    """Return the median of tokens per second."""
    work()
    rates: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < SECONDS or len(rates) < 5:
        before = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - before))
    return statistics.median(rates)


def milliseconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return 1000 * (time.perf_counter() - begun)


def starting(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as room:
        text = Path(room, "text")
        text.write_text("".join(map(chr, range(33, 96))) * 50 + "\n" * 3)
        charlm = [sys.executable, "-m", "charlm"]
        shape = ["--cell", "lstm", "--layers", "2", "--hidden", "128", "--steps", "1"]
        subprocess.run([*charlm, "train", str(text), "-q", "-m", f"{room}/m", *shape], check=True)
        commands = {
            "python -c pass": [sys.executable, "-c", NOTHING],
            "charlm --help": [*charlm, "--help"],
            "charlm sample --length 200": [*charlm, "sample", "-m", f"{room}/m", "--length", "200"],
            "import torch": [sys.executable, "-c", "import torch"],
        }
        found: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(2 * pairs + 1):
            for name, command in commands.items():
                found[name].append(milliseconds(command))
        for name, times in found.items():
            print(f"{name:32} {statistics.median(times):8.0f} ms")


WORK = {
    "charlm-write": charlm_write, "torch-write": torch_write, "charlm-score": charlm_score, "torch-score": torch_score,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        work, *sizes = options.one
        print(WORK[work](*map(int, sizes)))
        return
    announce([1, 2])
    print(f"{'tokens/s, LSTM of two layers':32} {'charlm':>10} {'PyTorch':>10} {'ratio':>6}")
    for name, kind, hidden, texts, threads in [
        ("one stream, 128", "write", 128, 1, 1),
        ("one stream, 512", "write", 512, 1, 1),
        ("64 texts, 128", "write", 128, 64, 1),
        ("scoring, 128, 1 thread", "score", 128, 0, 1),
        ("scoring, 128, 2 threads", "score", 128, 0, 2),
        ("scoring, 512, 2 threads", "score", 512, 0, 2),
    ]:
        contenders = [["--one", f"{who}-{kind}", str(hidden), str(texts), str(threads)] for who in ("charlm", "torch")]
        ours, theirs = measure(__file__, contenders, options.pairs, threads)
        print(f"{name:32} {ours:10,.0f} {theirs:10,.0f} {ours / theirs:6.2f}", flush=True)
    starting(options.pairs)


if __name__ == "__main__":
    main()
