"""What training draws: dropout's masks, the first embeddings; and that new weights are the ones computed with."""

import numpy as np
import pytest

from charlm.cells import CELLS
from charlm.config import ModelConfig, TrainConfig
from charlm.engines.dynamic import DynamicEngine
from charlm.engines.numpy import NumpyEngine
from charlm.nn import kernel
from charlm.nn.layers import Dropout
from charlm.text.batches import Batch
from charlm.text.tokenizers import UNK

SHAPE = ModelConfig(9, layers=3, hidden=24, embedding=6)


def alike(columns, steps=6):
    """Return a batch whose columns are all the same."""
    ids = np.repeat(np.random.default_rng(2).integers(1, 9, (steps, 1), dtype=np.int32), columns, axis=1)
    return Batch(ids, ids, np.zeros(ids.shape, np.bool_), np.ones(ids.shape, np.float32))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_no_two_columns_share_a_mask(threads):
    """Neither within a thread nor across threads: after a step with dropout the columns' states differ."""
    for dropout, differ in ((0.5, True), (0.0, False)):
        engine = NumpyEngine(ModelConfig(**SHAPE.to_dict() | {"dropout": dropout}), threads)
        _, _, state = engine.update(alike(4), engine.zero_state(4), 0.0)
        top = state[0][-1]  # [B, H]
        for one in range(4):
            for other in range(one):
                assert np.abs(top[one] - top[other]).max() > 1e-3 if differ else np.allclose(top[one], top[other])


@pytest.mark.parametrize("threads", [1, 2])
def test_no_two_steps_of_training_share_their_masks(threads):
    engine = NumpyEngine(ModelConfig(**SHAPE.to_dict() | {"dropout": 0.5}), threads)
    losses = [engine.update(alike(4), engine.zero_state(4), 0.0)[0].nats for _ in range(3)]
    assert len(set(losses)) == 3


def test_a_mask_lasts_a_chunk_and_is_another_in_the_next():
    """All steps of a chunk drop the same values (Gal & Ghahramani 2016), each column its own; so does the gradient."""
    layer, rng, kept = Dropout(0.4), np.random.default_rng(7), []
    for _ in range(2):
        y = layer.forward(np.ones((5, 3, 200), np.float32), rng)  # [T, B, H]
        assert (y == y[0]).all()
        assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.6)}
        assert (y == 0).mean() == pytest.approx(0.4, abs=0.1)
        assert (y[0, 0] != y[0, 1]).any()
        kept.append(y[0].copy())
        np.testing.assert_array_equal(layer.backward(np.ones_like(y)), y)
    assert (kept[0] != kept[1]).any()


@pytest.mark.parametrize("cell", CELLS)
def test_a_chunk_of_training_drops_alike_at_all_its_steps(cell):
    """Through the whole engine: what the last layer's dropout lets pass to the softmax is the same at each step."""
    config = ModelConfig(**SHAPE.to_dict() | {"cell": cell, "dropout": 0.5})
    engine, seen = NumpyEngine(config), []
    original = Dropout.forward

    def spied(self, x, rng):
        y = original(self, x, rng)
        if x.ndim == 3:
            seen.append((y == 0) & (x != 0))
        return y

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dropout, "forward", spied)
        engine.update(alike(4), engine.zero_state(4), 0.1)
    assert len(seen) == config.layers
    for dropped in seen:
        assert (dropped == dropped[0]).all()
        assert 0 < dropped.mean() < 1


@pytest.mark.parametrize("shape", [{}, {"embedding": 24, "tie": True}], ids=["apart", "tied"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_unknown_token_begins_with_nothing_to_tell(shape, seed):
    embedding = NumpyEngine(ModelConfig(**SHAPE.to_dict() | shape), 1, TrainConfig(seed=seed)).tensors()["embed.weight"]
    assert (embedding[UNK] == 0).all()
    assert (np.abs(np.delete(embedding, UNK, axis=0)).max(axis=1) > 0).all()


def figures(engine):
    """Return what an engine says in each of the ways that weights are laid out for."""
    batch, state = alike(3), engine.zero_state(3)
    logp, after = engine.log_probs(batch, state)
    return [logp.target, engine.log_probs(batch, state, 2)[0].top, engine.logits(batch.inputs, state)[0],
            engine.read(batch, state)[1], *after]  # fmt: skip


def loaded(tensors):
    engine = NumpyEngine(SHAPE, 1, TrainConfig(seed=9))
    engine.load(tensors)
    return engine


def assert_says_what_its_weights_say(engine):
    for found, expected in zip(figures(engine), figures(loaded(engine.tensors())), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("loops", [kernel.target, "numpy"])
def test_new_weights_are_computed_with_at_once(loops, monkeypatch):
    """After loading, training and restoring, each with figures asked for before, whose layout must not be kept."""
    if loops == "numpy":
        monkeypatch.setattr(kernel, "_library", None)
    engine, other = NumpyEngine(SHAPE), NumpyEngine(SHAPE, 1, TrainConfig(seed=5))
    first = figures(engine)
    snapshot = engine.snapshot(engine.zero_state(3))

    engine.load(other.tensors())
    for found, expected, old in zip(figures(engine), figures(other), first, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert np.abs(found - old).max() > 1e-3
    engine.update(alike(3), engine.zero_state(3), 0.1)
    assert np.abs(engine.tensors()["head.weight"] - other.tensors()["head.weight"]).max() > 1e-3
    assert_says_what_its_weights_say(engine)
    engine.restore(snapshot)
    for found, expected in zip(figures(engine), first, strict=True):
        np.testing.assert_array_equal(found, expected)
    DynamicEngine(engine, 0.1).read(alike(3), engine.zero_state(3))
    assert_says_what_its_weights_say(engine)
