"""Which share of the tunes that a model writes abc2midi takes without complaint, and how many are copied.

    python tests/benchmarks/tunes.py -m MODEL --tunes jig data/tunes/jig.abc
        [--tunes reel data/tunes/reel.abc ...] [-n 200] [--temperature 1] [--min-p P]
        [--no-counts] [--seed 0]

`--tunes` is a kind and the files of its real tunes, blank lines between them. A model of labelled
texts is asked for tunes of that label, any other for tunes as they come. Those of a kind are
counted in two rows, the real ones and the written ones:

    valid     abc2midi (Debian's package abcmidi) makes a file of it without an error and without a
              warning about the length of a bar, and there is a note in it
    errors    lines of `Error in line-char ...` for a tune
    bars      lines of `Warning in line-char ...: Track 0 Bar 1 has 5 time units while the time
              signature has 6`, to the last bar or in a repeat; other warnings count for nothing
    whole     the tune stands in the training part as it is (`charlm sample --novelty`)
    notes     its notes do, whatever its title, chords, line ends and spaces
    run       the longest run of characters that stands there, in the mean
    length    characters, in the mean

The length of a tune's first and last bar is not looked at: a tune may begin with an upbeat. Shares
are of tunes, whatever the number of their errors. The last rows have them all, and below stands the
share of written tunes that are valid over that of the real ones.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean as mean

import charlm
from charlm.cli.label_scores import labelled_as
from charlm.inputs import training_text
from charlm.labelled import LabelledModel
from charlm.model import without_counts
from charlm.novelty import Novelty
from charlm.sampling import SamplingConfig
from charlm.text.sequences import PARAGRAPH

LENGTH = 4000  # tokens, three times the longest real tune
ERROR = re.compile("^Error in line-char", re.MULTILINE)
BAR = re.compile("^Warning in line-char .* time units while the time signature has", re.MULTILINE)
NOT_NOTES = re.compile(r'^(?:[A-Za-z]:|%).*|"[^"\n]*"|\s', re.MULTILINE)
NOTE = re.compile("[A-Ga-g]")
HEAD = ("kind", "tunes", "valid", "errors", "bars", "whole", "notes", "run", "length")
ROW = "{:20} {:>6} {:>7} {:>7} {:>7} {:>6} {:>6} {:>5} {:>7}"


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a tune of some length, and what of it is copied: whole, its notes, the
    longest run.
    """

    length: int
    valid: bool
    error: bool
    bar: bool
    whole: bool = False
    notes: bool = False
    run: int = 0


def heard(tune: str) -> Verdict:
    """Ask abc2midi, in a directory of its own: it leaves files where it runs."""
    with tempfile.TemporaryDirectory() as room:
        Path(room, "tune.abc").write_text(f"{tune}\n", encoding="utf-8")
        command = ["abc2midi", "tune.abc", "-o", "tune.mid"]
        done = subprocess.run(command, cwd=room, capture_output=True, check=False)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        made = done.returncode == 0 and Path(room, "tune.mid").exists()
    error, bar = bool(ERROR.search(said)), bool(BAR.search(said))
    valid = made and not error and not bar and has_notes(tune)
    return Verdict(len(tune), valid, error, bar)


def notes_of(tune: str) -> str:
    """Return the music alone: no fields and comments, no chords, no white space."""
    return NOT_NOTES.sub("", tune)


def has_notes(tune: str) -> bool:
    """Return whether a tune is more than its header."""
    return NOTE.search(notes_of(tune)) is not None


class Judge:
    """Says of written tunes what they are worth, beside the training part of a model."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._novelty = Novelty(texts, PARAGRAPH)
        self._notes = {notes_of(text) for text in texts}

    def verdict(self, tune: str) -> Verdict:
        found = heard(tune)
        whole, notes = self._novelty.copied(tune), notes_of(tune) in self._notes
        run = len(self._novelty.longest_run(tune))
        return replace(found, whole=whole, notes=notes, run=run)


def row(name: str, verdicts: Sequence[Verdict], written: bool) -> str:
    """Return a line of the table."""
    shares = [mean(getattr(each, what) for each in verdicts)
              for what in ("valid", "error", "bar", "whole", "notes")]  # fmt: skip
    shown = [f"{each:.1%}" for each in shares]
    run, length = (f"{mean(getattr(each, what) for each in verdicts):.0f}"
                   for what in ("run", "length"))  # fmt: skip
    copied = [*shown[3:], run] if written else ["-", "-", "-"]
    return ROW.format(name, len(verdicts), *shown[:3], *copied, length)


def real_tunes(files: Sequence[str]) -> list[str]:
    """Return the tunes of files."""
    texts = (Path(file).read_text(encoding="utf-8") for file in files)
    return [tune for text in texts for tune in PARAGRAPH.of(text)]


def written_tunes(model: charlm.Model, kind: str, options: argparse.Namespace) -> list[str]:
    """Return tunes of a kind, or of any where the model knows no labels."""
    settings = {"temperature": options.temperature, "min_p": options.min_p}
    config = SamplingConfig(length=LENGTH, **settings)
    asked = labelled_as(model, kind if isinstance(model, LabelledModel) else None)
    return [each.text for each in asked.samples(options.count, config, seed=options.seed)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-m", "--model", required=True, help="the directory of a run")
    parser.add_argument("--tunes", nargs="+", action="append", required=True, metavar="KIND FILE",
                        help="a kind and the files of its real tunes; for each kind")  # fmt: skip
    parser.add_argument("-n", "--count", type=int, default=200, help="tunes a kind (%(default)s)")
    parser.add_argument("--temperature", type=float, default=1.0, help="(%(default)s)")
    parser.add_argument("--min-p", type=float, help="leave out what is less probable (none)")
    parser.add_argument("--no-counts", action="store_true", help="let the network write alone")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    options = parser.parse_args()
    model = charlm.load(options.model)
    judge = Judge(training_text(model, Path(options.model)))
    if options.no_counts:
        (model,) = without_counts([model])
    every_real, every_written = [], []
    print(ROW.format(*HEAD))
    for kind, *files in options.tunes:
        real = [heard(tune) for tune in real_tunes(files)]
        written = [judge.verdict(tune) for tune in written_tunes(model, kind, options)]
        print(row(f"{kind}, real", real, False))
        print(row(f"{kind}, written", written, True), flush=True)
        every_real, every_written = [*every_real, *real], [*every_written, *written]
    print(row("all, real", every_real, False))
    print(row("all, written", every_written, True))
    ratio = mean(each.valid for each in every_written) / mean(each.valid for each in every_real)
    print(f"valid: written over real {ratio:.1%}")


if __name__ == "__main__":
    main()
