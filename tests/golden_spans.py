"""The golden file of spans that are read in different ways."""

from pathlib import Path

PATH = Path(__file__).parent / "golden" / "conlleval.txt"


def blocks():
    """Return a dictionary a case: gold and said tags, and (gold, said, right) by each way of
    reading."""
    found = []
    for block in PATH.read_text(encoding="utf-8").split("\n\n"):
        lines = [line.split() for line in block.splitlines() if not line.startswith("#")]
        if lines:
            found.append({
                name: rest if name in ("gold", "said") else tuple(map(int, rest))
                for name, *rest in lines
            })  # fmt: skip
    return found
