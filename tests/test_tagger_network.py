"""The tagger's mathematics: gradients of all, what is counted, and that no sentence depends on its
neighbours."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from charlm.config import NO_TOKEN, ModelConfig, TrainConfig
from charlm.engines import tagger
from charlm.engines.tagger import TaggerEngine
from charlm.errors import UsageError
from charlm.nn import kernel, names
from charlm.nn.layers import drop_tokens
from charlm.nn.panels import Panels
from charlm.nn.params import Params
from charlm.nn.tagger import TaggerNetwork, TaggerShape, initialize, shapes
from charlm.nn.words import WordVectors
from charlm.text.tag_packing import Reading, make_tag_chunk
from charlm.text.tokenizers import EOS, UNK
from tests.tagged import CHARACTERS, TAGS, WORDS, drawn_sentences
from tests.test_gradients import check_along_two, network_gradients
from tests.tiny import CELLS

all_cells = pytest.mark.parametrize("cell", CELLS)
both = pytest.mark.parametrize("bidirectional", [False, True], ids=["onwards", "both"])
chains = pytest.mark.parametrize("crf", [False, True], ids=["softmax", "crf"])
LENGTHS = [3, 1, 4, 0, 2, 1]


def shape_of(kind="words", crf=False, **model):
    """Return the shape of a small tagger by words, by characters, or of words with less than
    everything."""
    sizes = {"hidden": 3, "embedding": 2} | model
    if kind in ("characters", "steps"):
        size = CHARACTERS if kind == "characters" else WORDS
        return TaggerShape(ModelConfig(size, **sizes), TAGS, crf=crf)
    parts = {"char_hidden": 2, "char_embedding": 2, "ngrams": 2}
    if kind == "plain":
        parts |= {"char_hidden": 0, "ngrams": 0}
    if kind == "spelt":
        parts["ngrams"], sizes["embedding"] = 0, 0
    return TaggerShape(ModelConfig(WORDS, **sizes), TAGS, True, CHARACTERS, **parts, crf=crf)


def reading_of(shape):
    if shape.words:
        return Reading("words")
    return Reading("characters", 2) if shape.model.vocab_size == CHARACTERS else Reading("steps")


def chunk_of(shape, lengths=LENGTHS, seed=0, steps=6, known=0.8):
    return make_tag_chunk(drawn_sentences(lengths, seed, known), reading_of(shape), steps)


def drawn_params(shape, dtype=np.float64, seed=0, spread=0.5):
    params = Params(shapes(shape), dtype)
    params.flat[:] = spread * np.random.default_rng(seed).standard_normal(params.flat.size)
    for name in params:
        relu = shape.model.nonlinearity == "relu" and "rnn.bias_ih" in name
        if name.endswith(".bias") or relu:
            params[name][...] += 1  # or most units would be dead, or near relu's kink
    return params


def check_gradients(shape, chunk, token_dropout=0.0):
    """Compare the gradients of all parameters with differences."""
    params, network = drawn_params(shape, seed=4), TaggerNetwork(shape, token_dropout)
    loss, grads = network_gradients(network, params, chunk)
    check_along_two(loss, params, grads)


@all_cells
@both
def test_gradients(cell, bidirectional):
    more = {"head_layers": 1, "head_hidden": 3} if bidirectional else {}
    shape = shape_of("words", bidirectional, bidirectional=bidirectional, **more, **CELLS[cell])
    check_gradients(shape, chunk_of(shape))


@pytest.mark.parametrize("kind", ["words", "plain", "spelt", "characters", "steps"])
@chains
def test_gradients_of_deep_networks_with_dropout(kind, crf):
    model = {"layers": 2, "residual": True, "layer_norm": True, "dropout": 0.2, "hidden": 4}
    shape = shape_of(kind, crf, bidirectional=True, head_layers=1, head_hidden=4, **model)
    check_gradients(shape, chunk_of(shape, [5, 3, 0, 2, 1]), token_dropout=0.1)


@both
@chains
def test_nats_are_those_of_the_probabilities(bidirectional, crf):
    shape = shape_of("words", crf, bidirectional=bidirectional)
    engine = TaggerEngine(shape, 1, TrainConfig(seed=3))
    engine.params.flat[:] = drawn_params(shape).flat
    chunk = chunk_of(shape)
    said = engine.judge(chunk)
    assert said.logp.dtype == np.float64
    np.testing.assert_allclose(np.exp(said.logp).sum(axis=1), 1, rtol=1e-9)
    nats, _ = TaggerNetwork(shape).backward(engine.params, engine.params.twin(), chunk, (), 1.0)
    assert said.nats.sum() == pytest.approx(nats, rel=1e-5)
    assert len(said.nats) == (len(LENGTHS) if crf else len(chunk.tags))
    if not crf:
        known = chunk.tags >= 0
        assert not said.nats[~known].any()
        np.testing.assert_array_equal(said.nats[known], -said.logp[known, chunk.tags[known]])
        np.testing.assert_array_equal(said.tags, said.logp.argmax(axis=1))


@chains
def test_sentences_without_a_known_tag_have_neither_gradient_nor_nats(crf):
    shape = shape_of("words", crf, bidirectional=True)
    params, chunk = drawn_params(shape), chunk_of(shape, known=0)
    grads = params.twin()
    nats, _ = TaggerNetwork(shape).backward(params, grads, chunk, (), 1.0)
    assert nats == pytest.approx(0, abs=1e-12)
    assert np.abs(grads.flat).max() < 1e-12


@both
@chains
@pytest.mark.parametrize("kind", ["words", "characters"])
def test_shares_of_the_columns_add_up(kind, bidirectional, crf):
    shape = shape_of(kind, crf, bidirectional=bidirectional)
    params, chunk, network = drawn_params(shape), chunk_of(shape), TaggerNetwork(shape)
    whole, shares = params.twin(), params.twin()
    nats, _ = network.backward(params, whole, chunk, (), 0.5)
    middle = chunk.width // 2
    parts = [slice(0, middle), slice(middle, chunk.width)]
    found = sum(network.backward(params, shares, chunk.columns(part), (), 0.5)[0] for part in parts)
    assert found == pytest.approx(nats, rel=1e-12)
    np.testing.assert_allclose(shares.flat, whole.flat, rtol=1e-9, atol=1e-12)


def test_a_word_is_the_same_wherever_and_however_often_it_stands():
    """Its vector is that of its own: of a list of words with others, in another order, and twice in
    the chunk."""
    shape = shape_of("words", bidirectional=True)
    params, texts = drawn_params(shape), drawn_sentences([9, 8, 3], seed=2)
    network = WordVectors(shape.model, shape.spelling, shape.ngrams)
    chunk = make_tag_chunk(texts, Reading("words"), 10)
    network.take(chunk.words)
    _, row_of, x = network.forward(params, chunk.inputs)
    for number in range(len(chunk.words.ids)):
        network.take(chunk.words.at(np.array([number])))
        alone = network.forward(params, np.zeros((1, 1), np.int32)).x[0]
        np.testing.assert_allclose(x[number], alone, rtol=1e-12)
    np.testing.assert_array_equal(x[row_of[chunk.inputs == NO_TOKEN]], 0)
    assert (chunk.inputs == NO_TOKEN).any()


# Neighbours


@pytest.mark.skipif(kernel.missing is not None, reason="there are no compiled loops")
@all_cells
@both
@pytest.mark.parametrize(("kind", "crf"), [("words", True), ("characters", False)])
def test_a_sentence_does_not_depend_on_its_neighbours_to_the_bit(
    cell, bidirectional, crf, kind, monkeypatch
):
    monkeypatch.setattr(tagger, "WORTH_SHARING", 0)
    model = {"hidden": 17, "bidirectional": bidirectional, "head_layers": 1, "head_hidden": 21}
    shape = replace(shape_of(kind, crf, **model, **CELLS[cell]), tags=TAGS)
    texts = drawn_sentences([1, 9, 2, 3, 17, 4, 1, 5, 6, 0, 30, 2], seed=1)
    reading, alone = reading_of(shape), TaggerEngine(shape)
    alone.params.flat[:] = drawn_params(shape, np.float32, spread=0.3).flat
    own = [alone.judge(make_tag_chunk([text], reading, 1)) for text in texts]
    for threads, steps, order in ((1, 40, 1), (2, 1, -1), (3, 100, 1)):
        engine = TaggerEngine(shape, threads)
        engine.load(alone.tensors())
        found = engine.judge(make_tag_chunk(texts[::order], reading, steps))
        for name in found._fields:
            wanted = np.concatenate([getattr(each, name) for each in own[::order]])
            np.testing.assert_array_equal(getattr(found, name), wanted, err_msg=name)


@all_cells
@both
@pytest.mark.parametrize("kind", ["words", "characters"])
def test_what_is_predicted_is_what_is_learnt(cell, bidirectional, kind):
    """By panels, in float32, as by parameters in float64."""
    shape = shape_of(kind, hidden=20, bidirectional=bidirectional, **CELLS[cell])
    exact, chunk = drawn_params(shape, spread=0.3), chunk_of(shape)
    rounded = Params(exact.shapes)
    rounded.flat[:] = exact.flat
    spelling = {names.CHARACTERS: shape.spelling} if shape.spelling else {}
    weights = rounded if kernel.missing else Panels(shape.model, rounded, spelling, shape.words)
    network = TaggerNetwork(shape)
    expected = network.scores(exact, chunk)
    np.testing.assert_allclose(network.scores(weights, chunk), expected, rtol=1e-4, atol=1e-5)


@chains
def test_tags_follow_one_another_as_is_allowed(crf):
    """As the chain of all scores would have it, which is not what places say by themselves."""
    shape = shape_of("words", crf, bidirectional=True)
    engine, chunk = TaggerEngine(shape), chunk_of(shape, [9, 3, 0, 7, 8, 5])
    engine.params.flat[:] = drawn_params(shape, spread=1.0).flat
    start, step, end = np.array([1, 0, 1], bool), ~np.eye(3, dtype=bool), np.array([1, 1, 0], bool)
    said = engine.decode(chunk, (start, step, end))
    np.testing.assert_array_equal(said, engine.judge(chunk, (start, step, end)).tags)
    broken = 0
    for a, b in itertools.pairwise(chunk.starts):
        tags, free = said[a:b], engine.decode(chunk)[a:b]
        if b > a:
            assert start[tags[0]]
            assert end[tags[-1]]
            assert step[tags[:-1], tags[1:]].all()
            broken += not (start[free[0]] and end[free[-1]] and step[free[:-1], free[1:]].all())
    assert broken


@chains
@pytest.mark.parametrize("kind", ["words", "characters", "steps"])
def test_sentences_without_a_token_are_read_and_learnt_from_in_silence(kind, crf):
    shape = shape_of(kind, crf, bidirectional=True)
    engine, chunk = TaggerEngine(shape), chunk_of(shape, [0, 0], steps=1)
    said = engine.judge(chunk)
    assert said.logp.shape == (0, TAGS)
    assert said.nats.tolist() == [0.0, 0.0] * crf
    before = engine.params.flat.copy()
    tally, norm, _ = engine.update(chunk, (), 0.1)
    assert (tally.nats, tally.count, norm) == (0, 0, 0)
    np.testing.assert_array_equal(engine.params.flat, before)


def forbidding_nothing():
    return np.ones(TAGS, bool), np.ones((TAGS, TAGS), bool), np.ones(TAGS, bool)


@chains
def test_no_weights_of_a_file_raise_or_warn(crf):
    shape = shape_of("words", crf, bidirectional=True)
    engine, chunk = TaggerEngine(shape), chunk_of(shape)
    rng = np.random.default_rng(0)
    for size in (1e20, 1e30, 3e38):
        for weights in (size, size * rng.uniform(-1, 1, engine.params.flat.size)):
            engine.load({n: np.full_like(v, 0) for n, v in engine.tensors().items()})
            engine.params.flat[:] = weights
            tags = engine.judge(chunk, forbidding_nothing()).tags
            assert ((tags >= 0) & (tags < TAGS)).all()


# Training


def trained(threads, crf=False, steps=12, dropout=0.2):
    shape = shape_of("words", crf, bidirectional=True, dropout=dropout)
    engine = TaggerEngine(shape, threads, TrainConfig(seed=5, threads=threads), 0.1)
    tallies = [engine.update(chunk_of(shape, seed=k % 3), (), 0.02)[0] for k in range(steps)]
    return engine, tallies


@chains
@pytest.mark.parametrize("threads", [1, 2])
def test_training_repeats_to_the_bit_and_learns(threads, crf):
    (one, tallies), (other, _) = trained(threads, crf), trained(threads, crf)
    np.testing.assert_array_equal(one.params.flat, other.params.flat)
    assert tallies[-1].nats < tallies[2].nats
    assert tallies[0].count == chunk_of(one.shape).count
    assert tallies[0].read == sum(LENGTHS)


def test_threads_share_a_step_out_and_take_the_same():
    one, two = trained(1, dropout=0.0, steps=1)[0], trained(2, dropout=0.0, steps=1)[0]
    first = TaggerEngine(one.shape, 1, TrainConfig(seed=5)).params.flat
    moved = one.params.flat != first
    assert moved.any()
    close = np.isclose(one.params.flat, two.params.flat, atol=1e-4)
    assert close.mean() > 0.99  # Adam's first step is a sign, which a rounded zero may turn


@pytest.mark.parametrize("kind", ["words", "characters"])
def test_token_dropout_reads_tokens_as_unknown_but_never_eos(kind):
    shape = shape_of(kind, bidirectional=True)
    network, chunk = TaggerNetwork(shape, 0.3), chunk_of(shape)
    part = network._vectors or network
    ids = chunk.words.ids if shape.words else chunk.inputs

    def hear(rng):
        return drop_tokens(ids, part._token_dropout, part._unknown, rng)

    seen = [hear(np.random.default_rng(seed)) for seed in range(300)]
    np.testing.assert_array_equal(hear(None), ids)
    tokens = ids > UNK
    for heard in seen:
        np.testing.assert_array_equal(heard[~tokens], ids[~tokens])
        assert ((heard == ids) | (heard == UNK))[tokens].all()
    share = np.mean([(heard[tokens] == UNK).mean() for heard in seen])
    assert share == pytest.approx(0.3, abs=0.04)
    assert (ids == EOS).any()


def test_token_dropout_may_be_of_each_word():
    shape = shape_of("words")
    share = np.zeros(WORDS, np.float32)
    share[3] = 1
    ids = np.arange(WORDS, dtype=np.int32)
    vectors = TaggerNetwork(shape, share)._vectors
    rng = np.random.default_rng(0)
    heard = drop_tokens(ids, vectors._token_dropout, vectors._unknown, rng)
    assert heard.tolist() == [0, 1, 2, UNK, 4, 5, 6]


# Shapes and first weights


def test_shapes_in_their_order():
    shape = shape_of("words", True, bidirectional=True)
    found = shapes(shape)
    prefixes = [name.split(".")[0] for name in found]
    assert [key for key, _ in itertools.groupby(prefixes)] == [
        "embed", "characters", "ngrams", "rnn", "head", "crf",
    ]  # fmt: skip
    assert found["rnn.weight_ih_l0"] == (9, 2 + 4 + 32)
    assert found["characters.rnn.weight_ih_l0_reverse"] == (6, 2)
    assert found["crf.weight"] == (3, 3)
    assert "crf.weight" not in shapes(replace(shape, crf=False))
    assert "embed.weight" not in shapes(shape_of("spelt"))
    assert shapes(shape_of("characters"))["rnn.weight_ih_l0"] == (9, 2)


def test_first_weights():
    shape = TaggerShape(
        ModelConfig(50, cell="lstm", hidden=30, embedding=20), 9, True, 40, 10, 8, 2, True
    )
    params = initialize(shape, np.random.default_rng(0))
    assert params["embed.weight"].std() == pytest.approx(1, rel=0.1)
    assert params["characters.embed.weight"].std() == pytest.approx(1, rel=0.1)
    assert np.abs(params["characters.rnn.weight_hh_l0"]).max() == pytest.approx(10**-0.5, rel=1e-2)
    np.testing.assert_array_equal(params["characters.rnn.bias_ih_l0"].reshape(4, 10)[1], 1)
    assert not params["crf.weight"].any()
    engine = TaggerEngine(shape, embedding_scale=0.5)
    assert engine.params["embed.weight"].std() == pytest.approx(0.5, rel=0.1)
    assert not engine.params["embed.weight"][UNK].any()
    assert not engine.params["characters.embed.weight"][UNK].any()


def test_parameters_under_a_prefix_are_the_same_memory():
    params = Params(shapes(shape_of("words")))
    params.under(names.CHARACTERS)["embed.weight"][...] = 3
    assert (params["characters.embed.weight"] == 3).all()
    assert np.count_nonzero(params.flat) == CHARACTERS * 2
    assert params.under(names.CHARACTERS) is params.under(names.CHARACTERS)
    assert list(params.under("nothing.")) == []
    with pytest.raises(ValueError, match="side by side"):
        Params({"a.x": (2,), "b": (1,), "a.y": (2,)}).under("a.")


def test_refused():
    model = ModelConfig(9, embedding=0)
    with pytest.raises(UsageError, match="all three of them are 0"):
        TaggerShape(model, 3, words=True)
    with pytest.raises(UsageError, match="for taggers that read words"):
        TaggerShape(model, 3, ngrams=3)
    shape = shape_of("words")
    with pytest.raises(ValueError, match="no words"):
        TaggerNetwork(shape).scores(drawn_params(shape), chunk_of(shape_of("steps")))
    with pytest.raises(RuntimeError, match="without a list"):
        WordVectors(shape.model, None).forward(drawn_params(shape), np.zeros((1, 1), np.int32))
