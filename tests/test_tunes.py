"""The shipped tunes: their bars add up, phrases return and come to rest, by a parser of this
test's own.
"""

import re
import subprocess
import sys
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import pytest

from data import tunes

DIRECTORY = Path(tunes.__file__).parent / "tunes"
ROOT = Path(__file__).parents[1]
METRES = {"jig": "6/8", "reel": "4/4", "waltz": "3/4", "polka": "2/4"}
CHORDS = {
    "C": "C Dm Em F G Am", "G": "G Am Bm C D Em", "D": "D Em F#m G A Bm", "A": "A Bm C#m D E F#m",
    "Am": "Am C Dm Em F G", "Em": "Em G Am Bm C D",
}  # fmt: skip
TUNE = re.compile(
    r"X:(?P<number>\d+)\nT:[A-Z][A-Za-z' ]+\nM:(?P<metre>\d/\d)\nL:1/8\nK:(?P<key>[A-G]m?)\n"
    r"\|:(?P<a>.*)\|\n(?P<a2>.*):\|\n\|:(?P<b>.*)\|\n(?P<b2>.*):\|\n"
)
BAR = re.compile(r'"([^"]+)"((?:[A-Ga-g]\d?/? ?)+)')
NOTE = re.compile(r"([A-Ga-g])(\d?)(/?)")
LINES = ("a", "a2", "b", "b2")


def read(kind):
    """Return the tunes of a file, as they stand."""
    text = (DIRECTORY / f"{kind}.abc").read_text(encoding="utf-8")
    return [f"{tune}\n" for tune in text.removesuffix("\n").split("\n\n")]


TUNES = [(kind, tune) for kind in METRES for tune in read(kind)]


def parse(tune):
    """Return key, metre, and four lines of bars: chord, and groups of (letter, length)."""
    found = TUNE.fullmatch(tune)
    assert found, tune
    lines = [[bar(text) for text in found[name].split("|")] for name in LINES]
    return found["key"], found["metre"], lines


def bar(text):
    """Return the chord and the groups of notes of a bar."""
    chord, groups = BAR.fullmatch(text).groups()
    return chord, [
        [
            (letter, Fraction(int(times or 1), 2 if half else 1))
            for letter, times, half in NOTE.findall(group)
        ]
        for group in groups.split(" ")
    ]


def bars_that_do_not_add_up(tune):
    """Return the places, by line and bar, where the notes are more or fewer than the metre has."""
    _, metre, lines = parse(tune)
    return [
        (row, place)
        for row, line in enumerate(lines)
        for place, (_, groups) in enumerate(line)
        if sum(length for group in groups for _, length in group) != 8 * Fraction(metre)
    ]


PARSED = [(kind, *parse(tune)) for kind, tune in TUNES]


def test_tunes_are_what_the_generator_writes(tmp_path):
    tunes.main([str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{k}.abc" for k in METRES)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (DIRECTORY / path.name).read_bytes()


def test_tunes_are_as_many_as_promised_and_have_different_notes():
    for kind in METRES:
        numbers = [TUNE.fullmatch(tune)["number"] for tune in read(kind)]
        assert numbers == [str(n) for n in range(1, tunes.TUNES + 1)]
    assert len({tune.split("K:")[1] for _, tune in TUNES}) == len(TUNES)
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < 200_000


def test_every_bar_adds_up_to_the_metre_of_its_kind():
    assert [tune for _, tune in TUNES if bars_that_do_not_add_up(tune)] == []
    assert {(kind, metre) for kind, _, metre, _ in PARSED} == set(METRES.items())
    assert {len(line) for *_, lines in PARSED for line in lines} == {4}


@pytest.mark.parametrize(("right", "wrong", "place"), [
    ("d2e", "d2ee", (0, 1)), ("d2e", "d2", (0, 1)), ("d2e", "d3e", (0, 1)), ("A3", "A3/", (3, 3)),
])  # fmt: skip
def test_the_parser_sees_a_bar_that_does_not(right, wrong, place):
    first, last = '"A"ccd eAc|"D"d2e AGA|"D"F2E AFD|"E"EGA E2D', '"A"AcB A3'
    line = f"{first.rpartition('|')[0]}|{last}"
    tune = f"X:1\nT:One\nM:6/8\nL:1/8\nK:A\n|:{first}|\n{first}:|\n|:{first}|\n{line}:|\n"
    assert bars_that_do_not_add_up(tune) == []
    row = LINES[place[0]]
    found = TUNE.fullmatch(tune)
    begin, end = found.span(row)
    broken = tune[:begin] + found[row].replace(right, wrong) + tune[end:]
    assert bars_that_do_not_add_up(broken) == [place]


def test_phrases_return():
    for *_, (a, a2, b, b2) in PARSED:
        assert a[:2] == a2[:2]
        assert b[:2] == b2[:2]
        assert b2[2:] == a2[2:]


def test_a_part_ends_on_the_tonic_after_one_phrase_that_does_not():
    for _, key, _, (a, a2, b, b2) in PARSED:
        for line in (a2, b2):
            chord, groups = line[-1]
            assert (chord, groups[-1][-1][0].upper()) == (key, key[0])
        assert key not in (a[-1][0], b[-1][0])


def test_chords_are_of_the_key_and_strong_beats_of_the_chord():
    for _, key, _, lines in PARSED:
        for chord, groups in (bar for line in lines for bar in line):
            assert chord in CHORDS[key].split()
            letters = "CDEFGAB" * 2
            root = letters.index(chord[0])
            assert {group[0][0].upper() for group in groups} <= set(letters[root : root + 5 : 2])


def test_notes_move_by_small_steps_within_a_phrase():
    scale = "CDEFGABcdefgab"
    for *_, lines in PARSED:
        for line in lines[:3]:
            for half in (line[:2], line[2:]):
                notes = [letter for _, groups in half for group in groups for letter, _ in group]
                places = [scale.index(letter) for letter in notes]
                assert max(abs(a - b) for a, b in pairwise(places)) <= tunes.LEAP
                assert min(places) >= scale.index("D")


def test_another_seed_gives_other_tunes():
    first, second = (
        {tune.split("K:")[1] for tune in islice(tunes.tunes("jig", seed), 50)} for seed in (0, 1)
    )
    assert not first & second


def test_a_negative_number_of_tunes_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        tunes.main([str(tmp_path / "none"), "--count", "-1"])
    assert "cannot be negative" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_commands_of_the_readme_run(tmp_path):
    """As they stand there, but for two steps of training, after which no tune can be heard."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("### Tunes: ")[1].split("\n### ")[0]
    train, *others = [line for line in section.splitlines() if line.startswith("charlm ")]
    assert [line.split()[1] for line in others] == ["sample", "sample", "score", "sample"]
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "another.abc").write_text("\n".join(read("polka")[:2]), encoding="utf-8")
    others[-1] = others[-1].removesuffix("| abc2midi - -o tune.mid")
    charlm = f'charlm() {{ "{sys.executable}" -m charlm "$@"; }}'
    script = "\n".join(["set -e", charlm, f"{train} --steps 2 -q", *others])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "\nX:1\nT:Mine\nM:6/8\nL:1/8\nK:G\n|:" in done.stdout
    assert "total of 2 texts" in done.stdout
    assert done.stderr == ""
