"""Numbers with their names in English, for trying out how one text is converted into another.

    1907	one thousand nine hundred and seven

Numbers are whole, from 0 to 999,999, and short ones are as likely as long ones. Some have a comma
before the last three digits (40,022). No number is there twice.

    python data/number_words.py > data/number_words.tsv
    python data/number_words.py --held-out 1000 > gold.tsv
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from itertools import islice

LINES = 3000
_DIGITS, _LIMIT = 6, 1_000_000


def _words(text: str) -> list[str]:
    return text.split()


SMALL = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")


def words(number: int) -> str:
    """Return the name of a number from 0 to 999,999.

    >>> words(40022)
    'forty thousand and twenty-two'
    """
    if number < len(SMALL):
        return SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    many, rest = divmod(number, size)
    joint = " and " if rest < 100 else " "
    return f"{words(many)} {name}" + (joint + words(rest) if rest else "")


def pairs(seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yield different numbers, as digits and as words, until there are no more."""
    rng, seen = random.Random(seed), set[int]()
    while len(seen) < _LIMIT:
        number = rng.randrange(10 ** rng.randint(1, _DIGITS))
        if number not in seen:
            seen.add(number)
            digits = f"{number:,}" if rng.random() < 0.3 else str(number)
            yield digits, words(number)


def main(arguments: list[str] | None = None) -> None:
    """Write the pairs to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--count", type=int, default=LINES, help="lines (%(default)s)")
    parser.add_argument(
        "--held-out", type=int, metavar="N", help="instead N that are none of these"
    )
    options = parser.parse_args(arguments)
    if options.count < 0 or (options.held_out or 0) < 0:
        parser.error("--count and --held-out cannot be negative")
    first = 0 if options.held_out is None else options.count
    last = first + (options.count if options.held_out is None else options.held_out)
    for source, target in islice(pairs(options.seed), first, last):
        print(source, target, sep="\t")


if __name__ == "__main__":
    main()
