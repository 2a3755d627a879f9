"""The NumPy engine: threads, repetition to the bit, snapshots, refusals."""

import contextlib
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from charlm.config import ModelConfig, TrainConfig
from charlm.engines import Tally
from charlm.engines.numpy import NumpyEngine
from charlm.errors import DataError, DivergedError
from charlm.nn import kernel
from charlm.nn.model import LanguageModel
from charlm.text.batches import Batch
from charlm.text.tokenizers import UNK
from tests.tiny import CELLS

GATED = [name for name in CELLS if name != "relu"]  # or bounded: relu alone can explode
OPTIMIZERS = ["adam", "muon", "sgd", "rmsprop"]

all_cells = pytest.mark.parametrize("cell", CELLS)


def small(cell="gru", **settings):
    return ModelConfig(**{"vocab_size": 6, "layers": 2, "hidden": 5, "embedding": 3, **CELLS[cell], **settings})


@pytest.fixture
def chunks(chunk_of):
    """Six chunks of five columns, each with another number of steps."""
    return [chunk_of(small(), 3 + seed, 5, seed) for seed in range(6)]


def train(engine, chunks, state=None, lr=0.05):
    """Update on each chunk; return the losses, the norms and the last state."""
    state = engine.zero_state(5) if state is None else state
    losses, norms = [], []
    for chunk in chunks:
        loss, norm, state = engine.update(chunk, state, lr)
        losses.append(loss.nats)
        norms.append(norm)
    return losses, norms, state


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], strict=True, err_msg=name)


# Threads


@all_cells
@pytest.mark.parametrize("threads", [2, 7], ids=["2 threads", "more threads than columns"])
def test_threads_change_nothing_but_rounding(cell, threads, chunks):
    one, several = NumpyEngine(small(cell)), NumpyEngine(small(cell), threads)
    for found, expected in zip(train(several, chunks), train(one, chunks), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for name, value in several.tensors().items():
        np.testing.assert_allclose(value, one.tensors()[name], rtol=1e-3, atol=1e-4, err_msg=name)


@all_cells
def test_threads_agree_on_log_probs(cell, chunks, state_of):
    one, two = NumpyEngine(small(cell)), NumpyEngine(small(cell), 2)
    state = state_of(small(cell), 5, np.float32)
    (logp, after), (logp_two, after_two) = (engine.log_probs(chunks[3], state) for engine in (one, two))
    np.testing.assert_allclose(logp_two.target, logp.target, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after_two, after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["all", "dropout"])
def test_a_run_repeats_to_the_bit(threads, dropout, chunks):
    runs = []
    for _ in range(2):
        engine = NumpyEngine(small(dropout=dropout), threads, TrainConfig(seed=3))
        losses, norms, state = train(engine, chunks)
        runs.append({"losses": np.array(losses), "norms": np.array(norms), "state": state[0]} | engine.tensors())
    assert_same(*runs)


def test_the_seed_decides_weights_and_dropout(chunks):
    one, other = (NumpyEngine(small(dropout=0.5), 1, TrainConfig(seed=seed)) for seed in (1, 2))
    assert np.abs(one.tensors()["head.weight"] - other.tensors()["head.weight"]).max() > 0.1
    other.load(one.tensors())
    assert train(one, chunks[:1])[0] != train(other, chunks[:1])[0]


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("call", ["update", "log_probs", "logits"])
def test_blas_has_one_thread_within_and_its_own_number_after(call, chunks, monkeypatch):
    if not blas_threads():
        pytest.skip("this NumPy's BLAS is none that threadpoolctl knows")
    engine, within = NumpyEngine(small(), 2), []
    method = "backward" if call == "update" else call
    original = getattr(LanguageModel, method)

    def spied(*args):
        within.extend(blas_threads())
        return original(*args)

    monkeypatch.setattr(LanguageModel, method, spied)
    if call == "logits":
        monkeypatch.setattr(kernel, "_library", None)  # the compiled loops need no BLAS
    state = engine.zero_state(5)
    arguments = {"update": (chunks[0], state, 0.1), "log_probs": (chunks[0], state),
                 "logits": (chunks[0].inputs, state)}  # fmt: skip
    with threadpool_limits(2):
        before = blas_threads()
        getattr(engine, call)(*arguments[call])
        assert blas_threads() == before
    assert within
    assert set(within) == {1}


# Snapshots


@all_cells
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_restored_snapshot_goes_on_to_the_bit(cell, optimizer, threads, chunks):
    """A run of six steps against one that is broken off after three and taken up by another engine."""
    config = small(cell, dropout=0.3)
    settings = TrainConfig(optimizer=optimizer, weight_decay=0.01, seed=5)
    engine = NumpyEngine(config, threads, settings)
    _, _, state = train(engine, chunks[:3])
    arrays, facts = engine.snapshot(state)
    expected, expected_norms, expected_state = train(engine, chunks[3:], state)

    fresh = NumpyEngine(config, threads, settings)
    restored = fresh.restore((arrays, json.loads(json.dumps(facts))))
    losses, norms, after = train(fresh, chunks[3:], restored)
    assert losses == expected
    assert norms == expected_norms
    np.testing.assert_array_equal(after, expected_state)
    assert_same(fresh.tensors(), engine.tensors())


def test_a_snapshot_stays_as_it_was(chunks):
    engine = NumpyEngine(small("lstm"))
    _, _, state = train(engine, chunks[:2])
    arrays, _ = engine.snapshot(state)
    kept = {name: value.copy() for name, value in arrays.items()}
    train(engine, chunks[2:], state)
    assert_same(arrays, kept)
    assert {"embed.weight", "optimizer.m", "optimizer.v", "state.0", "state.1"} <= arrays.keys()


def test_a_snapshot_of_two_threads_goes_on_with_one(chunks):
    """The number of threads may change at a resume: the generators that are left go on."""
    config = small(dropout=0.3)
    engine = NumpyEngine(config, 2)
    _, _, state = train(engine, chunks[:3])
    one = NumpyEngine(config)
    after = one.restore(engine.snapshot(state))
    assert_same(one.tensors(), engine.tensors())
    np.testing.assert_array_equal(after, state)
    assert one.snapshot(after)[1]["dropout_generators"] == engine.snapshot(state)[1]["dropout_generators"][:1]


# Weights in and out


def test_tensors_and_load_copy(chunks):
    engine, twin = NumpyEngine(small(), 1, TrainConfig(seed=1)), NumpyEngine(small(), 1, TrainConfig(seed=2))
    tensors = engine.tensors()
    twin.load(tensors)
    state = engine.zero_state(5)
    expected, _ = engine.evaluate(chunks[0], state)
    for value in tensors.values():
        value[...] = 0
    assert engine.evaluate(chunks[0], state)[0] == expected
    assert twin.evaluate(chunks[0], state)[0] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("head.bias"), r"missing or unknown head\.bias$"),
        (lambda t: t.update({"head.scale": t["head.bias"]}), r"missing or unknown head\.scale$"),
        (lambda t: t.update({"head.bias": np.zeros(7, np.float32)}), r"head\.bias is float32\[7\].*float32\[6\]"),
        (lambda t: t.update({"head.weight": t["head.weight"].T}), r"tensor head\.weight is float32\[5, 6\]"),
        (lambda t: t.update({"head.bias": np.zeros(6)}), r"tensor head\.bias is float64\[6\]"),
    ],
    ids=["missing", "unknown", "size", "transposed", "type"],
)
def test_tensors_that_do_not_fit_are_refused_whole(change, message):
    engine = NumpyEngine(small())
    before, tensors = engine.tensors(), {name: value + 1 for name, value in engine.tensors().items()}
    change(tensors)
    with pytest.raises(DataError, match=message):
        engine.load(tensors)
    assert_same(engine.tensors(), before)


# Figures


@all_cells
def test_evaluate_is_the_sum_of_log_probs(cell, chunks, state_of):
    engine, state = NumpyEngine(small(cell), 2), state_of(small(cell), 5, np.float32)
    chunk = replace(chunks[4], targets=np.where(chunks[4].weight > 0, chunks[4].targets, UNK))
    logp, after = engine.log_probs(chunk, state)
    loss, after_evaluation = engine.evaluate(chunk, state)
    counted = chunk.weight > 0
    unknown = counted & (chunk.targets == UNK)
    assert 0 < unknown.sum() < counted.sum() < counted.size
    assert loss.nats == pytest.approx(-logp.target[counted].sum(), rel=1e-12)
    assert loss.unknown_nats == pytest.approx(-logp.target[unknown].sum(), rel=1e-12)
    assert (loss.count, loss.unknown) == (counted.sum(), unknown.sum())
    np.testing.assert_array_equal(after, after_evaluation)


@all_cells
def test_update_reports_the_loss_before_its_step(cell, chunks, state_of):
    engine, state = NumpyEngine(small(cell)), state_of(small(cell), 5, np.float32)
    expected, expected_after = engine.evaluate(chunks[2], state)
    loss, _, after = engine.update(chunks[2], state, 0.1)
    assert loss.nats == pytest.approx(expected.nats, rel=1e-6)
    assert loss.count == expected.count
    np.testing.assert_allclose(after, expected_after, rtol=1e-5, atol=1e-6)
    assert engine.evaluate(chunks[2], state)[0].nats < loss.nats


@all_cells
def test_logits_are_log_probs_but_for_a_constant(cell, chunks, state_of):
    engine, state = NumpyEngine(small(cell), 2), state_of(small(cell), 5, np.float32)
    chunk = chunks[1]
    logits, after = engine.logits(chunk.inputs, state)
    whole = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    logp, after_plain = engine.log_probs(replace(chunk, reset=np.zeros_like(chunk.reset)), state)
    np.testing.assert_allclose(whole[np.arange(5), chunk.targets[-1]], logp.target[-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after, after_plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("top", [1, 3, 9])
def test_ranks_and_alternatives_are_the_order_of_all_log_probs(threads, top, chunks, state_of):
    engine, state, chunk = NumpyEngine(small(), threads), state_of(small(), 5, np.float32), chunks[1]
    every = np.stack([
        engine.log_probs(replace(chunk, targets=np.full_like(chunk.targets, k)), state)[0].target for k in range(6)
    ], axis=-1)  # [T, B, V]  # fmt: skip
    plain, after = engine.log_probs(chunk, state)
    ranked, after_ranked = engine.log_probs(chunk, state, top)
    np.testing.assert_array_equal(after_ranked, after)
    np.testing.assert_allclose(ranked.target, plain.target, rtol=1e-5, atol=1e-6)
    order = np.argsort(-every, axis=-1)[..., : min(top, 6)]
    np.testing.assert_array_equal(ranked.ids, order)
    np.testing.assert_allclose(ranked.top, np.take_along_axis(every, order, axis=-1), rtol=1e-5, atol=1e-6)
    chosen = np.take_along_axis(every, chunk.targets[..., None].astype(int), axis=-1)
    np.testing.assert_array_equal(ranked.rank, 1 + (every > chosen).sum(axis=-1))


@all_cells
def test_select_takes_columns_of_the_state(cell, chunks, state_of):
    engine, state = NumpyEngine(small(cell)), state_of(small(cell), 5, np.float32)
    order = [4, 0, 0]
    inputs = chunks[0].inputs
    every, _ = engine.logits(inputs, state)
    some, _ = engine.logits(inputs[:, order], engine.select(state, order))
    np.testing.assert_allclose(some, every[order], rtol=1e-5, atol=1e-6)


def test_the_norm_is_the_one_before_clipping(chunks):
    norms = []
    moved = []
    for clip in (1e-3, 1e3):
        engine = NumpyEngine(small(), 1, TrainConfig(optimizer="sgd", momentum=0, clip=clip))
        before = engine.params.flat.copy()
        norms.append(engine.update(chunks[0], engine.zero_state(5), 1.0)[1])
        moved.append(np.linalg.norm((engine.params.flat - before).astype(np.float64)))
    assert norms[0] == norms[1]
    assert moved == pytest.approx([1e-3, norms[1]], rel=1e-3)


def test_evaluation_leaves_training_alone(chunks):
    """Neither weights nor dropout's generator nor the buffers of a half-done chunk."""
    plain, disturbed = (NumpyEngine(small(dropout=0.3), 2) for _ in range(2))
    expected, _, _ = train(plain, chunks)
    losses, state = [], disturbed.zero_state(5)
    for chunk in chunks:
        disturbed.evaluate(chunks[-1], disturbed.zero_state(5))
        disturbed.logits(chunks[0].inputs[:1], state)
        loss, _, state = disturbed.update(chunk, state, 0.05)
        losses.append(loss.nats)
    assert losses == expected
    assert_same(disturbed.tensors(), plain.tensors())


def test_a_chunk_without_targets_moves_nothing(chunks):
    engine, chunk = NumpyEngine(small()), chunks[0]
    before = engine.tensors()
    chunk = replace(chunk, weight=np.zeros_like(chunk.weight))
    loss, norm, _ = engine.update(chunk, engine.zero_state(5), 0.1)
    assert (loss.nats, loss.count, norm) == (0, 0, 0)
    assert loss.mean is None
    assert_same(engine.tensors(), before)


def test_losses_add_up():
    total = Tally(6.0, 4, 8, {"unknown_nats": 2.0, "unknown": 1}) + Tally(3.0, 2, 3, {"right": 4})
    assert total == Tally(9.0, 6, 11, {"unknown_nats": 2.0, "unknown": 1, "right": 4})
    assert total.mean == 1.5
    assert total.mean_known == pytest.approx(7 / 5)
    assert Tally(2.0, 1, 1, {"unknown_nats": 2.0, "unknown": 1}).mean_known is None


# Divergence


def broken(monkeypatch, name, value):
    """Let every backward leave `value` in one element of the gradient of `name`."""
    original = LanguageModel.backward

    def backward(self, params, grads, *rest):
        result = original(self, params, grads, *rest)
        grads[name].reshape(-1)[-1] = value
        return result

    monkeypatch.setattr(LanguageModel, "backward", backward)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["embed.weight", "rnn.bias_hh_l1", "head.bias"])
def test_divergence_names_the_tensor_and_keeps_the_weights(name, value, chunks, monkeypatch):
    engine = NumpyEngine(small(), 2)
    _, _, state = train(engine, chunks[:2])
    arrays, facts = engine.snapshot(state)
    with monkeypatch.context() as patch:
        broken(patch, name, value)
        with pytest.raises(DivergedError, match=f"the gradient of {name} is no longer a finite number: lower --lr"):
            engine.update(chunks[2], state, 0.1)
    again, facts_again = engine.snapshot(state)
    assert_same(again, arrays)
    assert facts_again == facts


def test_weights_that_are_not_finite_diverge(chunks):
    engine = NumpyEngine(small())
    tensors = engine.tensors()
    tensors["head.bias"][2] = np.nan
    engine.load(tensors)
    with pytest.raises(DivergedError, match="is no longer a finite number"):
        engine.update(chunks[0], engine.zero_state(5), 0.1)


@pytest.mark.parametrize("lr", [1e4, 1e10, 1e30])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_that_explodes_ends_in_one_error(lr, optimizer, chunks):
    """Numbers overflow in the forward pass, the backward pass or the norm, and no warning comes before the error."""
    engine = NumpyEngine(small("relu"), 2, TrainConfig(optimizer=optimizer, clip=1e9))
    with pytest.raises(DivergedError, match="is no longer a finite number: lower --lr or --clip"):
        train(engine, chunks * 5, lr=lr)
    assert all(np.isfinite(value).all() for value in engine.tensors().values())


@pytest.mark.parametrize("cell", GATED)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_gates_bound_what_explodes(cell, optimizer, chunks):
    """Their arguments overflow, which warns of nothing either; what comes out of tanh and sigmoid is finite."""
    engine = NumpyEngine(small(cell), 2, TrainConfig(optimizer=optimizer, clip=1e9))
    with contextlib.suppress(DivergedError):
        train(engine, chunks * 5, lr=1e30)
    loss, state = engine.evaluate(chunks[0], engine.zero_state(5))
    assert np.isfinite(loss.nats)
    assert np.isfinite(engine.logits(chunks[1].inputs, state)[0]).all()
    assert all(np.isfinite(value).all() for value in engine.tensors().values())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("call", ["update", "log_probs"])
def test_each_thread_computes_its_share_of_the_columns(call, threads, chunks, monkeypatch):
    """As many threads as were asked for, none with a column more than another has but for one."""
    engine = NumpyEngine(ModelConfig(9, hidden=8, embedding=4), threads, TrainConfig())
    seen = []
    for name in ("backward", "log_probs"):
        plain = getattr(LanguageModel, name)

        def noted(model, *arguments, plain=plain):
            first = next(each for each in arguments if isinstance(each, Batch | np.ndarray))
            ids = first.inputs if isinstance(first, Batch) else first
            seen.append((threading.get_ident(), ids.shape[1]))
            return plain(model, *arguments)

        monkeypatch.setattr(LanguageModel, name, noted)
    ids = np.random.default_rng(0).integers(2, 9, (5, 7), dtype=np.int32)
    batch = Batch(ids, ids, np.zeros((5, 7), bool), np.ones((5, 7), np.float32))
    engine.update(batch, engine.zero_state(7), 0.01) if call == "update" else engine.log_probs(
        batch, engine.zero_state(7)
    )
    assert sorted(columns for _, columns in seen) == {1: [7], 2: [3, 4], 3: [2, 2, 3]}[threads]
    assert (threads == 1) == (len({thread for thread, _ in seen}) == 1)
