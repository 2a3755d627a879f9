"""Tags that mark spans: conlleval's rule against its own program's and seqeval's, schemes there and
back, the mask."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.bio import (
    allowed,
    begin_table,
    begins,
    from_iob2,
    mark_spans,
    parted,
    scheme_note,
    scheme_of,
    spans,
    tag_pairs,
    to_iob2,
)
from tests.golden_spans import blocks

BIO = ["O", "B-x", "I-x", "B-y-z", "I-y-z"]
tags_of = st.lists(st.sampled_from(BIO), max_size=9)
any_tags = st.lists(st.sampled_from([*BIO, "E-x", "S-x", "E-y-z", "S-y-z"]), max_size=9)


def conlleval(tags):
    """Return (type, first, last) of each chunk as conlleval.pl finds them, its two subroutines word
    for word."""
    found, begun = [], None
    before, type_before = "O", ""
    for place, whole in enumerate([*tags, "O"]):
        tag, _, kind = whole.partition("-")
        ends = (before, tag) in {
            ("B", "B"), ("B", "O"), ("I", "B"), ("I", "O"), ("E", "E"), ("E", "I"), ("E", "O"),
        } or (before not in ("O", ".") and type_before != kind)  # fmt: skip
        starts = (before, tag) in {
            ("B", "B"), ("I", "B"), ("O", "B"), ("O", "I"), ("E", "E"), ("E", "I"), ("O", "E"),
        } or (tag not in ("O", ".") and type_before != kind)  # fmt: skip
        if ends:
            found.append((type_before, begun, place - 1))
        if starts:
            begun = place
        before, type_before = tag, kind
    return found


def ours(tags):
    return [(kind, start, stop - 1) for kind, start, stop in spans(tags)]


@given(tags_of)
def test_spans_are_those_of_conlleval(tags):
    assert ours(tags) == conlleval(tags)


@given(any_tags)
def test_spans_are_those_of_seqeval(tags):
    seqeval = pytest.importorskip("seqeval.metrics.sequence_labeling")
    assert ours(tags) == seqeval.get_entities(list(tags))


@pytest.mark.parametrize("case", blocks(), ids=lambda case: " ".join(case["said"]))
def test_the_golden_cases(case):
    """What charlm counts is conlleval's figure, and seqeval's default where conlleval.pl has no
    rule."""
    for read, expected in (
        (ours, case.get("default", case["conlleval"])),
        (conlleval, case["conlleval"]),
    ):
        gold, said = (read(case[name]) for name in ("gold", "said"))
        assert (len(gold), len(said), len(set(gold) & set(said))) == expected


@pytest.mark.parametrize("case", blocks(), ids=lambda case: " ".join(case["said"]))
def test_the_golden_cases_differ_in_seqeval_as_they_say(case):
    seqeval = pytest.importorskip("seqeval.metrics.sequence_labeling")
    scheme = pytest.importorskip("seqeval.scheme")
    if "default" in case:
        gold, said = (seqeval.get_entities(list(case[name])) for name in ("gold", "said"))
        expected = case["default"]
    else:
        gold, said = (
            [entity.to_tuple() for entity in scheme.Entities([case[name]], scheme.IOB2).entities[0]]
            for name in ("gold", "said")
        )
        expected = case["strict"]
    assert (len(gold), len(said), len(set(gold) & set(said))) == expected


@given(any_tags)
def test_every_scheme_keeps_the_spans(tags):
    """IOB2 has the same spans and is one; from there to each scheme and back is where it was."""
    iob2 = to_iob2(tags, "IOB2")
    assert ours(iob2) == ours(tags)
    assert to_iob2(iob2, "IOB2") == iob2
    for scheme in ("IOB1", "IOB2", "IOBES"):
        written = from_iob2(iob2, scheme)
        assert ours(written) == ours(tags)
        assert to_iob2(written, scheme) == iob2
        assert from_iob2(to_iob2(written, scheme), scheme) == written
    assert (to_iob2(tags, None), from_iob2(tags, None)) == (tags, tags)


def test_the_schemes_by_example():
    iob2 = ["B-x", "I-x", "B-x", "O", "B-x", "B-y", "I-y", "I-y"]
    assert from_iob2(iob2, "IOB1") == ["I-x", "I-x", "B-x", "O", "I-x", "I-y", "I-y", "I-y"]
    assert from_iob2(iob2, "IOBES") == ["B-x", "E-x", "S-x", "O", "S-x", "B-y", "I-y", "E-y"]
    assert from_iob2(["B", "I", "O", "B"], "IOBES") == ["B", "E", "O", "S"]


def counted(*sentences):
    return Counter(pair for tags in sentences for pair in tag_pairs(tags.split()))


@pytest.mark.parametrize(
    ("sentences", "scheme", "note"),
    [
        (["O B-x I-x", "B-y B-y"], "IOB2",
         "scheme: IOB2, because B- begins all of 2 spans that follow none of their kind"),
        (["O I-x I-x B-x", "I-y I-x"], "IOB1",
         "scheme: IOB1, because I- begins all of 3 spans that follow none of their kind; trained as IOB2"),
        (["I-x", "O O"], "IOB1",
         "scheme: IOB1, because I- begins the only span; trained as IOB2"),
        (["B-x I-x", "O B-x", "O I-x"], "IOB2",
         "scheme: IOB2, because of 3 spans that follow none of their kind B- begins 2 and I- 1"),
        (["B-x", "O I-y"], "IOB2",
         "scheme: IOB2, because of 2 spans that follow none of their kind B- begins 1 and I- 1"),
        (["B-x E-x", "O I-x"], "IOBES",
         "scheme: IOBES, because E- and S- end spans; trained as IOB2"),
        (["S-x S-x"], "IOBES", "scheme: IOBES, because E- and S- end spans; trained as IOB2"),
        (["B I O B"], "IOB2",
         "scheme: IOB2, because B- begins all of 2 spans that follow none of their kind"),
        (["NOUN VERB O"], None,
         "scheme: none, because the tags do not mark spans (B-, I- and O would)"),
        (["B-x I-x", "NOUN"], None,
         "scheme: none, because the tags do not mark spans (B-, I- and O would)"),
        (["O O"], None, "scheme: none, because the tags do not mark spans (B-, I- and O would)"),
        (["I S E O"], None, "scheme: none, because the tags do not mark spans (B-, I- and O would)"),
    ],
)  # fmt: skip
def test_the_scheme_is_found_and_told(sentences, scheme, note):
    pairs = counted(*sentences)
    assert (scheme_of(pairs), scheme_note(pairs)) == (scheme, note)


def test_what_marks_a_span():
    assert [parted(tag) for tag in ("O", "B", "I-a-b", "Bx", "b-x", "O-x", "")] == [
        ("O", ""), ("B", ""), ("I", "a-b"), None, None, None, None,
    ]  # fmt: skip
    assert mark_spans(["O", "I-x"])
    assert not mark_spans(["O"])
    assert not mark_spans(["I", "S"])  # a pronoun and a subject


def test_allowed_are_the_sequences_that_are_iob2():
    names = ["B-x", "B-y", "I-x", "I-y", "O"]
    start, step, end = allowed(names)
    for length in (1, 2, 3):
        for tags in itertools.product(range(5), repeat=length):
            may = (
                start[tags[0]]
                and all(step[pair] for pair in itertools.pairwise(tags))
                and end[tags[-1]]
            )
            words = [names[tag] for tag in tags]
            assert may == (to_iob2(words, "IOB2") == words)


def test_every_other_tag_may_stand_anywhere():
    for names in (["NOUN", "VERB"], ["", "á"]):
        mask = allowed(names)
        assert all(array.all() for array in mask)
        assert [array.shape for array in mask] == [(2,), (2, 2), (2,)]


def test_the_table_of_beginnings():
    assert begin_table(("B-x", "I-x", "O", "NOUN")).tolist() == [
        [True, False, False, False],
        [True, False, False, False],
        [True, True, False, False],
        [True, True, False, False],
        [True, True, False, False],
    ]


def test_where_spans_begin_is_in_the_table_for_all_pairs():
    names = ("O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y", "B", "I", "NOUN", "B-", "I-")
    table = begin_table(names)
    for row, previous in enumerate((*names, None)):
        assert table[row].tolist() == [begins(previous, tag) for tag in names]
