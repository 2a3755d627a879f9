"""Chains of tags against every sequence of tags there is, gradients against differences, and
hostile weights."""

import itertools

import numpy as np
import pytest

from charlm.nn import crf, kernel, names
from charlm.nn.crf import (
    Transitions,
    chain_backward,
    chain_figures,
    expected,
    viterbi,
)
from charlm.nn.params import Params
from tests.test_gradients import check

LENGTHS = [3, 1, 0, 4, 1, 2, 0]
ways = pytest.mark.parametrize(
    "compiled",
    [
        False,
        pytest.param(True, marks=pytest.mark.skipif(kernel.missing is not None, reason="no loops")),
    ],
    ids=["numpy", "compiled"],
)


def drawn(tags=3, lengths=LENGTHS, seed=0, spread=1.5):
    """Return a chain, scores [N, L], tags [N] and starts [S + 1]."""
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    chain = Transitions(
        *(spread * rng.standard_normal(shape) for shape in ((tags,), (tags, tags), (tags,)))
    )
    scores = spread * rng.standard_normal((count, tags))
    return chain, scores, rng.integers(tags, size=count), np.concatenate([[0], np.cumsum(lengths)])


def chain_log_probs(params, scores, starts):
    return chain_figures(params, scores, np.zeros(len(scores), int), starts)[0]


def chain_nats(*arguments):
    return chain_figures(*arguments)[1]


def params_of(chain, dtype=np.float64):
    params = Params(crf.crf_shapes(len(chain.start)), dtype)
    for name, value in zip((names.CRF_START, names.CRF_WEIGHT, names.CRF_END), chain, strict=True):
        params[name][...] = value
    return params


def sequences(chain, scores):
    """Yield every sequence of tags of a sentence with its score; written out, one place after the
    other."""
    for tags in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        score = chain.start[tags[0]] + chain.end[tags[-1]]
        score += sum(scores[t, tag] for t, tag in enumerate(tags))
        yield tags, score + sum(chain.step[a, b] for a, b in itertools.pairwise(tags))


def sentences(scores, starts):
    return [scores[a:b] for a, b in itertools.pairwise(starts)]


@ways
def test_log_z_marginals_and_pairs_are_sums_over_all_sequences(compiled):
    chain, scores, _, starts = drawn()
    found = expected(chain, scores, starts, compiled)
    pairs = np.zeros((3, 3))
    for number, own in enumerate(sentences(scores, starts)):
        if not len(own):
            assert found.logz[number] == 0
            continue
        every = list(sequences(chain, own))
        z = sum(np.exp(score) for _, score in every)
        assert found.logz[number] == pytest.approx(np.log(z), rel=1e-12)
        p = np.zeros_like(own)
        for tags, score in every:
            p[np.arange(len(own)), tags] += np.exp(score) / z
            for pair in itertools.pairwise(tags):
                pairs[pair] += np.exp(score) / z
        np.testing.assert_allclose(found.p[starts[number] : starts[number + 1]], p, rtol=1e-10)
    np.testing.assert_allclose(found.pairs, pairs, rtol=1e-10)


@pytest.mark.parametrize("unknown", [0, 4, 11], ids=["all known", "some unknown", "none known"])
def test_nats_are_those_of_all_sequences_that_have_the_known_tags(unknown):
    chain, scores, tags, starts = drawn(seed=1)
    tags[np.random.default_rng(2).permutation(len(tags))[:unknown]] = -1
    found = chain_nats(params_of(chain), scores, tags, starts)
    for number, own in enumerate(sentences(scores, starts)):
        right = tags[starts[number] : starts[number + 1]]
        every = list(sequences(chain, own)) if len(own) else [((), 0.0)]
        fits = [
            score
            for some, score in every
            if all(b in (-1, a) for a, b in zip(some, right, strict=True))
        ]
        share = np.log(np.exp(fits).sum()) - np.log(np.exp([score for _, score in every]).sum())
        assert found[number] == pytest.approx(-share, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("unknown", [0, 4])
def test_gradients_are_those_of_differences(unknown):
    chain, scores, tags, starts = drawn(seed=3)
    tags[np.random.default_rng(2).permutation(len(tags))[:unknown]] = -1
    params = params_of(chain)
    grads = params.twin()
    nats, dscores = chain_backward(params, grads, scores, tags, starts, 0.7)
    assert nats == pytest.approx(chain_nats(params, scores, tags, starts).sum(), rel=1e-12)

    def loss():
        return 0.7 * float(chain_nats(params, scores, tags, starts).sum())

    check(loss, {**params, "scores": scores}, {**grads, "scores": dscores})


def test_gradients_are_added_and_of_the_type_of_the_scores():
    chain, scores, tags, starts = drawn(seed=3)
    exact, rounded = params_of(chain), params_of(chain, np.float32)
    twin, rough = exact.twin(), rounded.twin()
    rough.flat[:] = 1
    _, d = chain_backward(exact, twin, scores, tags, starts, 0.5)
    _, found = chain_backward(rounded, rough, scores.astype(np.float32), tags, starts, 0.5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, d, atol=1e-6)
    np.testing.assert_allclose(rough.flat, twin.flat + 1, atol=1e-6)


def forbidding(seed=0, tags=3):
    rng = np.random.default_rng(seed)
    start, step, end = (
        rng.random(tags) < 0.7,
        rng.random((tags, tags)) < 0.6,
        rng.random(tags) < 0.7,
    )
    start[0] = end[0] = step[0, 0] = True  # so that there always is a way
    return start, step, end


@ways
@pytest.mark.parametrize("rules", [False, True], ids=["free", "with rules"])
def test_the_best_tags_are_those_of_all_sequences(compiled, rules, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernel, "missing", "for the test")
        monkeypatch.setattr(crf, "_AT_ONCE", 20)  # several rounds
    for seed in range(20):
        chain, scores, _, starts = drawn(seed=seed)
        allowed = forbidding(seed)
        whole = chain.plus(Transitions.allowed(*allowed)) if rules else chain
        found = viterbi(scores, starts, whole)
        for number, own in enumerate(sentences(scores, starts)):
            if not len(own):
                continue
            best, _ = max(sequences(whole, own), key=lambda one: one[1])
            said = tuple(found[starts[number] : starts[number + 1]].tolist())
            assert said == best
            if rules:
                start, step, end = allowed
                assert start[said[0]]
                assert end[said[-1]]
                assert all(step[pair] for pair in itertools.pairwise(said))


@ways
def test_where_nothing_is_allowed_as_little_as_can_be_is_broken(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernel, "missing", "for the test")
    step = np.array([[False, True], [False, False]])
    chain = Transitions.allowed(np.array([True, True]), step, np.array([True, True]))
    scores = np.array([[0.0, 3.0], [0.0, 3.0], [0.0, 3.0], [0.0, 5.0]])
    assert viterbi(scores, np.array([0, 4]), chain).tolist() == [0, 1, 0, 1]


@ways
def test_of_equally_good_tags_the_first_are_said(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(kernel, "missing", "for the test")
    chain = Transitions(np.zeros(4), np.zeros((4, 4)), np.zeros(4))
    assert viterbi(np.zeros((6, 4)), np.array([0, 2, 6]), chain).tolist() == [0] * 6


@pytest.mark.skipif(kernel.missing is not None, reason="no compiled loops")
def test_compiled_loops_do_what_numpy_does(monkeypatch):
    """At sizes that fill vectors and leave rests; the best tags to the bit."""
    for tags in (1, 2, 7, 16, 33):
        lengths = np.random.default_rng(tags).integers(0, 9, 40).tolist()
        chain, scores, _, starts = drawn(tags, lengths, seed=tags)
        for found, wanted in zip(
            expected(chain, scores, starts, True), expected(chain, scores, starts), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-14)
        said = viterbi(scores, starts, chain)
        with monkeypatch.context() as without:
            without.setattr(kernel, "missing", "for the test")
            np.testing.assert_array_equal(said, viterbi(scores, starts, chain))


@pytest.mark.skipif(kernel.missing is not None, reason="BLAS sums as it likes")
def test_a_sentence_does_not_depend_on_the_others_to_the_bit():
    lengths = np.random.default_rng(0).integers(0, 9, 60).tolist()
    chain, scores, tags, starts = drawn(9, lengths, seed=4)
    tags[5::40] = -1  # of some sentences, so that others of the chunk have none such
    params = params_of(chain, np.float32)
    together = chain_log_probs(params, scores, starts), chain_nats(params, scores, tags, starts)
    for number, (a, b) in enumerate(itertools.pairwise(starts)):
        alone = np.array([0, b - a])
        logp = chain_log_probs(params, scores[a:b], alone)
        np.testing.assert_array_equal(logp, together[0][a:b])
        nats = chain_nats(params, scores[a:b], tags[a:b], alone)
        np.testing.assert_array_equal(nats, together[1][number : number + 1])


@ways
def test_weights_far_apart_leave_numbers(compiled):
    """A chain that all but forbids what the scores all but demand, for longer than any product of
    floats could hold."""
    chain, scores, _, starts = drawn(5, [400, 3], seed=5, spread=200.0)
    found = expected(chain, scores, starts, compiled)
    assert np.isfinite(found.logz).all()
    np.testing.assert_allclose(found.p.sum(axis=1), 1, rtol=1e-9)
    best = viterbi(scores, starts, chain)
    score = crf._score(chain, scores, best, starts)
    assert (found.logz >= score - 1e-6 * np.abs(score)).all()


def test_one_place_is_a_softmax():
    chain, scores, tags, _ = drawn(4, [1] * 6, seed=6)
    flat = chain._replace(step=np.zeros((4, 4)), start=np.zeros(4), end=np.zeros(4))
    logp = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    starts = np.array([0, 2, 6])
    np.testing.assert_allclose(chain_log_probs(params_of(flat), scores, starts), logp, rtol=1e-12)
    nats = chain_nats(params_of(flat), scores, tags, starts)
    chosen = -logp[np.arange(6), tags]
    np.testing.assert_allclose(nats, [chosen[:2].sum(), chosen[2:].sum()], rtol=1e-12)
