"""Many short lines through `charlm score -`, by turns with PyTorch on the same model file. Needs torch.

    python tests/benchmarks/lines.py [--lines 1000000] [--pairs 1] [--threads 2]

The lines are invented names of 4 to 40 letters, the model is an LSTM 2x128. PyTorch scores batches of lines sorted by
length within windows, padded, as packed sequences; it reads, encodes and writes the same lines. With the time goes the
peak memory of each.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WINDOW, BATCH = 4096, 256
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def make(room: Path, lines: int) -> None:
    """Write the lines and a model."""
    from charlm.config import ModelConfig
    from charlm.engines.numpy import NumpyEngine
    from charlm.language import Language
    from charlm.model import Model
    from charlm.text.tokenizers import CharTokenizer

    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 41, lines)
    letters = np.array(list(LETTERS))[rng.integers(26, size=int(lengths.sum()))]
    cuts = np.concatenate([[0], np.cumsum(lengths)])
    joined = "".join(letters)
    with (room / "lines").open("w") as file:
        file.writelines(f"{joined[a:b]}\n" for a, b in itertools.pairwise(cuts.tolist()))
    tokenizer = CharTokenizer(list(LETTERS))
    config = ModelConfig(tokenizer.size, cell="lstm", layers=2, hidden=128, embedding=64)
    language = Language(tokenizer, "line", "sequence")
    Model(NumpyEngine(config), config, language, {}).save(room / "model.safetensors")


def torch_score(model: str, threads: int) -> None:
    """Score the lines of stdin with PyTorch: `logprob TAB line`, in order."""
    import torch
    from safetensors.torch import load_file
    from torch import nn

    torch.set_num_threads(threads)
    tensors = load_file(model)
    vocabulary, width = tensors["embed.weight"].shape
    embed, head = nn.Embedding(vocabulary, width), nn.Linear(128, vocabulary)
    rnn = nn.LSTM(width, 128, 2, batch_first=True)
    for name, module in (("embed", embed), ("rnn", rnn), ("head", head)):
        prefix = f"{name}."
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        module.load_state_dict(own)
    ids_of = {letter: k + 2 for k, letter in enumerate(LETTERS)}

    def score(lines: list[str]) -> list[float]:
        order = sorted(range(len(lines)), key=lambda k: -len(lines[k]))
        found = [0.0] * len(lines)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            longest = len(lines[batch[0]]) + 1
            targets = torch.zeros((len(batch), longest), dtype=torch.long)
            for row, k in enumerate(batch):
                targets[row, : len(lines[k])] = torch.tensor([ids_of[letter] for letter in lines[k]])
            inputs = torch.zeros((len(batch), longest, width))
            inputs[:, 1:] = embed(targets[:, :-1])
            lengths = torch.tensor([len(lines[k]) + 1 for k in batch])
            packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True)
            output, _ = nn.utils.rnn.pad_packed_sequence(rnn(packed)[0], batch_first=True)
            logp = torch.log_softmax(head(output), -1).gather(-1, targets[:, :, None])[:, :, 0]
            counted = torch.arange(longest)[None] < lengths[:, None]
            for k, total in zip(batch, (logp * counted).sum(1).tolist(), strict=True):
                found[k] = total
        return found

    with torch.inference_mode():
        window: list[str] = []
        for line in sys.stdin:
            window.append(line[:-1])
            if len(window) == WINDOW:
                sys.stdout.writelines(f"{p}\t{text}\n" for p, text in zip(score(window), window, strict=True))
                window = []
        if window:
            sys.stdout.writelines(f"{p}\t{text}\n" for p, text in zip(score(window), window, strict=True))


def timed(command: list[str], room: Path, name: str) -> tuple[float, float]:
    """Return the seconds and the peak MiB of a process that reads the lines and writes to a file."""
    with (room / "lines").open() as stdin, (room / name).open("w") as stdout:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch", help=argparse.SUPPRESS)
    parser.add_argument("--make", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(Path(options.make), options.lines)
        return
    if options.torch:
        torch_score(options.torch, options.threads)
        return
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        # In a process of its own: children inherit the peak memory of their parent.
        subprocess.run([sys.executable, __file__, "--make", name, "--lines", str(options.lines)], check=True)
        model = str(room / "model.safetensors")
        commands = {
            "charlm": [sys.executable, "-m", "charlm", "score", "-m", model, "-", "--tsv"],
            "PyTorch": [sys.executable, __file__, "--torch", model, "--threads", str(options.threads)],
        }
        found: dict[str, list[tuple[float, float]]] = {who: [] for who in commands}
        for _ in range(options.pairs):
            for who, command in commands.items():
                found[who].append(timed(command, room, who))
        for who, figures in found.items():
            seconds = statistics.median(second for second, _ in figures)
            peak = max(memory for _, memory in figures)
            print(f"{who:8} {seconds:8.1f} s {options.lines / seconds:10,.0f} lines/s, peak {peak:.0f} MiB")
        ours = np.loadtxt(room / "charlm", skiprows=1, usecols=0, max_rows=2000)
        theirs = np.loadtxt(room / "PyTorch", usecols=0, max_rows=2000)
        print(f"largest relative difference of 2,000 scores: {np.abs(ours / theirs - 1).max():.1e}")


if __name__ == "__main__":
    main()
