"""Peak memory: training against PyTorch, from step to step, and against the size of the corpus; classifiers too.

    python tests/benchmarks/memory.py [--large 1000] [--labelled 40] [--only classify]

The later parts write texts of so many megabytes to a temporary directory. All but the last needs torch.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

if __package__:
    from tests.benchmarks.train_speed import Shape, charlm_step, torch_step
else:
    from train_speed import Shape, charlm_step, torch_step

SHAPE = Shape("lstm", 2, 512, 50, 50, 65)
STEPS = (3, 30)


def peak(who: int = resource.RUSAGE_SELF) -> float:
    """Return the most memory that was resident, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(who).ru_maxrss / unit


def steps(contender: str, threads: int) -> None:
    """Print the peak after 3 and after 33 steps."""
    step = (charlm_step if contender == "charlm" else torch_step)(SHAPE, threads)
    for count in STEPS:
        for _ in range(count):
            step()
        print(peak())


def corpus(megabytes: int) -> None:
    """Print the peak of `charlm train` on a text of so many megabytes."""
    with tempfile.TemporaryDirectory() as room:
        text = Path(room, "text")
        line = b"It is a truth universally acknowledged, that a text must be long enough to be worth its model.\n"
        with text.open("wb") as file:
            for _ in range(megabytes):
                file.write(line * (10**6 // len(line)))
        command = [sys.executable, "-m", "charlm", "train", str(text), "-m", f"{room}/m", "-q"]
        options = ["--steps", "20", "--hidden", "128", "--sequences", "document", "--valid-fraction", "0"]
        subprocess.run([*command, *options], check=True)
        print(peak(resource.RUSAGE_CHILDREN))


def peak_of(*command: str) -> float:
    """Run a command, whose output nobody reads; return the most memory that it had, in MiB (RuntimeError if it fails).

    `RUSAGE_CHILDREN` would say what the largest of all so far had.
    """
    with subprocess.Popen([sys.executable, "-m", "charlm", *command], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"charlm {command[0]} ended with {process.returncode}")
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def labelled(path: Path, megabytes: int) -> None:
    """Write labelled lines of so many megabytes, no two alike: equal ones are looked for by their hashes."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(megabytes * 10**6 // 66):
            file.write(f"{'abcd'[number % 4]}\tIt is a truth {number:09}, universally acknowledged in part.\n")


def classes(megabytes: int) -> None:
    """Print the peaks of `train --task classify` and of `predict` on labelled lines: 1 MB, then so many."""
    train = ["--task", "classify", "--steps", "3", "--hidden", "64", "--threads", "1", "-q"]
    with tempfile.TemporaryDirectory() as room:
        trained, predicted = [], []
        for size in (1, megabytes):
            text = Path(room, f"{size}.tsv")
            labelled(text, size)
            trained.append(peak_of("train", str(text), "-m", f"{room}/m{size}", *train))
            predicted.append(peak_of("predict", "-m", f"{room}/m1", "--file", str(text)))
    for name, (small, large) in {"train --task classify": trained, "predict": predicted}.items():
        print(f"charlm {name} on 1 MB {small:.0f}, on {megabytes} MB {large:.0f}: {large - small:.0f} more")


def asked(*arguments: object) -> list[float]:
    """Run this file in a process of its own and return the figures it prints."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    return [float(word) for word in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=1000, help="megabytes of the large text")
    parser.add_argument("--labelled", type=int, default=40, help="megabytes of the large labelled text")
    parser.add_argument("--only", choices=["classify"], help="measure classifiers alone")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, size = options.one[0], int(options.one[1])
        return corpus(size) if what == "corpus" else steps(what, size)
    if options.only:
        return classes(options.labelled)
    print(f"peak resident memory, MiB; {SHAPE}")
    for threads in (1, 2):
        ours, theirs = asked("charlm", threads), asked("torch", threads)
        print(f"{threads} threads: charlm {ours[-1]:.0f} (after {STEPS[0]} steps {ours[0]:.0f}), "
              f"PyTorch {theirs[-1]:.0f}: {ours[-1] / theirs[-1]:.0%}")  # fmt: skip
    small, large = asked("corpus", 1)[0], asked("corpus", options.large)[0]
    print(f"charlm train on 1 MB {small:.0f}, on {options.large} MB {large:.0f}: {large - small:.0f} more")
    return classes(options.labelled)


if __name__ == "__main__":
    main()
