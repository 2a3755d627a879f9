"""N-grams beside the network: which there are, their gradients, and that a text's do not depend on its neighbours."""

from types import SimpleNamespace

import numpy as np
import pytest

from charlm.config import ModelConfig
from charlm.nn import kernel, names
from charlm.nn.classifier import ClassifierNetwork, initialize, shapes
from charlm.nn.ngrams import BUCKETS, WIDTH, NGrams, buckets
from charlm.nn.panels import Panels
from charlm.nn.params import Params
from charlm.nn.params import places as parts_of
from charlm.text.packing import make_chunk

MASK = (1 << 64) - 1


def chunk_of(texts, steps=8, labels=None):
    ids = [np.array(text, np.int32) for text in texts]
    labels = np.arange(len(texts), dtype=np.int32) % 3 if labels is None else labels
    return make_chunk(ids, labels, np.ones(len(texts), np.float32), steps)


def bucket_of(ngram):
    """The row of an n-gram, by whole numbers of any size: ids as they are, None for the mark before a text."""
    key = 0
    for token in ngram:
        key = (key * 0x9E3779B97F4A7C15 + (1 if token is None else token + 2)) & MASK
        key ^= key >> 29
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & MASK
    return key >> (64 - BUCKETS.bit_length() + 1)


def by_loops(text, longest):
    """The rows of all n-grams of a text, EOS (0) and the mark before it counted, sorted."""
    whole = [None, *text, 0]
    return sorted(
        bucket_of(whole[start : start + n])
        for n in range(1, longest + 1)
        for start in range(len(whole) - n + 1)
    )


@pytest.mark.parametrize("longest", [1, 2, 4, 8])
def test_every_n_gram_of_every_text_is_there_and_no_other(longest):
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 9, size).tolist() for size in (3, 0, 7, 1, 12, 2)]
    chunk = chunk_of(texts)
    bucket, text = buckets(chunk.inputs, chunk, longest)
    for number, ids in enumerate(texts):
        assert sorted(bucket[text == number].tolist()) == by_loops(ids, longest)


def test_hashes_spread():
    """Ten thousand different pairs fall upon about as many rows as chance would have it."""
    pairs = {bucket_of(pair) for pair in np.ndindex(100, 100)}
    expected = BUCKETS * (1 - (1 - 1 / BUCKETS) ** 10_000)
    assert abs(len(pairs) - expected) < 150


def test_a_text_has_the_mean_of_its_vectors():
    rng = np.random.default_rng(1)
    texts = [[2, 3, 4, 2], [5], [], [3, 3, 3]]
    chunk = chunk_of(texts)
    table = rng.standard_normal((BUCKETS, WIDTH)).astype(np.float32)
    found = NGrams(3).forward({names.NGRAMS: table}, chunk.inputs, chunk)
    for row, ids in zip(found, texts, strict=True):
        np.testing.assert_allclose(row, table[by_loops(ids, 3)].mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("head_layers", [0, 1])
def test_gradients_are_those_of_differences(dropout, head_layers):
    """Central differences in float64, of the rows of E that the texts have and of all that reads them."""
    config = ModelConfig(
        7, hidden=3, embedding=2, bidirectional=True, dropout=dropout, head_layers=head_layers
    )
    params = Params(shapes(config, 3, "last", 3), np.float64)
    rng = np.random.default_rng(2)
    params.flat[:] = 0.5 * rng.standard_normal(params.flat.size)
    chunk = chunk_of(
        [[2, 3, 4], [], [5, 5, 5, 2, 6], [3], [6, 2]], labels=np.array([0, 1, 2, -1, 1], np.int32)
    )
    network, grads = ClassifierNetwork(config, 3, "last", 3), params.twin()

    def loss(into):
        drawn = np.random.default_rng(5)
        weighted = SimpleNamespace(
            **{name: getattr(chunk, name) for name in chunk.__dataclass_fields__}
        )
        nats, _ = network.backward(params, into, weighted, (), 0.7, drawn)
        return 0.7 * nats

    loss(grads)
    used = np.unique(buckets(chunk.inputs, chunk, 3)[0])
    where = parts_of(params.shapes)
    start = where[names.NGRAMS].start
    places = [start + row * WIDTH + column for row in used[:12] for column in (0, 17)]
    places += list(range(where[names.HEAD_WEIGHT].start, where[names.HEAD_WEIGHT].stop, 7))
    for place in places:
        before, step = params.flat[place], 1e-5
        params.flat[place] = before + step
        above = loss(params.twin())
        params.flat[place] = before - step
        below = loss(params.twin())
        params.flat[place] = before
        assert grads.flat[place] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-10)
    others = np.ones(BUCKETS, bool)
    others[used] = False
    assert not grads[names.NGRAMS][others].any()


@pytest.mark.skipif(
    kernel.missing is not None, reason="without compiled loops rows are summed as BLAS likes"
)
def test_a_text_says_the_same_in_any_company():
    config = ModelConfig(40, hidden=9, embedding=5, bidirectional=True)
    params = initialize(config, 4, "mean", np.random.default_rng(0), 4)
    network, panels = ClassifierNetwork(config, 4, "mean", 4), Panels(config, params)
    rng = np.random.default_rng(3)
    texts = [rng.integers(2, 40, size).tolist() for size in rng.integers(0, 30, 50)]
    together = network.log_probs(panels, chunk_of(texts, 64))
    for number, text in enumerate(texts):
        np.testing.assert_array_equal(
            network.log_probs(panels, chunk_of([text], 1))[0], together[number]
        )


def test_they_tell_what_a_network_without_them_cannot_remember():
    """One step of training with a large rate moves only the rows of what was read, and those towards the label."""
    config = ModelConfig(20, hidden=4, embedding=3)
    params = initialize(config, 2, "last", np.random.default_rng(0), 2)
    network, grads = ClassifierNetwork(config, 2, "last", 2), params.twin()
    chunk = chunk_of([[5, 6], [7, 8]], labels=np.array([0, 1], np.int32))
    before = network.log_probs(params, chunk)[[0, 1], [0, 1]]
    network.backward(params, grads, chunk, (), 0.5)
    params[names.NGRAMS][...] -= 20 * grads[names.NGRAMS]
    assert (network.log_probs(params, chunk)[[0, 1], [0, 1]] > before).all()
