"""The text's way to ids on one core: building the vocabulary, encoding, and both from the file, in MB/s.

    python tests/benchmarks/text_speed.py FILE
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from charlm.config import TextConfig
from charlm.text.corpus import prepare
from charlm.text.counting import CharCounter, WordCounter

REPEATS = 5
COUNTERS = {"char": CharCounter, "word": WordCounter}


def main() -> None:
    path = sys.argv[1]
    data = Path(path).read_bytes()
    text = data.decode("utf-8", "replace")

    def rate(work: Callable[[], object]) -> str:
        times = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
        return f"{len(data) / 1e6 / statistics.median(times):12,.0f}"

    print(f"{path}, {len(data) / 1e6:.1f} MB: MB/s\n{'':6}{'vocabulary':>12}{'encoding':>12}{'file to ids':>12}")
    for kind in ("char", "byte", "word"):
        config = TextConfig(tokenizer=kind)
        tokenizer = prepare([path], config).tokenizer
        counting = rate(lambda: COUNTERS[kind](config).add(text)) if kind in COUNTERS else f"{'none':>12}"  # noqa: B023
        source = data if kind == "byte" else text
        encoding = rate(lambda: tokenizer.encode(source))  # noqa: B023
        print(f"{kind:6}{counting}{encoding}{rate(lambda: prepare([path], config))}")  # noqa: B023


if __name__ == "__main__":
    main()
