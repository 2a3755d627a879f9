"""Messages in English whose dates, times and durations are tagged, for trying out tags.

    Petra    O
    may      O
    come     O
    on       O
    Friday   B-DATE
    ,        I-DATE
    3        I-DATE
    May      I-DATE
    at       O
    ten      B-TIME
    to       I-TIME
    four     I-TIME
    .        O

A token and its tag a line, parted by a tab, and a blank line after each sentence. Tags are in BIO
(IOB2): DATE, TIME and DURATION. Few words tell their tag by themselves: May and March are words
like any other, numbers count people and pages, April is somebody's name, "two weeks" take time and
"two weeks ago" are a date, "from ten to four" are two times and "at ten to four" is one. Names are
often made up, so that words are unknown. All sentences differ.

    python data/dates.py > data/dates.tsv
    python data/dates.py --held-out 400 > gold.tsv
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from itertools import islice

SENTENCES = 1000

Token = tuple[str, str]  # as it is written, and its tag


def _words(text: str) -> list[str]:
    return text.split()


WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words(
    "January February March April May June July August September October November December"
)
HOURS = _words("one two three four five six seven eight nine ten eleven twelve")
MINUTES = _words("five ten twenty")
ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth")
NAMES = _words(
    "Anna April August Boris Clara David Elena Felix Greta Hugo Irene Jonas June Karla Leo Maria "
    "May Nils Olga Petra Ruth Sven Tilda Viktor"
)
SYLLABLES = _words("ba da fen gor hal ister kam lo mar nov or pel quin ra sel tor ul var win za")
ROLES = _words("baker dentist doctor farmer mechanic nurse painter pilot singer tailor teacher")
EVENTS = _words("choir concert course exam game lecture meal meeting party talk tour visit")
PLACES = _words("bakery bank café garden harbour library market museum school station theatre")
STREETS = _words("Bridge Elm Hill King Mill Park River School")
PEOPLE = _words("adults children friends guests pupils singers tourists")
THINGS = _words("boxes chairs chapters keys letters pages photographs questions tickets")
NUMBERED = _words("bus gate line page platform room seat table track")
OPENINGS = [
    "",
    "",
    "",
    "",
    "by the way ,",
    "please note :",
    "sorry ,",
    "good news :",
    "as agreed ,",
]

MESSAGES = [
    "{they} will meet {who} {when} {where} .",
    "the {event} begins {at} {where} .",
    "the {event} with {who} begins {on} {at} and takes {duration} .",
    "{they} may come {when} .",
    "can we move the {event} from {date} to {date} ?",
    "{they} had to march for {duration} with {count} {people} .",
    "{they} waited {where} for {duration} , but nobody came {on} .",
    "the {place} is open from {clock} to {clock} {on} .",
    "the {place} is open from {day} to {day} , {clock} to {clock} .",
    "take {numbered} {at} and get off after {duration} .",
    "{on} {they} sold {count} {things} to {who} .",
    "{when} the {event} is for {count} {people} only .",
    "for the {ordinal} time {they} forgot the {event} {on} .",
    "the {ordinal} door {where} is closed {on} .",
    "we may need {count} {things} for the {event} {on} .",
    "{they} read {count} {things} in {duration} {on} .",
    "please send {who} the {things} by {date} , {clock} .",
    "is {date} or {date} better for {they} ?",
    "the {event} of {date} was moved to {numbered} .",
    "{who} is {count} minutes' walk from {number} {street} , so leave {at} .",
    "the {event} {where} lasts {duration} , not {duration} .",
    "{who} was in {numbered} {on} and saw {they} there {at} .",
    "no {event} {on} , since {who} is away for {duration} .",
    "{who} lives {address} and may visit {they} {when} .",
    "{they} read from page {number} to {number} {on} .",
    "take the {clock} bus from {number} {street} , it takes {duration} .",
    "{they} will be at {number} {street} at {number_of_hour} .",
    "we met {who} {ago} , and again {on} {at} .",
    "between {clock} and {clock} {who} is {where} with {count} {people} .",
]


class Writer:
    """Draws messages at random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def sentence(self) -> list[Token]:
        """Draw a sentence: its tokens with their tags, the first one with a capital letter."""
        tokens = self._filled(f"{self._rng.choice(OPENINGS)} {self._rng.choice(MESSAGES)}")
        (first, tag), *rest = tokens
        return [(first[0].upper() + first[1:], tag), *rest]

    def _filled(self, pattern: str) -> list[Token]:
        """Draw for each word in braces what it stands for; other words are tagged O."""
        tokens = list[Token]()
        for word in pattern.split():
            if word.startswith("{"):
                tokens += getattr(self, f"_{word.strip('{}')}")()
            else:
                tokens.append((word, "O"))
        return tokens

    def _one_of(self, *patterns: str) -> list[Token]:
        return self._filled(self._rng.choice(patterns))

    def _span(self, kind: str, *patterns: str) -> list[Token]:
        """Draw one of the patterns, and tag all of it as a span."""
        words = [word for word, _ in self._one_of(*patterns)]
        return [(word, f"{'I' if k else 'B'}-{kind}") for k, word in enumerate(words)]

    # --- dates, times and durations ---------------------------------------------------------------

    def _date(self) -> list[Token]:
        return self._span(
            "DATE", "{weekday}", "{weekday}", "next {weekday}", "last {weekday}", "tomorrow", "yesterday", "today",
            "the day after tomorrow", "{weekday} , {number} {month}", "{number} {month}", "{month} {nth}",
            "the {nth} of {month}", "the {ordinal} of {month}", "{number} {month} {year}", "{digits}", "next week",
            "next {month}", "the end of {month}",
        )  # fmt: skip

    def _day(self) -> list[Token]:
        return self._span("DATE", "{weekday}")

    def _on(self) -> list[Token]:
        return self._one_of(
            "on {date_on}",
            "on {date_on}",
            "on {date_on}",
            "{date_alone}",
            "{date_alone}",
            "in {date_in}",
        )

    def _date_on(self) -> list[Token]:
        return self._span(
            "DATE", "{weekday}", "{weekday}", "{weekday} , {number} {month}", "{weekday} {number} {month}",
            "{number} {month}", "{month} {nth}", "the {nth} of {month}", "the {ordinal} of {month}",
            "{number} {month} {year}", "{digits}", "the {ordinal}",
        )  # fmt: skip

    def _date_alone(self) -> list[Token]:
        return self._span(
            "DATE", "tomorrow", "yesterday", "today", "next {weekday}", "last {weekday}", "next week", "last month",
            "the day after tomorrow", "this {weekday}",
        )  # fmt: skip

    def _date_in(self) -> list[Token]:
        return self._span("DATE", "{month}", "{month}", "early {month}", "{month} {year}", "{year}")

    def _clock(self) -> list[Token]:
        return self._span(
            "TIME", "{hour}", "{hour}", "{minute_of_day}", "{number} am", "{number} pm", "noon"
        )

    def _at(self) -> list[Token]:
        return self._one_of(
            "at {time}",
            "at {time}",
            "at {time}",
            "at about {time}",
            "before {time}",
            "after {time}",
        )

    def _time(self) -> list[Token]:
        return self._span(
            "TIME", "{hour}", "{number}", "{hour} o'clock", "{minute_of_day}", "{minute_of_day}", "half past {hour}",
            "{minutes} to {hour}", "{minutes} past {hour}", "a quarter to {hour}", "{number} am", "{number} pm",
            "noon", "midnight", "{hour} in the morning", "{hour} in the evening",
        )  # fmt: skip

    def _duration(self) -> list[Token]:
        return self._span(
            "DURATION", "{count} hours", "{count} minutes", "{count} days", "{count} weeks", "half an hour", "an hour",
            "a week", "{count} hours and a half", "a year",
        )  # fmt: skip

    def _number_of_hour(self) -> list[Token]:
        return self._span("TIME", "{number}")

    def _ago(self) -> list[Token]:
        return self._span(
            "DATE", "{count} days ago", "{count} weeks ago", "a year ago", "an hour ago"
        )

    def _when(self) -> list[Token]:
        return self._one_of("{on}", "{on} {at}", "{on} , {clock}", "{at}", "{at} {on}")

    # --- words ------------------------------------------------------------------------------------

    def _word(self, words: list[str]) -> list[Token]:
        return [(self._rng.choice(words), "O")]

    def _weekday(self) -> list[Token]:
        return self._word(WEEKDAYS)

    def _month(self) -> list[Token]:
        return self._word(MONTHS)

    def _hour(self) -> list[Token]:
        return self._word(HOURS)

    def _minutes(self) -> list[Token]:
        return self._word(MINUTES)

    def _ordinal(self) -> list[Token]:
        return self._word(ORDINALS)

    def _event(self) -> list[Token]:
        return self._word(EVENTS)

    def _place(self) -> list[Token]:
        return self._word(PLACES)

    def _people(self) -> list[Token]:
        return self._word(PEOPLE)

    def _things(self) -> list[Token]:
        return self._word(THINGS)

    def _number(self) -> list[Token]:
        return [(str(self._rng.randint(1, 12)), "O")]

    def _nth(self) -> list[Token]:
        day = self._rng.randint(1, 28)
        ending = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        return [(f"{day}{ending}", "O")]

    def _year(self) -> list[Token]:
        return [(str(self._rng.randint(1990, 2040)), "O")]

    def _digits(self) -> list[Token]:
        year, month, day = (self._rng.randint(*ends) for ends in ((1990, 2040), (1, 12), (1, 28)))
        return [(self._rng.choice((f"{year}-{month:02}-{day:02}", f"{day}.{month}.{year}")), "O")]

    def _minute_of_day(self) -> list[Token]:
        return [(f"{self._rng.randint(7, 22)}:{5 * self._rng.randrange(12):02}", "O")]

    def _count(self) -> list[Token]:
        several = self._rng.randint(2, 12)
        return [(self._rng.choice((HOURS[several - 1], str(several))), "O")]

    def _who(self) -> list[Token]:
        return self._one_of("{name}", "{name}", "the {role}", "{name} the {role}")

    def _they(self) -> list[Token]:
        return self._one_of("{who}", "{who}", "{who}", "{name} and {who}")

    def _name(self) -> list[Token]:
        return self._word(NAMES) if self._rng.random() < 0.6 else [(self._made_up(), "O")]

    def _made_up(self) -> str:
        return "".join(self._rng.choices(SYLLABLES, k=self._rng.randint(2, 3))).capitalize()

    def _role(self) -> list[Token]:
        return self._word(ROLES)

    def _where(self) -> list[Token]:
        return self._one_of(
            "at the {place}", "in the {place}", "near the {place}", "in {numbered}", "{address}"
        )

    def _numbered(self) -> list[Token]:
        return [*self._word(NUMBERED), *self._count()]

    def _address(self) -> list[Token]:
        return self._filled("at {number} {street}")

    def _street(self) -> list[Token]:
        name = self._rng.choice(STREETS) if self._rng.random() < 0.5 else self._made_up()
        return [(name, "O"), ("Street", "O")]


def sentences(seed: int = 0) -> Iterator[list[Token]]:
    """Yield different sentences without end."""
    writer, seen = Writer(random.Random(seed)), set()
    while True:
        sentence = writer.sentence()
        words = tuple(word for word, _ in sentence)
        if words not in seen:
            seen.add(words)
            yield sentence


def main(arguments: list[str] | None = None) -> None:
    """Write the sentences to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--count", type=int, default=SENTENCES, help="sentences (%(default)s)")
    parser.add_argument(
        "--held-out", type=int, metavar="N", help="instead N that are none of these"
    )
    options = parser.parse_args(arguments)
    if options.count < 0 or (options.held_out or 0) < 0:
        parser.error("--count and --held-out cannot be negative")
    first = 0 if options.held_out is None else options.count
    last = first + (options.count if options.held_out is None else options.held_out)
    for sentence in islice(sentences(options.seed), first, last):
        print("".join(f"{word}\t{tag}\n" for word, tag in sentence))


if __name__ == "__main__":
    main()
