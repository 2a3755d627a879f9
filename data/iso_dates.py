"""Dates as people write them in English, with the same date as ISO 8601 has it, for trying out how
one text is converted into another.

    Friday, 3rd of March 1972	1972-03-03

Years are from 1900 to 2099, of two digits ('72) from 1950 to 2049. With dots and hyphens the day
stands first (3.3.1972), with slashes the month (3/24/1972), as in Europe and in America. Weekdays
are those of the date. No date is there twice, so that all of held-out ones are unseen.

    python data/iso_dates.py > data/iso_dates.tsv
    python data/iso_dates.py --held-out 1000 > gold.tsv
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice

LINES = 5000
FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)


def _words(text: str) -> list[str]:
    return text.split()


MONTHS = _words(
    "January February March April May June July August September October November December"
)
WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
FORMS = [
    "{day} {month} {year}", "{day} {month} {year}", "{day} {short} {year}", "{day}{th} {month} {year}",
    "{day}{th} of {month} {year}", "{day}{th} of {month}, {year}", "the {day}{th} of {month}, {year}",
    "{month} {day}, {year}", "{month} {day}, {year}", "{short} {day}, {year}", "{month} {day}{th}, {year}",
    "{month} the {day}{th}, {year}", "{year} {month} {day}", "{year}, {short} {day}",
    "{weekday}, {day} {month} {year}", "{weekday} {day}{th} of {month} {year}", "{weekday}, {month} {day}, {year}",
    "{weekday} {day} {short} {year}", "{short_weekday} {day} {short} {year}", "{short_weekday}, {short} {day} {year}",
    "{day}.{number}.{year}", "{day:02}.{number:02}.{year}", "{day}-{number}-{year}", "{day}-{short}-{year}",
    "{number}/{day}/{year}", "{number:02}/{day:02}/{year}", "{year}/{number:02}/{day:02}",
    "{year}-{number:02}-{day:02}", "{year}{number:02}{day:02}",
]  # fmt: skip
FORMS_OF_TWO_DIGITS = [
    "{day} {month} '{two}", "{day} {short} '{two}", "{short} {day}, '{two}", "{month} {day}{th} '{two}",
    "{day}.{number}.{two}", "{number}/{day}/{two}", "{day}-{short}-{two}",
]  # fmt: skip


def endings(day: int) -> str:
    """Return what makes an ordinal number of a day's: st, nd, rd or th."""
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def written(day: date, rng: random.Random) -> str:
    """Draw a way to write a date."""
    forms = FORMS
    if 1950 <= day.year < 2050 and rng.random() < 0.2:
        forms = FORMS_OF_TWO_DIGITS
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    text = rng.choice(forms).format(
        day=day.day, th=endings(day.day), month=month, short=month[:3], number=day.month,
        year=day.year, two=f"{day.year % 100:02}", weekday=weekday, short_weekday=weekday[:3],
    )  # fmt: skip
    return rng.choice((text, text, text, text.lower(), text.upper()))


def pairs(seed: int = 0) -> Iterator[tuple[str, str]]:
    """Yield different dates, as they are written and as ISO 8601 has them, until there are no
    more."""
    rng = random.Random(seed)
    days = [FIRST + timedelta(k) for k in range((LAST - FIRST).days + 1)]
    rng.shuffle(days)
    for day in days:
        yield written(day, rng), day.isoformat()


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
