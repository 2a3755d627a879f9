"""Batches: every token is read, resets stand where sequences begin, nothing is padded; evaluation counts once."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import NO_TOKEN
from charlm.errors import UsageError
from charlm.text.batches import WARM_UP, Context, TrainingBatches, context_for, evaluation_columns
from charlm.text.tokenizers import EOS

NEWLINE = 2
sequences = st.lists(st.lists(st.integers(2, 9), max_size=25), min_size=1, max_size=30)
contexts = st.sampled_from([Context(), Context(EOS, carry=True), Context.of("newline", NEWLINE)])


class Numbered:
    """A source whose places can be told: ids in memory, and which were read."""

    def __init__(self, parts):
        self.ids = np.array(list(itertools.chain.from_iterable([*part, EOS] for part in parts)), np.int32)

    def __len__(self):
        return len(self.ids)

    def read(self, start, count):
        assert 0 <= start <= start + count <= len(self.ids)
        return self.ids[start : start + count]


def is_start(source, place):
    return place % len(source) == 0 or source.ids[(place - 1) % len(source)] == EOS


def whole(batches):
    """Join batches in time: inputs, ids, reset, weight."""
    batches = list(batches)
    names = ("inputs", "targets", "reset", "weight")
    return [np.concatenate([getattr(batch, name) for batch in batches]) for name in names]


def places(batches, epoch):
    """Return the places of an epoch's targets [T, B]."""
    columns = batches._columns(epoch)
    return columns.positions(0, max(columns.lengths))


@given(sequences, contexts, st.integers(1, 6), st.integers(1, 12), st.integers(0, 3), st.booleans())
def test_an_epoch_reads_everything_in_columns_that_begin_at_starts(parts, context, batch, steps, epoch, document):
    source = Numbered(parts)
    batches = TrainingBatches(source, batch, steps, 7, context, None if document else len(parts), NEWLINE)
    inputs, ids, reset, weight = whole(batches.epoch(epoch))
    where = places(batches, epoch)
    np.testing.assert_array_equal(ids, source.ids[where])
    assert set(where.ravel().tolist()) == set(range(len(source)))
    assert (weight == 1).all()
    # Columns are contiguous and of one length, the longest gap between two starts: nothing is padded.
    np.testing.assert_array_equal(np.diff(where, axis=0) % len(source), 1 % len(source))
    assert ids.shape[1] == batches.batch_size
    for k in range(ids.shape[1]):
        for t in range(len(ids)):
            begins = t == 0 or (not context.carry and is_start(source, where[t, k]))
            assert reset[t, k] == begins
            fed = is_start(source, where[t, k]) if context.inside else begins  # inside: what stands before
            assert inputs[t, k] == (context.first_input if fed else source.ids[where[t, k] - 1])
        if not document:
            assert is_start(source, where[0, k])


@given(sequences, st.integers(1, 5), st.integers(1, 9), st.data())
def test_an_epoch_can_be_taken_up_at_any_chunk(parts, batch, steps, data):
    source = Numbered(parts)
    batches = TrainingBatches(source, batch, steps, 1, Context(), len(parts), NEWLINE)
    first = data.draw(st.integers(0, batches.chunks(0) - 1))
    tail = list(itertools.islice(batches.epoch(0), first, None))
    again = list(TrainingBatches(source, batch, steps, 1, Context(), len(parts), NEWLINE).epoch(0, first))
    assert len(tail) == len(again) == batches.chunks(0) - first
    for one, other in zip(tail, again, strict=True):
        for name in ("inputs", "targets", "reset", "weight"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_document_columns_begin_at_lines_and_long_lines_where_they_are_cut():
    lines = Numbered([[3, 4, 5, NEWLINE] * 50])
    batches = TrainingBatches(lines, 4, 8, 0, Context(), None, NEWLINE)
    for place in places(batches, 0)[0]:
        assert place % len(lines) == 0 or lines.ids[place - 1] in (NEWLINE, EOS)
    one_line = Numbered([[3, 4, 5] * 70])
    batches = TrainingBatches(one_line, 4, 8, 0, Context(), None, NEWLINE)
    assert len(set((places(batches, 0)[0]).tolist())) == 4


def test_with_newline_as_context_a_text_begins_as_after_a_line_and_a_cut_line_goes_on():
    source, context = Numbered([[3, 4, NEWLINE, 5] * 3, [6] * 40]), Context.of("newline", NEWLINE)
    columns = evaluation_columns(source, context, running=True)
    inputs, _, reset, _ = whole(columns.batches(16))
    assert inputs[:, 0].tolist() == [NEWLINE, *source.ids[:12].tolist(), NEWLINE, *source.ids[13:-1].tolist()]
    assert np.flatnonzero(reset[:, 0]).tolist() == [0, 13]
    batches = TrainingBatches(Numbered([[3, 4, 5, 6, 7] * 70]), 4, 8, 0, context, None, NEWLINE)
    inputs, ids, reset, _ = whole(batches.epoch(0))
    assert reset[0].all()
    assert (inputs[0] == (ids[0] - 3 - 1) % 5 + 3).all(), "no line begins there: the token before is fed"


@pytest.mark.parametrize(
    ("parts", "newline", "expected"),
    [
        ([[3, NEWLINE, 4]], NEWLINE, "newline"),
        ([[3, 4, NEWLINE]], NEWLINE, "sequence"),
        ([[3, 4], [5, 6, NEWLINE]], NEWLINE, "sequence"),
        ([[3, 4]], NEWLINE, "sequence"),
        ([[3, NEWLINE, 4]], None, "sequence"),
    ],
)
def test_documents_of_lines_begin_with_a_newline_unless_told_otherwise(parts, newline, expected):
    source = Numbered(parts)
    assert context_for("auto", source, newline) == expected
    for name in ("sequence", "stream"):
        assert context_for(name, source, newline) == name
    if newline is None:
        with pytest.raises(UsageError, match="context newline needs a document"):
            context_for("newline", source, newline)


def test_few_tokens_are_read_twice():
    """No more than a column may overshoot: the longest sequence, for each column."""
    parts = [[3] * n for n in (5, 1, 9, 3, 7, 2, 8, 6)] * 20
    source = Numbered(parts)
    batches = TrainingBatches(source, 8, 16, 0, Context(), len(parts), NEWLINE)
    for epoch in range(5):
        assert len(source) <= places(batches, epoch).size <= len(source) + 8 * 2 * 10


def test_offsets_differ_by_epoch_and_repeat_with_the_seed():
    source = Numbered([[2 + n % 7] * (1 + n % 5) for n in range(200)])

    def starts(seed):
        batches = TrainingBatches(source, 4, 8, seed, Context(), 200, NEWLINE)
        return [tuple(places(batches, epoch)[0].tolist()) for epoch in range(6)]

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)
    assert len(set(starts(1))) == 6


@pytest.mark.parametrize(
    ("parts", "shape", "becomes"),
    [([[3] * 20], (8, 16), (1, 16)), ([[3, 4]] * 3, (8, 4), (2, 4)), ([[3]], (64, 64), (1, 2))],
)
def test_a_small_corpus_shrinks_the_batch_and_says_so(parts, shape, becomes):
    batches = TrainingBatches(Numbered(parts), *shape, 0, Context(), len(parts), NEWLINE)
    assert (batches.batch_size, batches.seq_len) == becomes
    assert "is short" in batches.note
    assert TrainingBatches(Numbered([[3] * 99] * 9), 8, 16, 0, Context(), 9, NEWLINE).note is None


@given(sequences, contexts, st.booleans())
def test_evaluation_scores_every_target_once(parts, context, count_eos):
    source = Numbered(parts)
    for running in (False, True):
        columns = evaluation_columns(source, context, running, count_eos)
        _, ids, _, weight = whole(columns.batches(16))
        where = columns.positions(0, max(columns.lengths))
        scored = sorted(where[weight > 0].tolist())
        assert scored == [place for place, token in enumerate(source.ids) if count_eos or token != EOS]
        np.testing.assert_array_equal(ids, source.ids[where])


def test_a_long_sequence_is_searched_for_its_end_once():
    """Each of 64 columns used to read on to the next start from its own place in it."""
    source, read = Numbered([[3] * 100_000, [4] * 10]), []
    source.read = lambda start, count: read.append(count) or source.ids[start : start + count]
    columns = evaluation_columns(source, Context(), running=False)
    assert (columns.starts, columns.lengths) == ([0, 100_001], [100_001, 11])
    assert sum(read) < 1.1 * len(source)


def test_running_columns_are_few_and_warmed_up():
    source = Numbered([[3, 4, 5] * 20_000])
    columns = evaluation_columns(source, Context(), running=True)
    assert len(columns.starts) == 32
    assert columns.unscored == [0] + [WARM_UP] * 31
    inputs, _, reset, weight = whole(columns.batches(64))
    assert (inputs[0] == NO_TOKEN).all()
    assert reset[0].all()
    assert not reset[1 : len(reset) - WARM_UP].any()
    assert not weight[:WARM_UP, 1:].any()
    assert weight[0, 0] == 1


def test_a_document_shorter_than_a_chunk_is_one_column():
    """It was never told of from the sequences, which a line's model has one of."""
    batches = TrainingBatches(Numbered([[3] * 20]), 8, 64, 0, Context(), None, NEWLINE)
    assert (batches.batch_size, batches.seq_len) == (1, 21)


class Counted(Numbered):
    """A source that counts how often it is read."""

    reads = 0

    def read(self, start, count):
        self.reads += 1
        return super().read(start, count)


def test_a_line_of_millions_of_tokens_is_laid_out_in_few_reads():
    source = Counted([*[[5] * 3] * 7, [6] * 2_000_000])
    columns = TrainingBatches(source, 8, 32, 0, Context(), 8)._columns(0)
    assert all(is_start(source, start) for start in columns.starts)
    assert source.reads < 8 * 50  # thousands for a column where 256 are read at a time
