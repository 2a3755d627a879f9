"""Tables of n-grams that do not hold together: each check refuses what it is there for."""

import numpy as np
import pytest

from charlm.counts.table import MOST_ORDER, Counts
from charlm.errors import DataError
from charlm.nn import kernel
from tests.test_counts_table import COMPILED
from tests.tries import arrays_of, counts_of, estimated, random_model

V, ORDER = 5, 4
WIDE = 70_000  # a vocabulary whose ids, and whose number of children, need int32

GOOD = arrays_of(*random_model(7, V, ORDER, 200), V)


@pytest.fixture(params=["numpy", *COMPILED[-1:]])
def loops(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(kernel, "_library", None)


def good():
    """Return what makes a model: all arguments of Counts, by name."""
    arrays = {name: array.copy() for name, array in GOOD.items()}
    return {"order": ORDER, "vocab_size": V, "begin": 0, **arrays}


def wide():
    token = np.arange(WIDE, dtype=np.int32)
    arrays = {"token": token, "p": np.full(WIDE, 1 / WIDE, np.float32)}
    arrays |= {"children": np.full(1, WIDE, np.int32), "backoff": np.ones(1, np.float32)}
    return {"order": 1, "vocab_size": WIDE, "begin": None, **arrays}


def two_levels_wide():
    """Return bigrams over all of the tokens of `wide`, none there yet but one."""
    model = wide()
    children = np.zeros(WIDE + 1, np.int32)
    children[:2] = WIDE, 1
    model |= {"order": 2, "children": children, "backoff": np.ones(WIDE + 1, np.float32)}
    model["token"] = np.append(model["token"], np.int32(3))
    model["p"] = np.append(model["p"], model["p"][:1])
    return model


def put(name, place, value):
    def alter(model):
        model[name] = model[name].copy()
        model[name][place] = value

    return alter


def become(name, value):
    return lambda model: model.update({name: value(model[name]) if callable(value) else value})


def in_turn(*alterations):
    def alter(model):
        for one in alterations:
            one(model)

    return alter


def siblings(model):
    """Return where in `token` the children of the first node that has some, not all, begin."""
    node = next(i for i, count in enumerate(model["children"]) if 2 <= count < V)
    return int(model["children"][:node].sum())


def swap_siblings(model):
    first = siblings(model)
    model["token"][[first, first + 1]] = model["token"][[first + 1, first]]


def double_a_sibling(model):
    first = siblings(model)
    model["token"][first + 1] = model["token"][first]


def move_a_child_across_levels(model):
    """A 1-gram gets one child more, a 2-gram one less: the sum stays."""
    children = model["children"]
    children[1] += 1
    two_gram = next(i for i in range(V + 1, len(children)) if children[i])
    children[two_gram] -= 1


def move_a_child(model):
    """The last child of a context becomes the first of the next: the orders stay."""
    children = model["children"]
    node = next(i for i in range(1, V) if children[i] > 0 and children[i + 1] < V)
    children[node] -= 1
    children[node + 1] += 1


CHECKS = {
    "order 0": (become("order", 0), "order is out of range"),
    "order 11": (become("order", MOST_ORDER + 1), "order is out of range"),
    "order True": (become("order", True), "order is out of range"),
    "order 4.0": (become("order", 4.0), "order is out of range"),
    "order as text": (become("order", "4"), "order is out of range"),
    "an order less": (become("order", ORDER - 1), "orders are more or fewer"),
    "an order more": (become("order", ORDER + 1), "orders are more or fewer"),
    "two orders more": (become("order", ORDER + 2), "orders are fewer"),
    "begin -1": (become("begin", -1), "begin is no token"),
    "begin V": (become("begin", V), "begin is no token"),
    "begin True": (become("begin", True), "begin is no token"),
    "begin 0.0": (become("begin", 0.0), "begin is no token"),
    "a token more": (become("vocab_size", V + 1), "the vocabulary is another"),
    "a token less": (become("vocab_size", V - 1), "the vocabulary is another"),
    "more tokens than nodes": (become("vocab_size", 10**6), "too few or too many"),
    "two axes": (become("p", lambda p: p.reshape(1, -1)), "not of one axis"),
    "no axis": (become("backoff", np.float32(1).reshape(())), "not of one axis"),
    "no contexts": (become("children", np.zeros(0, np.uint8)), "too few or too many"),
    "p cut": (become("p", lambda p: p[:-1]), "of unlike lengths"),
    "backoff cut": (become("backoff", lambda p: p[:-1]), "of unlike lengths"),
    "token cut": (become("token", lambda p: p[:-1]), "of unlike lengths"),
    "children cut": (become("children", lambda p: p[:-1]), "of unlike lengths"),
    "p float64": (become("p", lambda p: p.astype(np.float64)), "numbers are of another type"),
    "backoff int32": (become("backoff", lambda p: p.astype("i4")), "numbers are of another type"),
    "token int32": (become("token", lambda p: p.astype("i4")), "tokens are of another type"),
    "token uint16": (become("token", lambda p: p.astype("u2")), "tokens are of another type"),
    "token float32": (become("token", lambda p: p.astype("f4")), "tokens are of another type"),
    "children uint16": (become("children", lambda p: p.astype("u2")), "children are of another"),
    "children NaN": (
        become("children", lambda p: np.append(p[:-1], np.float32(np.nan))),
        "children are of another",
    ),
    "a child more": (put("children", -1, 200), "children are more or fewer"),
    "root's children": (put("children", 0, V + 1), "the vocabulary is another"),
    "another level": (move_a_child_across_levels, "orders are more or fewer"),
    "another parent": (move_a_child, "tokens are not in order|lacks its suffix|sum to 1"),
    "token V": (put("token", -1, V), "tokens are out of range"),
    "tokens swapped": (swap_siblings, "tokens are not in order"),
    "a token twice": (double_a_sibling, "tokens are not in order"),
    "1-grams swapped": (put("token", slice(0, 2), [1, 0]), "tokens are not in order"),
    "p NaN": (put("p", 3, np.nan), "probabilities are out of range"),
    "p infinite": (put("p", 3, np.inf), "probabilities are out of range"),
    "p 0": (put("p", 3, 0), "probabilities are out of range"),
    "p negative": (put("p", 3, -0.1), "probabilities are out of range"),
    "p above 1": (put("p", 3, 1.001), "probabilities are out of range"),
    "backoff NaN": (put("backoff", 3, np.nan), "back-off weights are out of range"),
    "backoff infinite": (put("backoff", 3, np.inf), "back-off weights are out of range"),
    "backoff negative": (put("backoff", 3, -1e-9), "back-off weights are out of range"),
    "backoff zero": (put("backoff", 3, 0), "back-off weights are out of range"),
    "backoff large": (put("backoff", 3, 2e6), "back-off weights are out of range"),
    "the root's backoff": (put("backoff", 0, 0.5), "back-off weights are out of range"),
    "p of a 1-gram": (put("p", 2, 0.9), "sum to 1"),
    "p of the last": (become("p", lambda p: np.append(p[:-1], p[-1:] / 2)), "sum to 1"),
    "backoff of the last": (become("backoff", lambda w: np.append(w[:-1], w[-1:] * 2)), "sum to 1"),
}  # fmt: skip


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize(("alter", "fault"), CHECKS.values(), ids=CHECKS)
def test_each_check_refuses_what_it_is_there_for(alter, fault):
    model = good()
    Counts(**model)
    alter(model)
    with pytest.raises(DataError, match=fault) as refusal:
        Counts(**model)
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize(
    ("alter", "fault"),
    [
        (put("token", 0, -1), "tokens are out of range"),
        (in_turn(put("children", 5, -1), put("children", 1, 2)), "children are negative"),
        (put("children", 5, 2**31 - 1), "children are more or fewer"),
        (put("token", -1, 2**31 - 1), "tokens are out of range"),
    ],
)
def test_wide_types_are_checked_too(alter, fault):
    model = two_levels_wide()
    Counts(**model)
    alter(model)
    with pytest.raises(DataError, match=fault):
        Counts(**model)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("missing", [(1, 2), (1, 2, 3)])
def test_an_ngram_without_its_suffix_is_refused(missing):
    """As a 3-gram, which is a context, and as a 4-gram, which is none."""
    whole = {
        gram[-n:] for gram in [(0, 1, 2), (1, 2, 3), (0, 1, 2, 3)] for n in range(1, len(gram) + 1)
    }
    whole |= {gram[:n] for gram in whole for n in range(1, len(gram) + 1)} | {
        (x,) for x in range(V)
    }
    for grams, fits in [(whole, True), (whole - {missing}, False)]:
        grams = {gram for gram in grams if all(gram[:n] in grams for n in range(1, len(gram)))}
        model = estimated(np.random.default_rng(0), V, grams, ORDER)
        if fits:
            counts_of(*model, V, ORDER)
            continue
        with pytest.raises(DataError, match="lacks its suffix"):
            counts_of(*model, V, ORDER)


def altered(rng, model):
    """Return a model with one thing changed at random."""
    name = rng.choice(["token", "p", "children", "backoff"])
    array = model[name].copy()
    place, other = rng.integers(0, len(array), 2) if len(array) else (0, 0)
    bits = array.view(np.uint8)
    match rng.integers(0, 10):
        case 0 | 1 if len(array):
            bits[rng.integers(len(bits))] ^= 1 << rng.integers(0, 8)
        case 2 if len(array):
            array[[place, other]] = array[[other, place]]
        case 3 if len(array):
            array[place] = array[other]
        case 4:
            array = np.delete(array, slice(place, place + 1))
        case 5 if len(array):
            array = np.insert(array, place, array[other])
        case 6:
            with np.errstate(invalid="ignore"):
                array = array.astype(rng.choice(["u1", "u2", "i4", "f4", "i8", "f8"]))
        case 7 if len(array):
            array = array.copy()
            with np.errstate(over="ignore"):
                array[place] += array.dtype.type(1)
                array[other] -= array.dtype.type(1)
        case 8:
            return model | {
                "order": int(rng.integers(-1, 12)),
                "begin": int(rng.integers(-2, V + 2)),
            }
        case 9:
            return model | {"vocab_size": int(rng.integers(0, 2 * V))}
    return model | {name: array}


def verdict(model):
    """Return None where a model is refused, else what it says, which must be finite."""
    try:
        counts = Counts(**model)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return None
    contexts = np.arange(len(counts.children), dtype=np.int32)
    every = counts.distribution(contexts)
    assert (every >= 0).all()
    np.testing.assert_allclose(every.sum(axis=1), 1, atol=2e-3)
    inputs = np.resize(np.arange(-1, counts.vocab_size, dtype=np.int32), (30, 3))
    nodes = counts.walk(inputs, None, counts.zero_state(3))
    assert np.isfinite(counts.targets(nodes, np.maximum(inputs, 0))).all()
    return every[nodes.reshape(-1)]


def test_whatever_is_altered_it_is_refused_or_gives_probabilities(monkeypatch):
    """NumPy and the compiled loops, where there are any, say the same."""
    rng, refused, alterations = np.random.default_rng(0), 0, 1000
    for _ in range(alterations):
        model = good()
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            model = altered(rng, model)
        said = verdict(model)
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "_library", None)
            again = verdict(model)
        assert (said is None) == (again is None)
        if said is not None:
            np.testing.assert_array_equal(said, again)
        refused += said is None
    assert 0.5 * alterations < refused < alterations, "some alterations are harmless, most are not"
