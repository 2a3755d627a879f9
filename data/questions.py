"""Questions in English, each with the class of what it asks for, for trying out classification.

    place	Never mind who sold the boat: where did the tall nurse hide it?

Classes: person, place, time, number, reason, way, thing, and yes-no (whether something is so). The
order of words matters, too: some questions stand after another one that does not count ("I know
when ..., but"), or after a clause that begins with "when" or "where"; and a polite form ("can you
tell me ...") begins like a question for yes or no but asks for more. All lines differ.

    python data/questions.py > data/questions.tsv
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

LINES = 2000


class Verb(NamedTuple):
    """A verb's forms, and what it is done to."""

    base: str
    past: str
    participle: str
    objects: list[str]


class Question(NamedTuple):
    """A question as a direct one ("why did she go") and as an indirect one ("why she went")."""

    direct: str
    indirect: str


def _words(text: str) -> list[str]:
    return text.split()


def _verb(forms: str, objects: str) -> Verb:
    base, past, *rest = forms.split()
    return Verb(base, past, rest[0] if rest else past, objects.split())


VERBS = [
    _verb("build built", "bridge house tower wall boat oven barn"),
    _verb("sell sold", "house boat horse lamp bread clock painting"),
    _verb("find found", "coin letter key ring map horse bone"),
    _verb("hide hid hidden", "coin letter key ring map bone painting"),
    _verb("write wrote written", "letter song book poem report"),
    _verb("steal stole stolen", "ring clock painting boat horse bread"),
    _verb("paint painted", "wall house boat barn gate door"),
    _verb("repair repaired", "clock bridge oven gate lamp roof"),
    _verb("bake baked", "bread cake pie"),
    _verb("break broke broken", "clock lamp window door oven cup"),
    _verb("open opened", "gate door window letter box"),
    _verb("read read", "letter book poem report map"),
    _verb("lose lost", "key ring coin map letter book"),
    _verb("buy bought", "lamp cake cup book horse boat box"),
]
MOVED = [verb for verb in VERBS if verb.base in {"sell", "find", "hide", "steal", "lose", "buy"}]
ROLES = _words(
    "baker doctor farmer nurse painter pilot sailor singer soldier tailor teacher writer"
)
NAMES = _words(
    "Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karla Leo Maria Nils Olga Peter"
)
PLACES = _words(
    "city village harbour forest museum library market school station valley garden town"
)
OF_PEOPLE = _words("clever famous kind old quiet tall young")
OF_THINGS = _words("broken green heavy new old red round small")
PLURALS = _words("books boxes coins cups horses keys lamps letters maps rings")  # may be moved
PERIODS = _words("year month week season century")
TOOLS = _words("tool method trick means")
POLITE = [
    "can you tell me",
    "do you know",
    "could you say",
    "does anyone remember",
    "have you heard",
]
WISHES = ["I wonder", "please tell me", "I would like to know", "say", "we have to find out"]
SETTINGS = [
    "when {clause}",
    "after {clause}",
    "where {clause}",
    "before {clause}",
    "since {clause}",
]
ASIDES = [
    "I know {other}, but",
    "never mind {other}:",
    "they told me {other}; but",
    "we all see {other}, yet",
    "forget {other}, and say:",
]
FORMS = ["plain", "plain", "polite", "wish", "aside", "setting", "late"]


class Asker:
    """Draws questions at random."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._kinds = {
            "person": self._person,
            "place": self._place,
            "time": self._time,
            "number": self._number,
            "reason": self._reason,
            "way": self._way,
            "thing": self._thing,
            "yes-no": self._yes,
        }

    def line(self) -> tuple[str, str]:
        """Draw a class, each as likely as the others, and a question of it."""
        label = self._rng.choice(list(self._kinds))
        asked, form = self._kinds[label](), self._rng.choice(FORMS)
        text = self._worded(form, label, asked) + ("." if form == "wish" else "?")
        return label, text[0].upper() + text[1:]

    def _worded(self, form: str, label: str, asked: Question) -> str:
        pick = self._rng.choice
        if form == "polite":
            return f"{pick(POLITE)} {asked.indirect}"
        if form == "wish":
            return f"{pick(WISHES)} {asked.indirect}"
        if form == "late":
            return f"{asked.direct}, {pick(POLITE)}"
        if form == "setting":
            return f"{pick(SETTINGS).format(clause=self._clause())}, {asked.direct}"
        if form == "aside":
            other = self._kinds[pick([kind for kind in self._kinds if kind != label])]()
            return f"{pick(ASIDES).format(other=other.indirect)} {asked.direct}"
        return asked.direct

    def _doer(self) -> str:
        pick = self._rng.choice
        return pick((pick(NAMES), f"the {pick(ROLES)}", f"the {pick(OF_PEOPLE)} {pick(ROLES)}"))

    def _thing_done(self) -> tuple[Verb, str]:
        verb, pick = self._rng.choice(VERBS), self._rng.choice
        thing = pick(verb.objects)
        return verb, pick((f"the {thing}", f"the {pick(OF_THINGS)} {thing}"))

    def _clause(self) -> str:
        verb, thing = self._thing_done()
        return f"{self._doer()} {verb.past} {thing}"

    def _about(self, *words: str) -> Question:
        """Ask with some of these words about where, when, why or how somebody did something."""
        (verb, thing), doer, word = self._thing_done(), self._doer(), self._rng.choice(words)
        if self._rng.random() < 0.3:
            passive = f"{verb.participle} by {doer}"
            return Question(f"{word} was {thing} {passive}", f"{word} {thing} was {passive}")
        return Question(
            f"{word} did {doer} {verb.base} {thing}", f"{word} {doer} {verb.past} {thing}"
        )

    def _person(self) -> Question:
        (verb, thing), role = self._thing_done(), self._rng.choice(ROLES)
        by = f"{thing} {verb.participle}"
        return self._rng.choice(
            (
                self._same(f"who {verb.past} {thing}"),
                self._same(f"which {role} {verb.past} {thing}"),
                Question(f"by whom was {by}", f"by whom {thing} was {verb.participle}"),
                Question(
                    f"whose {thing.split()[-1]} did {self._doer()} {verb.base}",
                    f"whose {thing.split()[-1]} {self._doer()} {verb.past}",
                ),
            )
        )

    def _place(self) -> Question:
        place = self._rng.choice(PLACES)
        return self._about("where", "where", f"in which {place}", f"near what {place}")

    def _time(self) -> Question:
        period = self._rng.choice(PERIODS)
        return self._about("when", "when", f"in which {period}", "at what hour", "how long ago")

    def _number(self) -> Question:
        verb, doer, many = self._rng.choice(MOVED), self._doer(), self._rng.choice(PLURALS)
        asked = self._rng.choice((f"how many {many}", f"how many {many}", f"what number of {many}"))
        thing = self._thing_done()[1]
        return self._rng.choice(
            (
                Question(f"{asked} did {doer} {verb.base}", f"{asked} {doer} {verb.past}"),
                Question(f"how old is {thing}", f"how old {thing} is"),
                Question(f"how much did {thing} cost", f"how much {thing} cost"),
                self._same(f"{asked} were {verb.participle} by {doer}"),
            )
        )

    def _reason(self) -> Question:
        (verb, thing), doer = self._thing_done(), self._doer()
        made = f"what made {doer} {verb.base} {thing}"
        return self._rng.choice(
            (
                self._about("why", "why", "for what reason", "for which purpose"),
                self._about("why"),
                self._same(made),
            )
        )

    def _way(self) -> Question:
        tool = self._rng.choice(TOOLS)
        return self._about("how", "how", "in what way", f"by which {tool}")

    def _thing(self) -> Question:
        verb, doer, pick = self._rng.choice(MOVED), self._doer(), self._rng.choice
        asked = pick(
            ("what", "what", f"which of the {pick(PLURALS)}", f"which {pick(verb.objects)}")
        )
        return pick(
            (
                Question(f"{asked} did {doer} {verb.base}", f"{asked} {doer} {verb.past}"),
                self._same(f"{asked} was {verb.participle} by {doer}"),
            )
        )

    def _yes(self) -> Question:
        (verb, thing), doer, pick = self._thing_done(), self._doer(), self._rng.choice
        whether = pick(("whether", "if"))
        return pick(
            (
                Question(
                    f"did {doer} {verb.base} {thing}", f"{whether} {doer} {verb.past} {thing}"
                ),
                Question(
                    f"has {doer} {verb.participle} {thing}",
                    f"{whether} {doer} has {verb.participle} {thing}",
                ),
                Question(
                    f"was {thing} {verb.participle} by {doer}",
                    f"{whether} {thing} was {verb.participle} by {doer}",
                ),
            )
        )

    @staticmethod
    def _same(words: str) -> Question:
        return Question(words, words)


def lines(seed: int = 0) -> Iterator[str]:
    """Yield different lines without end."""
    asker, seen = Asker(random.Random(seed)), set()
    while True:
        label, text = asker.line()
        if text not in seen:
            seen.add(text)
            yield f"{label}\t{text}"


def main(arguments: list[str] | None = None) -> None:
    """Write the lines to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--count", type=int, default=LINES, help="lines (%(default)s)")
    options = parser.parse_args(arguments)
    if options.count < 0:
        parser.error("--count cannot be negative")
    for line in islice(lines(options.seed), options.count):
        print(line)


if __name__ == "__main__":
    main()
