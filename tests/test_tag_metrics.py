"""The figures of a tagger: against sets of spans counted one by one, and against seqeval."""

import random
import warnings
from collections import Counter

import numpy as np
import pytest

from charlm.bio import spans
from charlm.engines import Tally
from charlm.tag_metrics import UNSEEN, SpanFigures, TagFigures, kinds_of, tag_tally
from tests.golden_spans import blocks

BIO = ("B-x", "B-y", "I-x", "I-y", "O")
UNSEEN_TAGS = ("B-new", "I-new", "X")


def drawn(seed, sentences=40, names=BIO, gold_names=BIO):
    """Return gold and said tags of sentences, alike in two thirds of the places."""
    draw = random.Random(seed)
    gold, said = [], []
    for _ in range(sentences):
        tags = draw.choices(gold_names, k=draw.randrange(1, 9))
        gold.append(tags)
        said.append(
            [tag if tag in names and draw.random() < 2 / 3 else draw.choice(names) for tag in tags]
        )
    return gold, said


def tally_of(gold, said, names=BIO, unseen=(), **more):
    """Return the tally, the nats being 1 for each gold tag that is known."""
    numbers = {name: number for number, name in enumerate((*names, *unseen))}
    columns = [
        np.array([numbers.get(tag, -1) for tags in rows for tag in tags], np.int32)
        for rows in (said, gold)
    ]
    starts = np.cumsum([0, *map(len, gold)])
    nats = ((columns[1] >= 0) & (columns[1] < len(names))).astype(np.float64)
    return tag_tally(*columns, nats, starts, names, unseen=unseen, **more)


def by_hand(gold, said, known=("x", "y")):
    """Return gold, said and right spans by kind, the unseen kinds together."""
    counts = {name: Counter() for name in ("gold", "said", "right")}
    for gold_tags, said_tags in zip(gold, said, strict=True):
        sets = {"gold": set(spans(gold_tags)), "said": set(spans(said_tags))}
        sets["right"] = sets["gold"] & sets["said"]
        for name, found in sets.items():
            counts[name].update(span.kind if span.kind in known else UNSEEN for span in found)
    kinds = [kind for kind in (*known, UNSEEN) if counts["gold"][kind] or counts["said"][kind]]
    return [
        SpanFigures(kind, *(counts[name][kind] for name in ("gold", "said", "right")))
        for kind in kinds
    ]


def total(figures):
    return SpanFigures(
        None, *(sum(getattr(each, name) for each in figures) for name in ("gold", "said", "right"))
    )


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_sets(seed):
    gold, said = drawn(seed)
    figures = TagFigures(tally_of(gold, said), BIO, 4)
    assert figures.by_kind() == by_hand(gold, said)
    assert figures.spans == total(by_hand(gold, said))
    pairs = [pair for rows in zip(gold, said, strict=True) for pair in zip(*rows, strict=True)]
    assert (figures.right, figures.tokens) == (
        sum(one == other for one, other in pairs),
        len(pairs),
    )
    assert figures.accuracy == figures.right / len(pairs)
    assert figures.majority == sum(tag == "O" for tag, _ in pairs) / len(pairs)
    assert figures.nats == 1
    found = figures.spans
    assert (figures.precision, figures.recall) == (
        found.right / found.said,
        found.right / found.gold,
    )
    assert figures.span_f1 == 2 * found.right / (found.said + found.gold)
    assert figures.merit == (2 * found.right, found.said + found.gold)
    sums = figures.tally.sums
    assert sums["gold"].tolist() == [sum(tag == name for tag, _ in pairs) for name in BIO]
    assert sums["predicted"].tolist() == [sum(tag == name for _, tag in pairs) for name in BIO]


@pytest.mark.parametrize("seed", range(3))
def test_gold_tags_that_training_has_not_are_wrong(seed):
    """By their names exactly, wherever they stand; they have no nats, and count among tokens and
    spans."""
    gold, said = drawn(seed, gold_names=(*BIO, *UNSEEN_TAGS))
    unseen = sum(tag not in BIO for tags in gold for tag in tags)
    figures = TagFigures(tally_of(gold, said, unseen=UNSEEN_TAGS), BIO, 4, 3)
    assert figures.by_kind() == by_hand(gold, said)
    assert figures.tokens == sum(map(len, gold))
    assert figures.tally.count == figures.tokens - unseen
    assert figures.nats == 1
    assert figures.tally.sums["unseen"] == unseen
    assert figures.right == sum(
        one == other
        for rows in zip(gold, said, strict=True)
        for one, other in zip(*rows, strict=True)
    )


def test_gold_tags_without_a_name_are_spans_of_an_unseen_kind():
    gold = [["?", "?", "O", "?"], ["?"], ["B-x", "?", "I-x"]]
    said = [["O", "O", "O", "O"], ["B-x"], ["B-x", "O", "O"]]
    figures = TagFigures(tally_of(gold, said), BIO, 4, 1)
    assert figures.by_kind() == [SpanFigures("x", 2, 2, 1), SpanFigures(UNSEEN, 4, 0, 0)]


def test_tallies_add_up_whatever_the_chunks():
    gold, said = drawn(7, gold_names=(*BIO, "B-new", "I-new"))
    whole = tally_of(gold, said, unseen=("B-new", "I-new"))
    chunks = Tally()
    for start in range(0, len(gold), 7):
        some = slice(start, start + 7)
        chunks += tally_of(gold[some], said[some], unseen=("B-new", "I-new"))
    assert (whole.nats, whole.count, sorted(whole.sums)) == (
        chunks.nats,
        chunks.count,
        sorted(chunks.sums),
    )
    for name, sums in whole.sums.items():
        assert np.array_equal(sums, chunks.sums[name])


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_seqevals(seed):
    """Its default mode; micro averages, and those of each kind."""
    metrics = pytest.importorskip("seqeval.metrics")
    gold, said = drawn(seed, 60)
    figures = TagFigures(tally_of(gold, said), BIO, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = metrics.classification_report(gold, said, output_dict=True)
        accuracy = metrics.accuracy_score(gold, said)
    assert figures.accuracy == pytest.approx(accuracy)
    for each in (figures.spans, *figures.by_kind()):
        theirs = report[each.kind or "micro avg"]
        assert [each.precision, each.recall, each.f1] == pytest.approx(
            [theirs["precision"], theirs["recall"], theirs["f1-score"]]
        )
        assert each.gold == theirs["support"]


@pytest.mark.parametrize("case", blocks(), ids=lambda case: " ".join(case["said"]))
def test_the_golden_cases(case):
    names = tuple(sorted({*case["gold"], *case["said"], "O"}))
    found = TagFigures(tally_of([case["gold"]], [case["said"]], names), names, 0).spans
    assert (found.gold, found.said, found.right) == case.get("default", case["conlleval"])


def test_tags_without_spans_have_an_accuracy_alone():
    names = ("NOUN", "VERB")
    figures = TagFigures(
        tally_of([["NOUN", "VERB", "NOUN"]], [["NOUN", "NOUN", "NOUN"]], names), names, 0
    )
    assert (figures.spans, figures.span_f1, figures.precision, figures.recall) == (None,) * 4
    assert (figures.accuracy, figures.majority, figures.merit) == (2 / 3, 2 / 3, (2, 3))
    assert (figures.by_kind(), kinds_of(names)) == ([], ())
    assert not {"gold_spans", "words", "unknown_tokens"} & set(figures.tally.sums)
    assert (figures.unknown_accuracy, figures.word_accuracy) == (None, None)


def test_figures_over_nothing_are_none():
    figures = TagFigures(Tally(), BIO, 4)
    assert (figures.accuracy, figures.majority, figures.nats, figures.span_f1) == (None,) * 4
    no_spans = TagFigures(tally_of([["O", "O"]], [["O", "O"]]), BIO, 4)
    assert (no_spans.span_f1, no_spans.accuracy, no_spans.merit) == (None, 1.0, (0, 0))
    spaces = np.zeros(0, np.bool_)
    nothing = TagFigures(tally_of([], [], unknown=spaces, spaces=spaces), BIO, 4)
    assert (nothing.tokens, nothing.words, nothing.accuracy, nothing.span_f1) == (0, 0, None, None)


def test_unknown_tokens_are_told_apart():
    gold, said = [["B-x", "O"], ["O", "O"]], [["B-x", "B-x"], ["O", "B-y"]]
    unknown = np.array([True, True, False, True])
    figures = TagFigures(tally_of(gold, said, unknown=unknown), BIO, 4)
    assert (figures.unknown, figures.unknown_accuracy, figures.accuracy) == (3, 1 / 3, 0.5)


def test_a_word_is_right_if_all_its_characters_are():
    """Words end at white space and at the end of a line, whatever is said of the white space
    itself."""
    names, lines = ("", "á", "é"), ["ab a", " cd  e ", "f", "g"]
    gold = [["", "á", "", ""], [""] * 7, ["é"], [""]]
    said = [["", "á", "é", ""], ["", "", "é", "", "", "", ""], ["á"], [""]]
    spaces = np.array([character == " " for line in lines for character in line])
    figures = TagFigures(tally_of(gold, said, names, spaces=spaces), names, 0)
    assert (figures.words, figures.word_accuracy) == (6, 4 / 6)
    blank = TagFigures(
        tally_of([["", ""]], [["", ""]], names, spaces=np.array([True, True])), names, 0
    )
    assert (blank.words, blank.word_accuracy) == (0, None)


def test_the_nats_of_whole_sentences_are_taken_as_they_are():
    """A model of sequences has -log p of a sentence's tags together: a mean over the tags all the
    same."""
    tally = tag_tally(
        np.array([0, 1, 0], np.int32), np.array([0, 1, 1], np.int32), np.array([1.5, 3.0]),
        np.array([0, 2, 3]), ("NOUN", "VERB"), read=11,
    )  # fmt: skip
    assert (tally.nats, tally.count, tally.read, tally.mean) == (4.5, 3, 11, 1.5)
