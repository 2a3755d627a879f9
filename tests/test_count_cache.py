"""The count cache: its formula against counting anew, sums of one, and that it never knows what it
is asked."""

import copy
import itertools
import json
import math

import numpy as np
import pytest

from charlm.counts.online import OnlineCounts
from charlm.engines.count_cache import CountCacheEngine
from charlm.errors import UsageError
from charlm.model import mix
from charlm.scoring import evaluate
from charlm.text.batches import Context, evaluation_columns
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS
from tests.test_commands import assert_refused, charlm
from tests.test_counts_model import alone, with_counts
from tests.tiny import tiny_model

V = 5


def ids_of(length, seed=0):
    """Return ids, some n-grams of which come often, and some contexts of which one token alone
    follows."""
    rng = np.random.default_rng(seed)
    words = [rng.integers(0, V, size).tolist() for size in (1, 2, 3, 5, 8)]
    return [token for k in rng.integers(0, len(words), length) for token in words[k]][:length]


def witten_bell(before, token, order):
    """Return p of a token after others, counted anew, and how it is judged."""
    p, kind = 1 / V, 0
    for length in range(min(order, len(before) + 1)):
        context = before[len(before) - length :]
        places = range(len(before) - length)
        after = [before[k + length] for k in places if before[k : k + length] == context]
        if after:
            different = len(set(after))
            p = (after.count(token) + different * p) / (len(after) + different)
            kind = 2 * (length + 1) - (different == 1)
    return p, kind


@pytest.mark.parametrize("order", [1, 2, 6])
def test_counts_are_witten_bells_of_the_text_before(order):
    ids = ids_of(150)
    expected = [witten_bell(ids[:t], token, order) for t, token in enumerate(ids)]
    counts, found = OnlineCounts(V, order), []
    for start, end in itertools.pairwise([0, 1, 2, 40, 150]):
        found += zip(*counts.read(ids[start:end]), strict=True)
    assert [kind for _, kind in found] == [kind for _, kind in expected]
    assert [p for p, _ in found] == pytest.approx([p for p, _ in expected], rel=1e-12)
    assert {kind for _, kind in found} >= {0, 2, *range(3, 2 * order + 1)}
    grams = {tuple(ids[t : t + n]) for n in range(1, order + 1) for t in range(len(ids) - n + 1)}
    assert counts.size == len(grams)


@pytest.mark.parametrize("most", [3, 20, 1000])
def test_the_chances_of_all_tokens_sum_to_one_with_room_and_without(most):
    counts = OnlineCounts(V, 4, most)
    sums, sizes = [], []
    for token in ids_of(200):
        sums.append(sum(copy.deepcopy(counts).read([x])[0][0] for x in range(V)))
        counts.read([token])
        sizes.append(counts.size)
    assert sums == pytest.approx([1] * 200, rel=1e-12)
    assert max(sizes) == most if most < 1000 else max(sizes) < most
    assert sizes == sorted(sizes)


def test_what_is_known_is_counted_on_where_there_is_no_room():
    ids = [2, 3] * 40
    full, free = OnlineCounts(V, 2, most=4), OnlineCounts(V, 2)
    assert full.read(ids) == free.read(ids)
    assert (full.size, full.read([4, 4])[1]) == (4, [3, 2]), "what is unknown is no context"
    alike = (40 + 2 / V) / 83  # of 2 and 3 each, once 2 has come again
    assert full.read([2, 3])[0] == pytest.approx([(40 + 2 / V) / 82, (40 + alike) / 41], rel=1e-12)


def logps(engine, ids, steps, columns=1):
    """Return log p of every target [T, B], read in chunks."""
    cut = evaluation_columns(Part.from_ids(ids), Context(), True, True, columns)
    state, found = engine.zero_state(len(cut.starts)), []
    for batch in cut.batches(steps):
        one, state = engine.log_probs(batch, state)
        found.append(one.target)
    return np.concatenate(found)


def cached(model, order=4, **over):
    return CountCacheEngine(over.get("over", model.engine), model.tokenizer.size, order)


@pytest.fixture(params=["network", "blend", "counts", "mixture", "cache", "dynamic"])
def scorer(request):
    model = tiny_model("abc", sequences="document")
    blend = with_counts(model)
    made = {
        "network": lambda: model.engine,
        "blend": lambda: blend.engine,
        "counts": lambda: alone(blend).engine,
        "mixture": lambda: mix([model, blend], [0.5, 0.5]).engine,
        "cache": lambda: blend.cached(20),
        "dynamic": lambda: blend.dynamic(0.01),
    }
    return made[request.param]


def test_it_is_the_formula_over_whatever_scores_and_in_chunks_of_any_size(scorer):
    """The chunks of what learns as it goes are its own, so each is compared with itself alone."""
    ids = ids_of(130)
    for steps in (1, 7, 200):
        model, expected = logps(scorer(), ids, steps)[:, 0], []
        shares = {kind: [0.05 * 20, 20] for kind in range(9)}
        for t, token in enumerate(ids):
            q, kind = witten_bell(ids[:t], token, 4)
            w = shares[kind][0] / shares[kind][1] if t else 0
            p = (1 - w) * math.exp(model[t]) + w * q
            shares[kind][0] += w * q / p
            shares[kind][1] += 1
            expected.append(math.log(p))
        found = logps(CountCacheEngine(scorer(), V, 4), ids, steps)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        assert found[0] == model[0]
        assert abs(found - model)[1:].max() > 0.05


def test_a_blend_that_adapts_says_of_each_token_what_it_adds_up():
    blend, ids = with_counts(tiny_model("abc", sequences="document")), ids_of(90)
    loss = evaluate(blend.cached(20), Part.from_ids(ids), Context(), True, count_eos=True)
    assert -logps(blend.cached(20), ids, 30).sum() == pytest.approx(loss.nats, rel=1e-9)


def test_the_probabilities_of_all_texts_add_up_to_one():
    model = tiny_model("ab", sequences="document")
    total = 0.0
    for ids in itertools.product(range(model.tokenizer.size), repeat=4):
        loss = evaluate(
            cached(model, 3), Part.from_ids(ids), model.language.start, True, count_eos=True
        )
        assert loss.count == 4
        total += math.exp(-loss.nats)
    assert total == pytest.approx(1, rel=1e-6)


def test_what_comes_later_changes_nothing_before():
    model, ids = tiny_model("abc", sequences="document"), ids_of(60)
    for place in (1, 16, 17, 40):
        other = [*ids[:place], *((token + 1) % V for token in ids[place:])]
        one, two = (logps(cached(model), each, 16)[:, 0] for each in (ids, other))
        np.testing.assert_array_equal(one[:place], two[:place])
        assert (one[place:] != two[place:]).mean() > 0.9


def test_columns_and_texts_have_caches_of_their_own():
    model = tiny_model("abc", sequences="document")
    engine, ids = cached(model), np.array(ids_of(2100), np.int32)
    both = logps(engine, ids, 64, columns=2)
    assert both.shape[1] == 2
    again = logps(engine, ids[:1050], 64)
    np.testing.assert_allclose(both[:1050, 0], again[:, 0], rtol=1e-6)


def test_a_token_that_does_not_count_enters_it_too():
    """The end of the first text is not scored; the second, its repetition, is known from the
    first."""
    model = tiny_model("abc", sequences="document")
    text = [*ids_of(30), EOS]
    ids = [token for token in text if token != EOS] + [EOS]
    columns = evaluation_columns(Part.from_ids(ids * 2), Context(), True, False, 1)
    (batch,) = columns.batches(1000)
    engine = cached(model)
    tally, _ = engine.evaluate(batch, engine.zero_state(1))
    found, _ = cached(model).log_probs(batch, engine.zero_state(1))
    assert tally.nats == pytest.approx(-(found.target * batch.weight).sum(), rel=1e-12)
    assert tally.count == len(ids) * 2 - 2
    assert found.target[len(ids) + 5 : -1].mean() > found.target[: len(ids) - 1].mean() + 0.3


def test_repeated_texts_gain_and_random_ones_lose_next_to_nothing():
    model = tiny_model("abcdefgh", sequences="document", spread=1.0)
    rng = np.random.default_rng(3)
    repeated = [*np.tile(rng.integers(2, 10, 50), 20), EOS]
    static, short, long = (
        evaluate(engine, Part.from_ids(repeated), model.language.start, True).mean
        for engine in (model.engine, model.counting(1), model.counting())
    )
    assert long < 0.3 * static
    assert long < 0.5 * short
    model.trained.load({name: np.zeros_like(w) for name, w in model.trained.tensors().items()})
    uniform, cache = (
        logps(engine, rng.integers(0, 10, 3000), 64).mean()
        for engine in (model.engine, model.counting())
    )
    assert uniform == pytest.approx(-math.log(10))
    assert uniform - 0.02 < cache < uniform


def test_it_is_named_where_it_was_used(tmp_path):
    model = with_counts(tiny_model("abcdef", sequences="document"))
    model.save(tmp_path / "m.safetensors")
    text = tmp_path / "text.txt"
    text.write_text("abfcdeca" * 300)

    def scored(*options):
        run = charlm(
            "score", "-m", tmp_path / "m.safetensors", "--corpus", text, "--json", *options
        )
        assert run.exit_code == 0, run.stderr
        return json.loads(run.stdout)

    plain, counted = scored(), scored("--count-cache")
    every = scored("--cache", 300, "--dynamic", 0.001, "--count-cache", 3)
    assert [counted["text"], every["text"]] == [
        f"{text}, count cache of 6-grams",
        f"{text}, dynamic evaluation at 0.001, cache of 300 tokens, count cache of 3-grams",
    ]
    assert plain["tokens"] == counted["tokens"] == every["tokens"] == 2400
    assert plain["logprob"] < counted["logprob"] < 0
    engine = model.counting(3, model.cached(300, 0.001))
    ids = [*model.tokenizer.encode(text.read_text()), EOS]
    loss = evaluate(engine, Part.from_ids(ids), model.language.start, True)
    assert every["logprob"] == pytest.approx(-loss.nats, rel=1e-9)
    shown = charlm(
        "score", "-m", tmp_path / "m.safetensors", "--corpus", text, "--count-cache"
    ).stdout
    assert shown.startswith(f"scored           {text}, count cache of 6-grams\n")


def test_what_has_no_count_cache_is_refused_in_a_line(tmp_path):
    model = tiny_model("abc")
    for order in (0, -1, 11):
        with pytest.raises(UsageError, match="the order of the count cache must be 1 to 10"):
            model.counting(order)
    path, text = tmp_path / "m.safetensors", tmp_path / "text.txt"
    model.save(path)
    text.write_text("abc\n")
    assert_refused(
        charlm("score", "-m", path, "abc", "--count-cache", 5),
        2,
        "--count-cache needs one long text",
    )
    assert_refused(charlm("score", "-m", path, "--corpus", text, "--count-cache", 0), 2, "1 to 10")
    assert_refused(
        charlm("score", "-m", path, "--corpus", text, "--count-cache", "x"),
        2,
        "--count-cache",
        "'x'",
    )
