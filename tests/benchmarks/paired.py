"""Two contenders measured by turns, each in a process of its own: medians, and nothing shared but the machine."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

_TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # would make one contender's BLAS another one


def measure(script: str, contenders: Sequence[Sequence[str]], pairs: int, threads: int) -> list[float]:
    """Run the script with each contender's arguments by turns, `pairs` times; return each one's median."""
    figures: list[list[float]] = [[] for _ in contenders]
    for _ in range(pairs):
        for arguments, found in zip(contenders, figures, strict=True):
            command = [sys.executable, script, *arguments]
            done = subprocess.run(command, env=_environment(threads), capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{' '.join(command)}:\n{done.stderr}")
            found.append(float(done.stdout.split()[-1]))
    return [statistics.median(found) for found in figures]


def announce(threads: Sequence[int]) -> None:
    """Print what the figures depend on."""
    import numpy as np

    print(f"NumPy {np.__version__}, {os.cpu_count()} processors, threads {', '.join(map(str, threads))}")
    for name in _TUNING:
        if name in os.environ:
            print(f"{name}={os.environ[name]} is unset for the measurement")


def _environment(threads: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _TUNING}
    return kept | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
