"""The table of an n-gram model against dictionaries, in NumPy and in compiled loops."""

import itertools
import threading

import numpy as np
import pytest

from charlm.config import NO_TOKEN
from charlm.counts.table import MOST_ORDER, Counts
from charlm.errors import DataError
from charlm.nn import kernel
from charlm.text.tokenizers import EOS
from tests.tries import arrays_of, counts_of, probability, random_model

COMPILED = ["base", "avx2", "avx512"][: ["numpy", "base", "avx2", "avx512"].index(kernel.target)]


@pytest.fixture(params=["numpy", *COMPILED])
def loops(request, monkeypatch):
    """Make NumPy or one of the targets do the lookups."""
    if request.param == "numpy":
        monkeypatch.setattr(kernel, "_library", None)
    else:
        monkeypatch.setattr(kernel, "target", request.param)


MODELS = [(5, 4), (5, 1), (5, 2), (8, 10), (1, 3), (2, 3), (40, 3), (300, 3)]  # V, order


def model_of(V, order, seed=0):
    kept = 1 if order == MOST_ORDER else 0.7  # contexts of all lengths
    return random_model(seed, V, order, 60 if V < 300 else 2000, kept)


def read_plainly(inputs, reset, begin, order, before=()):
    """Return the tokens that are the context after each input [T], of one column."""
    found, context = [], tuple(before)
    for x, new in zip(inputs, reset, strict=True):
        begins = x in (NO_TOKEN, EOS)
        context = () if begins or new else context
        context += () if begins and begin is None else (begin if begins else x,)
        found.append(context[max(0, len(context) - order + 1) :])
    return found


def random_inputs(rng, V, T, B):
    reset = rng.random((T, B)) < 0.1
    inputs = rng.integers(-1, V, (T, B), dtype=np.int32)
    return np.where(rng.random((T, B)) < 0.5, inputs, np.minimum(inputs[:1], V - 1)), reset


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize(("V", "order"), MODELS)
@pytest.mark.parametrize("begin", [EOS, None, "last"])
def test_probabilities_are_those_of_dictionaries(V, order, begin):
    begin = V - 1 if begin == "last" else begin
    p, backoff = model_of(V, order)
    counts = counts_of(p, backoff, V, order, begin)
    rng = np.random.default_rng(1)
    inputs, reset = random_inputs(rng, V, 40, 7)
    nodes = counts.walk(inputs, reset, counts.zero_state(7))
    every = counts.distribution(nodes.reshape(-1)).reshape(40, 7, V)
    targets = rng.integers(0, V, (40, 7), dtype=np.int32)
    chosen = counts.targets(nodes, targets)
    for b in range(7):
        contexts = read_plainly(inputs[:, b], reset[:, b], begin, order, ())
        for t, context in enumerate(contexts):
            x = int(targets[t, b])
            assert chosen[t, b] == pytest.approx(probability(p, backoff, context, x), rel=1e-12)
    np.testing.assert_array_equal(every[np.arange(40)[:, None], np.arange(7), targets], chosen)
    np.testing.assert_allclose(every.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize(("V", "order"), MODELS)
def test_every_context_sums_to_1_and_its_distribution_is_its_targets_to_the_bit(V, order):
    counts = counts_of(*model_of(V, order), V, order)
    contexts = np.arange(len(counts.children), dtype=np.int32)
    every = counts.distribution(contexts)
    nodes, targets = (np.ascontiguousarray(side, np.int32) for side in np.indices(every.shape))
    np.testing.assert_array_equal(counts.targets(nodes, targets), every)
    assert every.dtype == np.float64
    np.testing.assert_allclose(every.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("order", [1, 2, 5])
def test_chunks_and_columns_leave_no_trace(order):
    counts = counts_of(*random_model(0, 4, order, 300), 4, order)
    inputs, reset = random_inputs(np.random.default_rng(2), 4, 128, 5)
    whole = counts.walk(inputs, reset, counts.zero_state(5))
    for steps in (1, 7, 64):
        state, found = counts.zero_state(5), []
        for first in range(0, 128, steps):
            part = slice(first, first + steps)
            found.append(counts.walk(inputs[part], reset[part], state))
            state = found[-1][-1]
        np.testing.assert_array_equal(np.concatenate(found), whole)
    for b in range(5):
        alone = counts.walk(inputs[:, b : b + 1], reset[:, b : b + 1], counts.zero_state(1))
        np.testing.assert_array_equal(alone[:, 0], whole[:, b])


@pytest.mark.usefixtures("loops")
def test_a_context_is_as_long_as_the_table_knows_it():
    """By hand: of 0, 1, 2 the n-grams 1 2, 2 1 and 1 2 1 are known."""
    grams = {(0,): 0.2, (1,): 0.3, (2,): 0.5, (1, 2): 0.6, (2, 1): 0.5, (1, 2, 1): 0.9}
    backoff = {(): 1, (0,): 1, (1,): 0.4 / 0.5, (2,): 0.5 / 0.7, (1, 2): 0.1 / 0.5, (2, 1): 1}
    counts = counts_of(grams, backoff, 3, 3, begin=2)
    assert counts.ngrams() == [3, 2, 1]
    root, _, one, two, one_two, two_one = range(6)

    def after(*inputs, reset=None, state=two):
        column = None if reset is None else np.array(reset, np.bool_)[:, None]
        nodes = counts.walk(
            np.array(inputs, np.int32)[:, None], column, np.full(1, state, np.int32)
        )
        return nodes[:, 0].tolist()

    assert counts.zero_state(2).tolist() == [root, root]
    assert after(1, 2, 1, 2) == [two_one, one_two, two_one, one_two]
    assert after(1, 1, 2, 2) == [two_one, one, one_two, two]
    assert after(1, EOS, 1) == [two_one, two, two_one], (
        "EOS empties, and the next text begins after 2"
    )
    assert after(1, NO_TOKEN, 1) == [two_one, two, two_one]
    assert after(1, 2, reset=[True, False]) == [one, one_two], "a reset has nothing before it"
    assert after(1, EOS, reset=[False, True]) == [two_one, two], "EOS comes before a reset"
    assert after(1, state=root) == [one]
    expected = [0.1 * 0.2 * (0.5 / 0.7) * 2, 0.9, 0.5 * 0.2 * (0.5 / 0.7)]
    np.testing.assert_allclose(
        counts.distribution(np.array([one_two], np.int32))[0], expected, rtol=1e-6
    )


@pytest.mark.skipif(not COMPILED, reason="the compiled loops were not built here")
@pytest.mark.parametrize(("V", "order"), MODELS)
def test_compiled_loops_agree_with_numpy_to_the_bit(monkeypatch, V, order):
    p, backoff = model_of(V, order, seed=3)
    inputs, reset = random_inputs(np.random.default_rng(4), V, 30, 9)
    targets = np.maximum(inputs, 0)

    def all_of_it():
        counts = counts_of(p, backoff, V, order)
        nodes = counts.walk(inputs, reset, counts.zero_state(9))
        contexts = np.arange(len(counts.children), dtype=np.int32)
        return (
            counts.walk(np.resize(inputs, (2, len(contexts))), None, contexts),
            nodes,
            counts.walk(inputs, None, nodes[-1]),
            counts.targets(nodes, targets),
            counts.distribution(nodes[3]),
        )

    compiled = all_of_it()
    monkeypatch.setattr(kernel, "_library", None)
    for one, other in zip(compiled, all_of_it(), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.usefixtures("loops")
def test_threads_may_share_a_table():
    counts = counts_of(*random_model(0, 6, 5, 2000), 6, 5)
    inputs, reset = random_inputs(np.random.default_rng(5), 6, 200, 8)
    arrays = {name: array.copy() for name, array in counts.tensors().items()}

    def answer():
        nodes = counts.walk(inputs, reset, counts.zero_state(8))
        return nodes, counts.targets(nodes, np.maximum(inputs, 0)), counts.distribution(nodes[-1])

    alone, found = answer(), []
    threads = [
        threading.Thread(target=lambda: found.extend(answer() for _ in range(10))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    for one, other in itertools.product(range(3), found):
        np.testing.assert_array_equal(other[one], alone[one])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, counts.tensors()[name])


@pytest.mark.usefixtures("loops")
def test_what_is_no_token_or_no_context_is_refused():
    counts = counts_of(*random_model(0, 4, 3), 4, 3)
    contexts = len(counts.children)
    good, zero = np.zeros((1, 1), np.int32), counts.zero_state(1)
    for token in (-2, 4, 2**31 - 1, -(2**31)):
        with pytest.raises(IndexError):
            counts.walk(good + np.int32(token), None, zero)
    for token in (-1, 4):
        with pytest.raises(IndexError):
            counts.targets(good, good + np.int32(token))
    for node in (-1, contexts, 2**31 - 1):
        with pytest.raises(IndexError):
            counts.walk(good, None, np.full(1, node, np.int32))
        with pytest.raises(IndexError):
            counts.targets(np.full((1, 1), node, np.int32), good)
        with pytest.raises(IndexError):
            counts.distribution(np.array([0, node], np.int32))


def test_a_table_goes_to_a_file_and_back():
    counts = counts_of(*random_model(0, 4, 3), 4, 3, begin=None)
    again = Counts.from_tensors(counts.tensors(), counts.facts(), 4)
    assert again.facts() == counts.facts() == {"order": 3, "begin": None}
    assert again.nbytes == counts.nbytes == sum(array.nbytes for array in counts.tensors().values())
    for name, array in counts.tensors().items():
        np.testing.assert_array_equal(array, again.tensors()[name], strict=True)
    for facts in ({"order": 3}, {"order": 3, "begin": 0, "more": 1}):
        with pytest.raises(DataError):
            Counts.from_tensors(counts.tensors(), facts, 4)
    with pytest.raises(DataError):
        Counts.from_tensors({"token": counts.token}, counts.facts(), 4)


def test_arrays_may_be_read_only_or_not_dense():
    arrays = arrays_of(*random_model(0, 4, 3), 4)
    for array in arrays.values():
        array.flags.writeable = False
    arrays["p"] = np.repeat(arrays["p"], 2)[::2]
    counts = Counts(3, 4, 0, **arrays)
    inputs = np.arange(4, dtype=np.int64).reshape(2, 2).T
    inputs.flags.writeable = False
    nodes = counts.walk(inputs, None, counts.zero_state(2))
    assert counts.targets(nodes, inputs).shape == (2, 2)
