"""The continuous cache: its formula against loops, and that it never knows what it is asked."""

import itertools
import json
import math

import numpy as np
import pytest

from charlm import scoring
from charlm.cells import CELLS
from charlm.engines.cache import CacheEngine
from charlm.engines.numpy import NumpyEngine
from charlm.errors import UsageError
from charlm.model import mix
from charlm.scoring import evaluate
from charlm.text.batches import WARM_UP, Batch, Columns, Context, evaluation_columns
from charlm.text.parts import Part
from charlm.text.tokenizers import EOS
from tests.test_commands import assert_refused, charlm
from tests.tiny import tiny_model

THETA, SHARE = 5.0, 0.3


def ids_of(length, tokens=5, seed=0):
    return np.random.default_rng(seed).integers(0, tokens, length).astype(np.int32)


def columns_of(ids, document=False, context=None, most=64, count_eos=True):
    return evaluation_columns(Part.from_ids(ids), context or Context(), document, count_eos, most)


def by_loops(model, columns, window):
    """Return log p of every target of the columns [T, B], each token by itself, as the formula says it."""
    (batch,) = columns.batches(10**9)
    model_logp, h, _ = model.engine.read(batch, model.engine.zero_state(batch.targets.shape[1]))
    h, result = h.astype(np.float64), np.empty(batch.targets.shape)
    for b, t in itertools.product(range(batch.targets.shape[1]), range(len(batch.targets))):
        found = total = 0.0
        for i in range(max(0, t - window), t):
            cosine = sum(h[t, b] * h[i, b]) / math.sqrt(sum(h[t, b] ** 2) * sum(h[i, b] ** 2))
            total += math.exp(THETA * cosine)
            found += math.exp(THETA * cosine) * (batch.targets[i, b] == batch.targets[t, b])
        p = math.exp(model_logp[t, b])
        result[t, b] = math.log((1 - SHARE) * p + SHARE * found / total if t else p)
    return result, batch


def nats(engine, columns, steps=10**9):
    """Return the nats that an engine gives to the columns."""
    state, total = engine.zero_state(len(columns.starts)), 0.0
    for batch in columns.batches(steps):
        loss, state = engine.evaluate(batch, state)
        total += loss.nats
    return total


def by_token(engine, columns, steps=16):
    """Return log p of every target [T, B], told from the others by its weight, in chunks."""
    state, rows = engine.zero_state(len(columns.starts)), []
    for batch in columns.batches(steps):
        row = np.empty(batch.targets.shape)
        for place in np.ndindex(row.shape):
            weight = np.zeros_like(batch.weight)
            weight[place] = 1
            row[place] = -engine.evaluate(Batch(batch.inputs, batch.targets, batch.reset, weight), state)[0].nats
        rows.append(row)
        _, state = engine.evaluate(batch, state)
    return np.concatenate(rows)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("context", ["sequence", "stream"])
def test_it_is_the_formula_over_ends_of_lines_and_in_several_columns(cell, context):
    model = tiny_model("abc", cell=cell, context=context, layers=2)
    ids = ids_of(90)
    starts, lengths = [0, 40], [40, 50]  # the first goes on, uncounted, until the second ends
    columns = Columns(Part.from_ids(ids), starts, lengths, Context.of(context), [3, 7], count_eos=False)
    for window in (1, 7, 1000):
        expected, batch = by_loops(model, columns, window)
        assert 0 < batch.weight.sum() < batch.weight.size
        engine = CacheEngine(model.engine, window, THETA, SHARE)
        for steps in (1, 4, 1000):
            assert nats(engine, columns, steps) == pytest.approx(-(expected * batch.weight).sum(), rel=1e-5)
        np.testing.assert_allclose(by_token(engine, columns), expected, rtol=1e-4, atol=1e-5)


def test_warm_up_tokens_fill_the_cache_unscored():
    """What repeats the warm-up costs a new column little, though none of it was scored there."""
    model = tiny_model("abcdefgh", sequences="document")
    ids = np.tile(ids_of(25, 10) % 8 + 2, 84)
    columns = columns_of([*ids, EOS], document=True, count_eos=False)
    assert columns.unscored == [0, WARM_UP]
    expected, batch = by_loops(model, columns, 30)
    engine = CacheEngine(model.engine, 30, THETA, SHARE)
    assert nats(engine, columns, 64) == pytest.approx(-(expected * batch.weight).sum(), rel=1e-5)
    cold = Columns(columns.stored, [WARM_UP], [25], Context())
    warm = Columns(columns.stored, [0], [WARM_UP + 25], Context(), [WARM_UP])
    assert nats(engine, warm) < 0.8 * nats(engine, cold)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_probabilities_of_all_texts_add_up_to_one(cell, monkeypatch):
    """Of all rows of three tokens, ends of lines among them; so of every next token."""
    model = tiny_model("ab", cell=cell)
    for steps, adapting in itertools.product((1, 2), (None, 0.01)):
        monkeypatch.setattr(scoring, "_ADAPTING_STEPS", steps)
        total = 0.0
        for ids in itertools.product(range(model.tokenizer.size), repeat=3):
            engine = model.cached(2, adapting)
            loss = evaluate(engine, Part.from_ids(ids), model.language.start, False)
            assert loss.count == 3
            total += math.exp(-loss.nats)
        assert total == pytest.approx(1, rel=1e-5)


def test_what_comes_later_changes_nothing_before():
    model = tiny_model("abc")
    engine = CacheEngine(model.engine, 20, THETA, SHARE)
    ids = ids_of(60)
    for place in (1, 16, 17, 40):
        other = ids.copy()
        other[place:] = (other[place:] + 1) % 5
        one, two = (by_token(engine, columns_of(each, most=1)) for each in (ids, other))
        np.testing.assert_array_equal(one[:place], two[:place])
        assert (one[place:] != two[place:]).mean() > 0.9


def test_next_to_no_share_is_the_static_figure():
    model = tiny_model("abc", threads=2)
    columns = columns_of(ids_of(5000))
    assert len(columns.starts) > 10
    static = nats(model.engine, columns)
    assert nats(CacheEngine(model.engine, 100, THETA, 1e-12), columns, 64) == pytest.approx(static, rel=1e-8)


def test_columns_are_independent():
    model = tiny_model("abc", layers=2)
    engine = CacheEngine(model.engine, 30, THETA, SHARE)
    part = Part.from_ids(ids_of(300))
    together = Columns(part, [0, 150, 60], [80, 150, 100], Context())
    alone = [Columns(part, [start], [length], Context()) for start, length in [(0, 80), (150, 150), (60, 100)]]
    assert nats(engine, together, 32) == pytest.approx(sum(nats(engine, one, 50) for one in alone), rel=1e-6)


def test_what_is_repeated_becomes_probable_within_the_window_alone():
    model = tiny_model("abcdefgh", sequences="document", spread=1.0)
    part = Part.from_ids([*np.tile(ids_of(50, 8) + 2, 20), EOS])
    static, short, long = (
        evaluate(engine, part, model.language.start, True).mean
        for engine in (model.engine, model.cached(25), model.cached(2000))
    )
    assert long < 0.85 * static
    assert long < short


def test_learning_and_looking_up_add_up():
    """With a rate of next to nothing the cache alone is left, and the model itself is as it was."""
    model = tiny_model("abcdef", sequences="document", dropout=0.5)
    part = Part.from_ids([*np.tile(ids_of(70, 6) + 2, 10), EOS])

    def mean(engine):
        return evaluate(engine, part, model.language.start, True).mean

    before = model.engine.tensors()
    assert mean(model.cached(500, 1e-12)) == pytest.approx(mean(model.cached(500)), rel=1e-5)
    assert mean(model.cached(500, 0.01)) < min(mean(model.cached(500)), mean(model.dynamic(0.01)))
    for name, w in model.engine.tensors().items():
        np.testing.assert_array_equal(w, before[name])


def test_a_model_without_hidden_values_has_a_cache_of_frequencies():
    """Hidden values of length zero have no direction: every place counts alike, and nothing is divided by zero."""
    model = tiny_model("abc", cell="rnn", nonlinearity="relu", sequences="document")
    dead = {name: np.zeros_like(w) for name, w in model.engine.tensors().items()}
    engine = NumpyEngine(model.config)
    engine.load(dead)
    ids = [2, 2, 3, 2]
    uniform = 1 / model.tokenizer.size
    expected = [uniform, *(0.7 * uniform + 0.3 * share for share in (1, 0, 2 / 3))]
    found = by_token(CacheEngine(engine, 10, THETA, SHARE), columns_of(ids))
    np.testing.assert_allclose(np.exp(found[:, 0]), expected, rtol=1e-6)


def test_it_is_named_where_it_was_used(tmp_path):
    tiny_model("abcdef", sequences="document").save(tmp_path / "m.safetensors")
    text = tmp_path / "text.txt"
    text.write_text("abfcdeca" * 300)

    def scored(*options):
        run = charlm("score", "-m", tmp_path / "m.safetensors", "--corpus", text, "--json", *options)
        assert run.exit_code == 0
        return json.loads(run.stdout)

    plain, cache, both = scored(), scored("--cache"), scored("--cache", 300, "--dynamic", 0.001)
    assert [one["text"] for one in (plain, cache, both)] == [
        str(text), f"{text}, cache of 2,000 tokens", f"{text}, dynamic evaluation at 0.001, cache of 300 tokens",
    ]  # fmt: skip
    assert plain["tokens"] == cache["tokens"] == both["tokens"] == 2400
    assert plain["logprob"] < cache["logprob"] < both["logprob"] < 0
    shown = charlm("score", "-m", tmp_path / "m.safetensors", "--corpus", text, "--cache", "--tsv").stdout
    assert shown.rstrip().endswith("cache of 2,000 tokens")


def test_what_has_no_cache_is_refused_in_a_line(tmp_path):
    model = tiny_model("abc")
    for window in (0, -1, 100_001):
        with pytest.raises(UsageError, match="the window of the cache must be 1 to 100,000 tokens"):
            model.cached(window)
    with pytest.raises(UsageError, match="a mixture does not adapt"):
        mix([model, model], [0.5, 0.5]).cached(100)
    path, text = tmp_path / "m.safetensors", tmp_path / "text.txt"
    model.save(path)
    text.write_text("abc\n")
    assert_refused(charlm("score", "-m", path, "abc", "--cache", 5), 2, "--corpus")
    assert_refused(charlm("score", "-m", path, "--corpus", text, "--cache", 0), 2, "1 to 100,000")
    assert_refused(charlm("score", "-m", path, "--corpus", text, "--cache", "many"), 2, "--cache", "many")
    mixed = ["-m", path, "-m", path, "--mix", "0.5,0.5"]
    assert_refused(charlm("score", *mixed, "--corpus", text, "--cache"), 2, "--mix and --cache do not go together")
