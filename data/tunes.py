"""Tunes in ABC notation, of four kinds, for trying out labels and paragraphs: they can be played.

    X:1
    T:The Tailor's Lantern
    M:6/8
    L:1/8
    K:D
    |:"D"ABd f2e|"G"dBG B2d|...

Jigs, reels, waltzes and polkas, by rules of thumb for such tunes. A tune has two parts of eight
bars, each played twice (AABB). A part is one phrase of four bars that comes to rest elsewhere, and
another that begins like it and ends on the tonic; the second part lies higher, and its last two
bars are those of the first. Each bar has a chord of the key. A strong beat has a tone of that
chord, and what lies between goes mostly by steps. All bars add up to the metre, and no two tunes
have the same notes.

    python data/tunes.py data/tunes

writes jig.abc, reel.abc, waltz.abc and polka.abc there: a file a kind, tunes parted by blank lines.
`abc2midi` (of Debian's package abcmidi) makes of each a file to listen to.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

TUNES = 150  # of each kind

Rhythm = tuple[float, ...]  # lengths in eighths


class Kind(NamedTuple):
    """How tunes of a kind move: `beats` groups a bar, each in one of the `rhythms`.

    `close` is the rhythm of the last bar but for its last note, which is as long as a group.
    """

    metre: str
    beats: int
    rhythms: Sequence[Rhythm]
    keys: Sequence[str]


KINDS = {
    "jig": Kind("6/8", 2, [(1, 1, 1), (1, 1, 1), (1, 1, 1), (2, 1), (3,)], ["G", "D", "A", "Em"]),
    "reel": Kind(
        "4/4", 2, [(1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1), (2, 1, 1), (2, 2), (1, 2, 1), (3, 1)],
        ["D", "G", "A", "Am", "Em"],
    ),
    "waltz": Kind(
        "3/4", 1, [(2, 2, 2), (4, 2), (2, 1, 1, 2), (3, 1, 2), (2, 2, 1, 1), (4, 1, 1)],
        ["G", "C", "D", "Am"],
    ),
    "polka": Kind("2/4", 2, [(1, 1), (1, 1), (0.5, 0.5, 1), (1, 0.5, 0.5), (2,)], ["D", "G", "C"]),
}  # fmt: skip
LETTERS = "CDEFGAB"
SHARPS = {"C": "", "G": "F", "D": "FC", "A": "FCG"}  # of major keys
RELATIVE = {"Am": "C", "Em": "G"}  # the major key that has the same tones as a minor one
MINOR_STEPS = {1, 2, 5}  # of a major key, counted from 0, on which a minor triad stands
# Chords of two bars by their step in the key, from 1: how phrases begin, and how they end.
BEGIN = {"major": ["1 1", "1 4", "1 5", "1 6", "6 4"], "minor": ["1 1", "1 7", "1 3", "1 4"]}
REST = {"major": ["4 5", "1 5", "2 5", "6 5"], "minor": ["1 7", "4 5", "3 7"]}
CLOSE = {"major": ["5 1", "5 1", "4 1"], "minor": ["7 1", "5 1"]}
LOW, HIGH = range(1, 10), range(3, 13)  # of the first part from D to e, of the second from F to a
UP = 3  # steps above the tonic, near which the second part begins
LIKELY = (0.3, 4.0, 2.0, 0.5, 0.5)  # how much so is a leap of 0, 1, 2, ... steps from note to note
LEAP = len(LIKELY) - 1


def _words(text: str) -> list[str]:
    return text.split()


PEOPLE = _words("Baker Carter Dyer Fiddler Glazier Miller Piper Potter Sailor Tailor Tinker Weaver")
NAMES = _words("Agnes Bridget Colin Duncan Effie Flora Hamish Iris Jenny Morag Nora Rory Tam Una")
THINGS = _words("Candle Delight Fancy Farewell Garden Kettle Lantern Ramble Return Supper")
PLACES = _words("Bridge Ferry Forge Harbour Hill Market Meadow Mill Orchard Pier")
QUALITIES = _words("Cheerful Crooked Early Green Idle Long Merry New Old Silver")


class Note(NamedTuple):
    """A step of the scale, 0 at middle C, and a length in eighths."""

    step: int
    length: float

    def __str__(self) -> str:
        octave, letter = divmod(self.step, len(LETTERS))
        name = LETTERS[letter] if octave < 1 else LETTERS[letter].lower()
        length = "/" if self.length == 0.5 else "" if self.length == 1 else f"{self.length:g}"
        return name + "," * -octave + "'" * (octave - 1) + length


class Bar(NamedTuple):
    """A chord, by its step in the key from 0, and groups of notes."""

    chord: int
    groups: list[list[Note]]


class Key:
    """A key: its tonic, its mode and the names of its chords."""

    def __init__(self, name: str) -> None:
        self.mode = "minor" if name in RELATIVE else "major"
        self.tonic = LETTERS.index(name[0])
        major = RELATIVE.get(name, name)
        self._sharps, self._major = SHARPS[major], LETTERS.index(major)

    def chord(self, step: int) -> str:
        """Return the name of the chord on a step of the key."""
        root = (self.tonic + step) % len(LETTERS)
        minor = (root - self._major) % len(LETTERS) in MINOR_STEPS
        letter = LETTERS[root]
        return letter + ("#" if letter in self._sharps else "") + ("m" if minor else "")

    def tones(self, step: int) -> set[int]:
        """Return the steps of the scale, in any octave, of the chord on a step of the key."""
        return {(self.tonic + step + third) % len(LETTERS) for third in (0, 2, 4)}


class Composer:
    """Draws tunes of a kind at random."""

    def __init__(self, kind: Kind, rng: random.Random) -> None:
        self._kind, self._rng = kind, rng

    def tune(self) -> tuple[str, list[str]]:
        """Draw a tune: the name of its key, and four lines of four bars."""
        name = self._rng.choice(self._kind.keys)
        key = Key(name)
        home = min((key.tonic, key.tonic + 7), key=lambda step: abs(step - 6))
        begin = self._bars(key, BEGIN, LOW, None, home)
        rest = self._bars(key, REST, LOW, _last(begin))
        close = self._bars(key, CLOSE, LOW, _last(begin), home)
        begin_b = self._bars(key, BEGIN, HIGH, home + UP, close[0].groups[0][0].step)
        rest_b = self._bars(key, REST, HIGH, _last(begin_b))
        lines = []
        for phrase in ([*begin, *rest], [*begin, *close], [*begin_b, *rest_b], [*begin_b, *close]):
            bars = (f'"{key.chord(bar.chord)}"{_written(bar.groups)}' for bar in phrase)
            lines.append("|".join(bars))
        return name, [f"|:{lines[0]}|", f"{lines[1]}:|", f"|:{lines[2]}|", f"{lines[3]}:|"]

    def title(self, kind: str) -> str:
        """Draw a title."""
        pick = self._rng.choice
        person, place = pick(PEOPLE), pick(PLACES)
        return pick((
            f"The {person}'s {pick(THINGS)}", f"{pick(NAMES)}'s {kind.title()}",
            f"The {pick(QUALITIES)} {pick(THINGS)}", f"{pick(NAMES)} at the {place}",
            f"The {person}'s {kind.title()}", f"The {pick(QUALITIES)} {place}",
        ))  # fmt: skip

    def _bars(
        self, key: Key, chords: dict[str, list[str]], span: range, before: int | None,
        aim: int | None = None,
    ) -> list[Bar]:  # fmt: skip
        """Draw two bars on chords, of steps in the span, from the one before them.

        Their last step is the aim where the chords close, else at most a leap away from it.
        """
        steps = [int(step) - 1 for step in self._rng.choice(chords[key.mode]).split()]
        rhythms = [
            [self._rng.choice(self._kind.rhythms) for _ in range(self._kind.beats)] for _ in steps
        ]
        if chords is CLOSE:
            rhythms[-1][-1] = (sum(rhythms[-1][-1]),)
        left = sum(len(rhythm) for bar in rhythms for rhythm in bar)
        bars = []
        for step, rhythm_of_bar in zip(steps, rhythms, strict=True):
            groups = []
            for rhythm in rhythm_of_bar:
                notes = list[Note]()
                for length in rhythm:
                    left -= 1
                    near = 2 * left + (0 if chords is CLOSE else LEAP)
                    allowed = [x for x in span if aim is None or abs(x - aim) <= near]
                    before = self._next(before, key.tones(step), not notes, allowed)
                    notes.append(Note(before, length))
                groups.append(notes)
            bars.append(Bar(step, groups))
        return bars

    def _next(
        self, before: int | None, tones: set[int], strong: bool, allowed: Sequence[int]
    ) -> int:
        """Draw one of the allowed steps: a tone of the chord, or beside the step before."""
        likely = dict[int, float]()
        for step in allowed:
            leap = 0 if before is None else abs(step - before)
            of_chord = step % len(LETTERS) in tones
            if leap <= LEAP and (of_chord or (leap == 1 and not strong)):
                likely[step] = LIKELY[leap]
        (step,) = self._rng.choices(list(likely), list(likely.values()))
        return step


def _last(bars: Sequence[Bar]) -> int:
    return bars[-1].groups[-1][-1].step


def _written(groups: Sequence[Sequence[Note]]) -> str:
    return " ".join("".join(map(str, group)) for group in groups)


def tunes(kind: str, seed: int = 0) -> Iterator[str]:
    """Yield different tunes of a kind without end, as ABC."""
    composer, seen = Composer(KINDS[kind], random.Random(f"{seed} {kind}")), set[str]()
    while True:
        key, lines = composer.tune()
        notes = "\n".join(lines)
        if notes in seen:
            continue
        seen.add(notes)
        header = [f"X:{len(seen)}", f"T:{composer.title(kind)}", f"M:{KINDS[kind].metre}", "L:1/8"]
        yield "\n".join([*header, f"K:{key}", *lines, ""])


def main(arguments: list[str] | None = None) -> None:
    """Write the tunes, a file a kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where to write jig.abc, reel.abc, ...")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--count", type=int, default=TUNES, help="tunes a kind (%(default)s)")
    options = parser.parse_args(arguments)
    if options.count < 0:
        parser.error("--count cannot be negative")
    options.directory.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        text = "\n".join(islice(tunes(kind, options.seed), options.count))
        (options.directory / f"{kind}.abc").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
