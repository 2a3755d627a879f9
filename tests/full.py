"""Run every full form of the tests, as many side by side as there are processors.

    python tests/full.py [words of a test's name, to run only those]

On two cores all of them take about half an hour. Each test is a process of its own, so that a long
one holds up nobody; what failed is shown at the end, and the exit code is then 1.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-m", "full", "-p", "no:cacheprovider"]


def collected(words):
    """Return the ids of the full forms whose names hold all the words."""
    command = [*PYTEST, "--collect-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line and all(w in line for w in words)]


def run(test):
    """Run one test; return its id, whether it passed, its output and how many seconds it took."""
    begun = time.monotonic()
    done = subprocess.run([*PYTEST, test], cwd=ROOT, capture_output=True, text=True, check=False)
    return test, done.returncode == 0, done.stdout + done.stderr, time.monotonic() - begun


def main(words):
    """Run the tests and tell of each as it ends; return the exit code."""
    tests, failures, begun = collected(words), [], time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in as_completed([pool.submit(run, test) for test in tests]):
            test, passed, output, seconds = future.result()
            print(f"{'passed' if passed else 'FAILED'}  {seconds:6.0f} s  {test}", flush=True)
            if not passed:
                failures.append(output)
    print(*failures, sep="\n")
    print(f"{len(tests)} full forms, {len(failures)} failed, {(time.monotonic() - begun) / 60:.1f} minutes")
    return 1 if failures or not tests else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
