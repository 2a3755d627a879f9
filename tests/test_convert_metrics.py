"""The figures of a converter: against recursion and plain counting."""

import random
from functools import cache

import numpy as np
import pytest

from charlm import convert_metrics
from charlm.convert_metrics import ConvertFigures, convert_tally, distances, nearest
from charlm.engines import Tally
from charlm.text.tokenizers import UNK


def ids(*numbers):
    return np.array(numbers, np.int32)


def by_recursion(ours, theirs):
    """Return the least number of edits, by the definition."""

    @cache
    def edits(i, j):
        if not i or not j:
            return i + j
        same = ours[i - 1] == theirs[j - 1] != UNK
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, edits(i - 1, j - 1) + (not same))

    return edits(len(ours), len(theirs))


def drawn(seed, sources=60, most=3):
    """Return targets and their references, some of them met; few symbols, UNK among the
    references'."""
    draw = random.Random(seed)
    said, gold = [], []
    for _ in range(sources):
        said.append(draw.choices(range(4, 8), k=draw.randrange(8)))
        some = [draw.choices([UNK, *range(4, 8)], k=draw.randrange(8)) for _ in range(most)]
        references = [*some, said[-1]] if draw.random() < 0.3 else some
        gold.append(draw.sample(references, draw.randrange(1, len(references) + 1)))
    return [ids(*of) for of in said], [[ids(*one) for one in of] for of in gold]


@pytest.mark.parametrize("cells", [1, 40, 1 << 18])
def test_distances_are_those_of_the_definition(monkeypatch, cells):
    """However many are computed side by side."""
    monkeypatch.setattr(convert_metrics, "_CELLS", cells)
    said, gold = drawn(1, 300)
    theirs = [references[0] for references in gold]
    expected = [by_recursion(*map(tuple, pair)) for pair in zip(said, theirs, strict=True)]
    assert distances(said, theirs).tolist() == expected
    assert 0 in expected


@pytest.mark.parametrize(
    ("ours", "theirs", "edits"),
    [((), (), 0), ((4, 5), (), 2), ((), (4,), 1), ((4, 5, 6), (5, 6), 1), ((4, 5), (5, 4), 2)],
)
def test_distances_of_some(ours, theirs, edits):
    assert distances([ids(*ours)], [ids(*theirs)]).tolist() == [edits]


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_plain_counting(seed):
    said, gold = drawn(seed)
    right = edits = symbols = unseen = 0
    for target, references in zip(said, gold, strict=True):
        found = min((by_recursion(tuple(target), tuple(one)), len(one)) for one in references)
        edits, symbols = edits + found[0], symbols + found[1]
        right += any(list(target) == list(one) and UNK not in one for one in references)
        unseen += all(UNK in one for one in references)
    figures = ConvertFigures(convert_tally(said, gold, 30.0, 120, 500))
    assert (figures.right, figures.sources, figures.unseen) == (right, len(said), unseen)
    assert 0 < right < len(said)
    assert unseen
    assert figures.exact_match == right / len(said)
    assert figures.word_error_rate == (len(said) - right) / len(said)
    assert figures.symbol_error_rate == edits / symbols
    assert figures.merit == (right, len(said))
    assert (figures.nats, figures.tally.read) == (0.25, 500)


def test_the_order_of_references_changes_nothing():
    """Of equally near ones the shortest counts, so that no order flatters."""
    near = [ids(4, 5, 6, 7), ids(4, 5), ids(4, 5, 7)]
    for references in (near, near[::-1]):
        tally = convert_tally([ids(4, 5, 6)], [references], 1.0, 3, 3)
        assert (tally.sums["edits"], tally.sums["symbols"]) == (1, 2)
        two = nearest([ids(9), ids(4, 5, 6)], [[ids(8)], references])
        assert [of.tolist() for of in two] == [[1, 1], [1, 2], [0, 1]]


def test_a_reference_with_an_unknown_token_is_never_met():
    """Not even by a target that says so too."""
    figures = ConvertFigures(convert_tally([ids(4, UNK)], [[ids(4, UNK)]], 1.0, 3, 3))
    assert (figures.right, figures.unseen, figures.symbol_error_rate) == (0, 1, 0.5)
    other = ConvertFigures(convert_tally([ids(4)], [[ids(4, UNK), ids(4)]], 1.0, 3, 3))
    assert (other.right, other.unseen) == (1, 0)


def test_tallies_add_up_whatever_the_chunks():
    said, gold = drawn(9)
    chunks = Tally()
    for start in range(0, len(said), 7):
        some = slice(start, start + 7)
        chunks += convert_tally(said[some], gold[some], 1.0, 10, 20)
    whole = convert_tally(said, gold, 9.0, 90, 180)
    assert chunks == whole


def test_figures_over_nothing_are_none():
    for figures in (ConvertFigures(Tally()), ConvertFigures(convert_tally([], [], 0.0, 0, 0))):
        assert (figures.exact_match, figures.word_error_rate) == (None, None)
        assert (figures.symbol_error_rate, figures.nats, figures.merit) == (None, None, (0, 0))
    empty = ConvertFigures(convert_tally([ids()], [[ids()]], 0.5, 1, 1))
    assert (empty.exact_match, empty.symbol_error_rate, empty.nats) == (1.0, None, 0.5)
