r"""Where a reader sees one character: extended grapheme clusters, by UAX #29 of Unicode 17.

Python has no such rule, and its `unicodedata` lacks the properties that it is made of; most follow
from the general category, and the rest stands here. Known to be coarser than the standard: any
symbol (So) counts as a pictograph, which matters after a zero-width joiner alone, and a character
that is younger than Python's tables is one by itself.

    cluster = CR LF | control | prepend* core (extend | ZWJ | spacing mark)*
    core    = Hangul syllable | two regional indicators | pictographs joined by ZWJ
            | consonants joined by a linker (a virama that makes conjuncts) | any other
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from charlm.text.tokenizers import character_class

_READ = (range(0x20000), range(0xE0000, 0xE1000))  # elsewhere are ideographs alone, or nothing
_ZWJ = 0x200D
# Spacing marks by their category that begin a cluster nevertheless, and letters that do not.
_APART = {
    0x102B, 0x102C, 0x1038, *range(0x1062, 0x1065), *range(0x1067, 0x106E), 0x1083,
    *range(0x1087, 0x108D), 0x108F, *range(0x109A, 0x109D), 0x1A61, 0x1A63, 0x1A64, 0xAA7B, 0xAA7D,
    0x11720, 0x11721,
}  # fmt: skip
_MARKS = {0x0E33, 0x0EB3, 0xFF9E, 0xFF9F, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)}
_PREPENDED = {
    *range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x0D4E, 0x110BD, 0x110CD,
    0x111C2, 0x111C3, 0x113D1, 0x1193F, 0x11941, 0x11A3A, *range(0x11A84, 0x11A8A), 0x11D46,
    0x11F02,
}  # fmt: skip
# Each linker with the consonants that it joins.
_CONJUNCTS = [
    (0x094D, [*range(0x0915, 0x093A), *range(0x0958, 0x0960), *range(0x0978, 0x0980)]),
    (0x09CD, [*range(0x0995, 0x09BA), 0x09DC, 0x09DD, 0x09DF, 0x09F0, 0x09F1]),
    (0x0ACD, [*range(0x0A95, 0x0ABA), 0x0AF9]),
    (0x0B4D, [*range(0x0B15, 0x0B3A), 0x0B5C, 0x0B5D, 0x0B5F, 0x0B71]),
    (0x0C4D, [*range(0x0C15, 0x0C3A), *range(0x0C58, 0x0C5B)]),
    (0x0D4D, [*range(0x0D15, 0x0D3B)]),
    (0x1039, [*range(0x1000, 0x102B), 0x103F, *range(0x1050, 0x1056), *range(0x105A, 0x105E)]),
    (0x17D2, [*range(0x1780, 0x17B4)]),
    (0x1B44, [0x1B0B, 0x1B0C, *range(0x1B13, 0x1B34), *range(0x1B45, 0x1B4D)]),
    (0x11133, [*range(0x11103, 0x11127), 0x11144, 0x11147]),
]
_SIGNS = {0x09BE, 0x09D7, 0x0B3E, 0x0B57, 0x0D3E, 0x0D57}  # spacing, and yet within a conjunct
_SYMBOLS = {0x203C, 0x2049, 0x2139, *range(0x2194, 0x219A)}


def ends(text: str) -> NDArray[np.int64]:
    """Return where each grapheme cluster of a text ends, in code points, rising: [clusters].

    >>> ends("e\\u0301a").tolist()
    [2, 3]
    """
    found = (match.end() for match in _cluster().finditer(text))
    return np.fromiter(found, np.int64)


@cache
def _cluster() -> re.Pattern[str]:
    """Build the pattern of a cluster, in which no run is read twice, however long it is."""
    controls, marks, pictures = _by_category()
    spacing = {point for point in marks - _SIGNS if unicodedata.category(chr(point)) == "Mc"}
    inner, linkers = marks - spacing - {0x200C}, {linker for linker, _ in _CONJUNCTS}
    consonant = character_class(sorted(each for _, several in _CONJUNCTS for each in several))
    unlinked, linked = character_class(sorted(inner - linkers)), character_class(sorted(inner))
    conjunct = (
        rf"{consonant}(?:{unlinked}*+{character_class(sorted(linkers))}{linked}*+{consonant})*"
    )
    unjoined = character_class(sorted(marks - {_ZWJ}))
    picture = character_class(sorted(pictures))
    joined = rf"{picture}(?:{unjoined}*+\u200d{picture})*"
    flag = "[\U0001f1e6-\U0001f1ff]{2}"
    core = f"{_hangul()}|{flag}|{joined}|{conjunct}|."
    control = character_class(sorted(controls))
    marked = character_class(sorted(marks))  # ZWJ among them
    prepended = character_class(sorted(_PREPENDED))
    # A control character ends what is prepended to it, which then is a cluster by itself.
    whole = rf"{prepended}*+(?!{control})(?:{core}){marked}*+"
    return re.compile(rf"\r\n|{control}|{whole}|{prepended}+", re.DOTALL)


def _hangul() -> str:
    """Return the pattern of a syllable of Hangul, in its parts or composed (rules GB6 to GB8)."""
    initial, vowel = "[\u1100-\u115f\ua960-\ua97c]", "[\u1160-\u11a7\ud7b0-\ud7c6]"
    final, whole = "[\u11a8-\u11ff\ud7cb-\ud7fb]", "[\uac00-\ud7a3]"
    unfinished = character_class(range(0xAC00, 0xD7A4, 28))  # composed, without a final consonant
    middle = f"{unfinished}{vowel}*|{vowel}+|{whole}"
    return f"{initial}*(?:{middle}){final}*|{initial}+|{final}+"


def _by_category() -> tuple[set[int], set[int], set[int]]:
    """Return the code points of controls, of what clings to the character before it, and of
    pictographs."""
    controls, marks, pictures = set(), {*_MARKS, _ZWJ, 0x200C}, set(_SYMBOLS)
    for point in itertools.chain(*_READ, range(0xD800, 0xE000)):
        category = unicodedata.category(chr(point))
        if category in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            controls.add(point)
        elif category[0] == "M":
            marks.add(point)
        elif category == "So":
            pictures.add(point)
    marks -= _APART
    flags = set(range(0x1F1E6, 0x1F200))
    return controls - marks - _PREPENDED, marks, pictures - marks - flags
