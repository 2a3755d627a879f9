"""Tags that mark spans, such as B-person and I-person: the schemes they are written in, and the
spans that they mean.

    IOB2     B- begins a span, I- goes on; O is outside
    IOB1     I- begins a span too, B- only one that stands right after another of its kind
    IOBES    E- ends a span, S- is one of a single token

**conlleval's rule** reads spans from any tags, those too that no scheme allows: a span begins at
B-, and at I- where what stands before it is O, of another kind, or not of this sentence. It goes on
until O, the next span or the end of the sentence. (`conlleval.pl` of CoNLL-2000 to 2003.) E- and S-
are read as seqeval's default mode reads them, for which that program has no rule: S- is a span, and
nothing goes on after E- or S-.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SCHEMES = ("IOB1", "IOB2", "IOBES")
OUTSIDE = "O"

Pair = tuple[str | None, str]  # the tag before, None at the beginning of a sentence, and a tag


class Span(NamedTuple):
    """Tokens `start` to `stop`, the latter not counted, that are of one kind together."""

    kind: str
    start: int
    stop: int


class Allowed(NamedTuple):
    """Which tags may begin a sentence, [L]; which may follow which, [L, L], the former by rows;
    which may end one, [L]."""

    start: NDArray[np.bool_]
    step: NDArray[np.bool_]
    end: NDArray[np.bool_]


@lru_cache(maxsize=1 << 12)
def parted(tag: str) -> tuple[str, str] | None:
    """Return the letter (B, I, E, S or O) and the kind of a tag that can mark spans, None for
    another.

    >>> parted("B-person"), parted("O"), parted("NOUN")
    (('B', 'person'), ('O', ''), None)
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    return (tag[0], tag[2:]) if tag[:1] in tuple("BIES") and tag[1:2] in ("", "-") else None


def mark_spans(names: Iterable[str]) -> bool:
    """Tell whether tags, all together, mark spans: each is O or a letter with a kind, and one is a
    kind's.

    Letters alone, without a kind, do where B is among them: I or S may be anything.
    """
    tags = set(names)
    parts = [parted(tag) for tag in tags]
    return None not in parts and ("B" in tags or any("-" in tag for tag in tags))


def begins(previous: str | None, tag: str) -> bool:
    """Tell whether a span begins at a tag after another (None: at the beginning of a sentence), by
    conlleval's rule.

    What marks no span is as O.
    """
    letter, kind = parted(tag) or (OUTSIDE, "")
    before, kind_before = (parted(previous) if previous is not None else None) or (OUTSIDE, "")
    if letter == OUTSIDE:
        return False
    return letter in "BS" or before in "OES" or kind != kind_before


def tag_pairs(tags: Sequence[str]) -> Iterator[Pair]:
    """Yield each tag of a sentence with the one before it."""
    return zip((None, *tags), tags, strict=False)


def scheme_of(pairs: Mapping[Pair, int]) -> str | None:
    """Return the scheme of tags, of which it is counted how often each stands after which; None
    where they mark no spans.

    It is IOBES where E- or S- stands, IOB1 where more spans that stand alone begin with I- than
    with B-.
    """
    return _found(pairs)[0]


def scheme_note(pairs: Mapping[Pair, int]) -> str:
    """Return a sentence that says which scheme tags are in, and why."""
    scheme, by_b, by_i = _found(pairs)
    if scheme is None:
        return "scheme: none, because the tags do not mark spans (B-, I- and O would)"
    if scheme == "IOBES":
        return "scheme: IOBES, because E- and S- end spans; trained as IOB2"
    spans, either = f"{by_b + by_i:,} spans that follow none of their kind", by_b + by_i
    if not by_i or not by_b:
        share = f"all of {spans}" if either != 1 else "the only span"
        return f"scheme: {scheme}, because {'B' if by_b else 'I'}- begins {share}{_as_iob2(scheme)}"
    return (
        f"scheme: {scheme}, because of {spans} B- begins {by_b:,} and I- {by_i:,}{_as_iob2(scheme)}"
    )


def _as_iob2(scheme: str) -> str:
    return "" if scheme == "IOB2" else "; trained as IOB2"


def _found(pairs: Mapping[Pair, int]) -> tuple[str | None, int, int]:
    """Return the scheme and how many spans that follow none of their kind begin with B- and with
    I-."""
    if not mark_spans(tag for _, tag in pairs):
        return None, 0, 0
    counts = {"B": 0, "I": 0}
    for (previous, tag), count in pairs.items():
        letter, kind = parted(tag) or (OUTSIDE, "")
        before = None if previous is None else parted(previous)
        if letter in "ES":
            return "IOBES", 0, 0
        if letter != OUTSIDE and (before is None or before[0] == OUTSIDE or before[1] != kind):
            counts[letter] += count
    return "IOB1" if counts["I"] > counts["B"] else "IOB2", counts["B"], counts["I"]


def iob2(previous: str | None, tag: str) -> str:
    """Return what a tag that stands after another is in IOB2; one that marks no span stays as it
    is."""
    letter, kind = parted(tag) or (OUTSIDE, "")
    if letter == OUTSIDE:
        return tag
    return f"{'B' if begins(previous, tag) else 'I'}{tag[1:2]}{kind}"


def to_iob2(tags: Sequence[str], scheme: str | None) -> list[str]:
    """Return the tags of a sentence of any scheme in IOB2, with the same spans; without a scheme as
    they are.

    >>> to_iob2(["I-x", "B-x", "O", "I-y"], "IOB1")
    ['B-x', 'B-x', 'O', 'B-y']
    """
    return list(tags) if scheme is None else [iob2(*pair) for pair in tag_pairs(tags)]


def from_iob2(tags: Sequence[str], scheme: str | None) -> list[str]:
    """Return the tags of a sentence, such as `to_iob2` gives, in another scheme, with the same
    spans.

    >>> from_iob2(["B-x", "B-x", "O", "B-y"], "IOB1"), from_iob2(["B-x", "I-x", "B-x"], "IOBES")
    (['I-x', 'B-x', 'O', 'I-y'], ['B-x', 'E-x', 'S-x'])
    """
    written = list(tags)
    if scheme in ("IOB1", "IOBES"):
        ended: Span | None = None
        for span in spans(tags):
            follows = ended is not None and (ended.stop, ended.kind) == (span.start, span.kind)
            letters = _letters(span.stop - span.start, scheme, follows)
            written[span.start : span.stop] = (
                letter + tag[1:]
                for letter, tag in zip(letters, tags[span.start : span.stop], strict=True)
            )
            ended = span
    return written


def _letters(length: int, scheme: str, follows: bool) -> str:
    """Return the letters of a span's tags; `follows`: whether it stands right after one of its
    kind."""
    if scheme == "IOB1":
        return ("B" if follows else "I") + "I" * (length - 1)
    return "S" if length == 1 else f"B{'I' * (length - 2)}E"


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the spans that the tags of a sentence mean by conlleval's rule, in order.

    >>> spans(["I-x", "I-x", "O", "I-y"])
    [Span(kind='x', start=0, stop=2), Span(kind='y', start=3, stop=4)]
    """
    found, start = [], None
    for place, (previous, tag) in enumerate(tag_pairs([*tags, OUTSIDE])):
        begun = begins(previous, tag)
        if start is not None and (begun or (parted(tag) or (OUTSIDE,))[0] == OUTSIDE):
            found.append(Span((parted(tags[start]) or ("", ""))[1], start, place))
            start = None
        start = place if begun else start
    return found


def allowed(names: Sequence[str]) -> Allowed:
    """Return which of the tags `names`, in IOB2, may stand where: I- only after B- or I- of its
    kind.

    Of tags that mark no spans every one may stand anywhere.
    """
    count = len(names)
    if not mark_spans(names):
        return Allowed(
            np.ones(count, np.bool_), np.ones((count, count), np.bool_), np.ones(count, np.bool_)
        )
    table = begin_table(tuple(names))
    goes_on = np.array([tag[0] == "I" for tag in names])
    return Allowed(~goes_on, ~(goes_on & table[:-1]), np.ones(count, np.bool_))


@lru_cache(maxsize=16)
def begin_table(names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return where spans begin, [L + 1, L]: at the tag of a column after that of a row, the last
    being no tag."""
    parts = [parted(tag) or (OUTSIDE, "") for tag in (*names, OUTSIDE)]
    numbers = {kind: number for number, (_, kind) in enumerate(parts)}
    letter = np.array([letter for letter, _ in parts])
    kind = np.array([numbers[kind] for _, kind in parts])
    alone, over = np.isin(letter, ["B", "S"]), np.isin(letter, [OUTSIDE, "E", "S"])
    new = alone | over[:, None] | (kind != kind[:, None])
    return np.asarray((new & (letter != OUTSIDE))[:, :-1])
