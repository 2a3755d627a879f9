"""A table of n-grams cut without its text: what is kept is a model, and what says most."""

import itertools

import numpy as np
import pytest

from charlm import counted
from charlm.counts import pruning
from charlm.counts.pruning import pruned
from charlm.engines.counts import CountsEngine
from charlm.scoring import evaluate
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS
from tests.test_counts_model import KINDS, with_counts
from tests.tiny import tiny_model


def text_of(size, count, seed=0):
    """Return ids of a random text in which each token depends on the two before it, ended now and
    then."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(size - 1, 0.2), (size, size))
    ids = [EOS, EOS]
    while len(ids) < count:
        drawn = rng.choice(size - 1, p=chances[ids[-2], ids[-1]])
        ids.append(EOS if drawn == 0 else int(drawn) + 1)
    return np.array([*ids[2:], EOS], np.int32)


@pytest.fixture(scope="module")
def counts():
    """Return counts of a text of eight letters, by lines."""
    model = tiny_model("abcdefgh")
    part = Part.from_ids(text_of(model.tokenizer.size, 4000))
    return counted.counted(part, 4, model.language, None, {})


def grams(counts):
    """Return the n-grams of a table with their p."""
    trie, found = counts.trie, {0: ()}
    parent = np.repeat(np.arange(len(trie.suffix)), np.diff(trie.offset))
    for node, (before, token) in enumerate(
        zip(parent.tolist(), counts.token.tolist(), strict=True), 1
    ):
        found[node] = (*found[before], token)
    return {found[node]: p for node, p in enumerate(counts.p.tolist(), 1)}


@pytest.mark.parametrize("most", [0, 1, 30, 200])
def test_what_is_kept_has_its_probability_and_all_that_it_needs(counts, most):
    before, after = (
        grams(counts),
        grams(pruned(counts, most)),
    )  # `Counts` checks that all sums are 1
    assert after.items() <= before.items()
    longer = [gram for gram in after if len(gram) > 1]
    assert len(longer) <= most
    assert len(after) - len(longer) == counts.vocab_size
    assert all({gram[:-1], gram[1:]} <= after.keys() for gram in longer)


def test_a_table_that_fits_is_the_same(counts):
    assert pruned(counts, sum(counts.ngrams()[1:])) is counts


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_flows_are_those_of_the_chain_of_all_contexts(kind):
    """By the plain matrix: from each context to the next, over every token."""
    table = with_counts(tiny_model(**KINDS[kind])).counts
    trie, M = table.trie, len(table.children)
    p = table.distribution(np.arange(M, dtype=np.int32))  # [M, V]
    step = np.zeros((M, M))
    for token in range(table.vocab_size):
        tokens = np.full((1, M), token, np.int32)
        (after,) = table.walk(tokens, None, np.arange(M, dtype=np.int32))
        np.add.at(step, (np.arange(M), after), p[:, token])
    share = np.eye(M)[trie.begin]
    for _ in range(2000):
        share = share @ step
    expected = np.zeros(len(table.token) + 1)
    for state, token in itertools.product(range(M), range(table.vocab_size)):
        node = state
        while not (child := int(trie.child(np.int32(node), np.int32(token)))):
            node = trie.suffix[node]
        expected[child] += share[state] * p[state, token]
    found = pruning._flows(pruning._Edges.of(trie))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-3)


def test_what_says_most_is_kept(counts):
    """The text of which the counts are loses less than where as many n-grams are drawn by lot."""
    model = tiny_model("abcdefgh")
    part = Part.from_ids(text_of(model.tokenizer.size, 4000))

    def nats(table):
        return evaluate(CountsEngine(table), part, model.language.start, False).mean

    kept = pruned(counts, 150)
    links = pruning._Edges.of(counts.trie)
    by_lot = np.random.default_rng(0).random(len(links.p))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "_gains", lambda _: by_lot)
        others = pruned(counts, 150)
    assert nats(counts) < nats(kept) < nats(others) - 0.02
