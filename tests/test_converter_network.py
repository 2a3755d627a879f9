"""The converter's mathematics: gradients of all, probabilities that add up, and that no pair
depends on others."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from charlm.config import NO_TOKEN, ModelConfig, TrainConfig
from charlm.engines import converter
from charlm.engines.converter import ConverterEngine
from charlm.errors import UsageError
from charlm.nn import kernel, names
from charlm.nn.attention import Attention, Meeting
from charlm.nn.converter import ConverterNetwork, ConverterShape, initialize, shapes
from charlm.nn.optim import block_shapes
from charlm.nn.panels import Panels
from charlm.nn.params import Params
from charlm.sampling import SamplingConfig, beam_search, beam_searches, generate
from charlm.scoring import token_log_probs
from charlm.text.batches import Context, evaluation_columns
from charlm.text.pair_packing import PairList, make_pair_chunk, pair_chunks
from charlm.text.tokenizers import EOS, UNK
from tests.pairs import SIZES, SOURCES, TARGETS, drawn_pairs
from tests.test_gradients import check_along_two, network_gradients
from tests.tiny import CELLS, COMPANY

all_cells = pytest.mark.parametrize("cell", CELLS)
attending = pytest.mark.parametrize("attention", [False, True], ids=["state", "attention"])
both = pytest.mark.parametrize("bidirectional", [False, True], ids=["onwards", "both"])
no_kernel = pytest.mark.skipif(kernel.missing is not None, reason="there are no compiled loops")


def shape_of(attention=True, bidirectional=True, decoder=None, **model):
    """Return the shape of a small converter whose encoder is narrower than its decoder."""
    sizes = {"hidden": 3, "embedding": 2} | model
    encoder = ModelConfig(SOURCES, bidirectional=bidirectional, **sizes)
    more = {"hidden": sizes["hidden"] + 1} | (decoder or {})
    return ConverterShape(encoder, ModelConfig(TARGETS, **(sizes | more)), attention)


def drawn_params(shape, dtype=np.float64, seed=0, spread=0.5):
    params = Params(shapes(shape), dtype)
    params.flat[:] = spread * np.random.default_rng(seed).standard_normal(params.flat.size)
    relu = shape.decoder.nonlinearity == "relu"
    for name in params:
        if (name.startswith("dense") and name.endswith(".bias")) or (
            relu and "rnn.bias_ih" in name
        ):
            params[name][...] += 1  # or most units would be dead, or near relu's kink
    return params


def drawn_engine(shape, threads=1, spread=0.5, seed=0):
    engine = ConverterEngine(shape, threads)
    engine.params.flat[:] = drawn_params(shape, spread=spread, seed=seed).flat
    return engine


def check_gradients(shape, pairs):
    """Compare the gradients of all parameters with differences."""
    params, network = drawn_params(shape, seed=4), ConverterNetwork(shape)
    loss, grads = network_gradients(network, params, make_pair_chunk(pairs, 7))
    check_along_two(loss, params, grads)


@all_cells
@attending
def test_gradients(cell, attention):
    check_gradients(shape_of(attention, **CELLS[cell]), drawn_pairs())


@pytest.mark.parametrize(
    ("attention", "bidirectional", "top"),
    [
        (True, True, {"head_layers": 1, "head_hidden": 3}),
        (False, False, {"head_layers": 1, "head_hidden": 3}),
        (True, False, {"tie": True}),
        (False, True, {"tie": True}),
    ],
)
def test_gradients_of_deep_networks_with_dropout(attention, bidirectional, top):
    model = {"layers": 2, "residual": True, "layer_norm": True, "dropout": 0.2, "hidden": 4}
    shape = shape_of(attention, bidirectional, {"hidden": 5, "embedding": 5} | top, **model)
    check_gradients(shape, drawn_pairs(seed=1))


def test_gradients_of_parts_that_differ():
    """In cell, depth and what tokens are read as."""
    shape = shape_of(hidden=3, decoder={"cell": "lstm", "layers": 2, "embedding": 0})
    check_gradients(
        replace(shape, encoder=replace(shape.encoder, layers=3, cell="rnn")), drawn_pairs()
    )


def test_what_cannot_be_is_refused():
    for change, match in [
        ({"decoder": ModelConfig(TARGETS, bidirectional=True)}, "decoder cannot be bidirectional"),
        ({"decoder": ModelConfig(TARGETS, layers=0)}, "layers must be 1 or more"),
        ({"encoder": ModelConfig(SOURCES, head_layers=1)}, "an encoder has no softmax"),
    ]:
        with pytest.raises(UsageError, match=match):
            replace(shape_of(), **change)


@attending
def test_shares_of_the_pairs_add_up(attention):
    shape = shape_of(attention)
    params, network, chunk = (
        drawn_params(shape),
        ConverterNetwork(shape),
        make_pair_chunk(drawn_pairs(), 7),
    )
    whole, parts = params.twin(), params.twin()
    nats, _ = network.backward(params, whole, chunk, (), 0.5)
    some = [chunk.columns(part) for part in (slice(0, 3), slice(3, 4), slice(4, chunk.width))]
    found = sum(network.backward(params, parts, part, (), 0.5)[0] for part in some)
    assert found == pytest.approx(nats, rel=1e-12)
    np.testing.assert_allclose(parts.flat, whole.flat, rtol=1e-9, atol=1e-12)
    assert -network.log_probs(params, chunk).sum() == pytest.approx(nats, rel=1e-12)


@attending
@pytest.mark.parametrize("source", [[], [2, 3, 4, 2]], ids=["empty", "four"])
def test_all_targets_together_are_certain(attention, source):
    """Those of at most three tokens, and the beginnings of longer ones."""
    engine, longest = drawn_engine(shape_of(attention), spread=1.0), 3
    texts = [
        np.array(text, np.int32)
        for n in range(longest + 2)
        for text in itertools.product(range(1, TARGETS), repeat=n)
    ]
    chunk = make_pair_chunk([(np.array(source, np.int32), text) for text in texts])
    logp, end = engine.log_probs(chunk), np.cumsum(chunk.target_length)
    whole = np.add.reduceat(logp, end - chunk.target_length)
    short = np.array([len(text) <= longest for text in texts])
    total = np.exp(whole[short]).sum() + np.exp((whole - logp[end - 1])[~short]).sum()
    assert total == pytest.approx(1, abs=1e-5)
    assert 0.01 < np.exp(whole[short]).sum() < 0.99


def test_attention_is_what_its_equations_say():
    """Pair by pair, in plain arrays; the meeting puts them into an order of its own."""
    shape, chunk = shape_of(hidden=4), make_pair_chunk(drawn_pairs([*SIZES, (3, 4)]), 7)
    params, rng = drawn_params(shape), np.random.default_rng(1)
    source, target = chunk.source, chunk.target
    memory = rng.standard_normal((*source.inputs.shape, 8))
    y = rng.standard_normal((*target.inputs.shape, 5))
    meeting = Meeting(target, y.shape[1], source, memory.shape[1])
    rows = y.reshape(-1, 5)[meeting.target.row], memory.reshape(-1, 8)[meeting.source.row]
    out, shares = Attention().forward(params, *rows, meeting)
    found = np.zeros_like(y)
    found.reshape(-1, 5)[meeting.target.row] = out
    names = ("key.weight", "value.weight", "combine.weight", "combine.bias")
    key, value, combine, bias = (params[f"attention.{name}"] for name in names)
    for i, share in enumerate(meeting.each_pair(shares)):
        end = source.first[i] + source.length[i]
        m = memory[source.first[i] : end, source.column[i]]
        place = slice(target.first[i], target.first[i] + target.length[i]), target.column[i]
        wanted = np.exp(y[place] @ (m @ key.T).T)
        wanted /= wanted.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(share, wanted, rtol=1e-10)
        expected = np.tanh(y[place] @ combine.T + bias + wanted @ m @ value.T)
        np.testing.assert_allclose(found[place], expected, rtol=1e-10)


# Neighbours


@no_kernel
@all_cells
@attending
def test_a_pair_does_not_depend_on_its_neighbours_to_the_bit(cell, attention, monkeypatch):
    monkeypatch.setattr(converter, "WORTH_SHARING", 0)
    monkeypatch.setattr(converter, "_AT_ONCE", 5)
    shape = shape_of(attention, **({"hidden": 17, "layers": 2} | CELLS[cell]))
    pairs = drawn_pairs([*SIZES, (20, 9), (3, 17), (20, 3), (3, 2), (7, 7), (1, 4)], seed=1)
    alone = drawn_engine(shape, spread=0.3)
    own = [alone.log_probs(make_pair_chunk([pair], 1)) for pair in pairs]
    looks = [alone.shares(make_pair_chunk([pair], 1))[0] for pair in pairs]
    limits = [4 + k % 3 for k in range(len(pairs))]
    written = [
        alone.greedy([pair[0]], [limit])[0] for pair, limit in zip(pairs, limits, strict=True)
    ]
    for threads, steps, order in ((1, 40, 1), (2, 1, -1), (3, 100, 1)):
        engine = ConverterEngine(shape, threads)
        engine.load(alone.tensors())
        chunk = make_pair_chunk(pairs[::order], steps)
        np.testing.assert_array_equal(engine.log_probs(chunk), np.concatenate(own[::order]))
        for share, wanted in zip(engine.shares(chunk), looks[::order], strict=True):
            np.testing.assert_array_equal(share, wanted)
        found = engine.greedy([source for source, _ in pairs][::order], limits[::order])
        for one, wanted in zip(found, written[::order], strict=True):
            np.testing.assert_array_equal(one.ids, wanted.ids)
            assert one[1:] == wanted[1:]


@all_cells
@attending
@both
def test_what_is_predicted_is_what_is_learnt(cell, attention, bidirectional):
    """By panels, in float32, as by parameters in float64."""
    shape = shape_of(attention, bidirectional, hidden=20, **CELLS[cell])
    exact, chunk = drawn_params(shape, spread=0.3), make_pair_chunk(drawn_pairs(), 7)
    rounded = Params(exact.shapes)
    rounded.flat[:] = exact.flat
    parts = {names.ENCODER: shape.encoder}
    weights = rounded if kernel.missing else Panels(shape.decoder, rounded, parts)
    network = ConverterNetwork(shape)
    expected = network.log_probs(exact, chunk)
    np.testing.assert_allclose(network.log_probs(weights, chunk), expected, rtol=1e-4, atol=1e-5)


def test_chunks_of_like_length_give_the_figures_of_each_pair():
    engine, pairs = drawn_engine(shape_of()), drawn_pairs(SIZES * 3, seed=2)
    seen = []
    for numbers, chunk in pair_chunks(PairList(pairs)):
        logp = np.split(engine.log_probs(chunk), np.cumsum(chunk.target_length)[:-1])
        for number, figures in zip(numbers.tolist(), logp, strict=True):
            alone = engine.log_probs(make_pair_chunk([pairs[number]]))
            np.testing.assert_allclose(figures, alone, rtol=COMPANY, atol=COMPANY)
            seen.append(number)
    assert sorted(seen) == list(range(len(pairs)))


# A source that was read


@attending
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_bound_source_is_a_language_model_of_its_targets(cell, attention):
    """Step by step, in columns with other texts, and all at once it says the same."""
    engine = drawn_engine(shape_of(attention, layers=2, cell=cell, hidden=9))
    source, targets = drawn_pairs([(4, 0)])[0][0], [target for _, target in drawn_pairs(seed=3)]
    pairs = [(source, target) for target in targets]
    whole = np.split(
        engine.log_probs(make_pair_chunk(pairs)), np.cumsum([len(t) + 1 for t in targets])[:-1]
    )
    bound = engine.bound(source)
    for target, expected in zip(targets, whole, strict=True):
        state, found = bound.zero_state(2), []
        for before, token in itertools.pairwise([NO_TOKEN, *target.tolist(), EOS]):
            logits, state = bound.logits(np.full((1, 2), before, np.int32), state)
            logp = logits - np.log(np.exp(logits.astype(float)).sum(axis=1, keepdims=True))
            found.append(logp[1, token])
            state = bound.select(state, [1, 0])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    stored = Stored(np.concatenate([[*target, EOS] for target in targets]))
    columns = evaluation_columns(stored, Context(), running=False, count_eos=True, most=3)
    for top in (0, 2):
        said = token_log_probs(bound, columns, top)
        close = max(COMPANY, 1e-6 * (top > 0))  # ranks come of a softmax in float64
        np.testing.assert_allclose(said.target, np.concatenate(whole), rtol=close, atol=close)
    assert (said.top[:, 0] >= said.target - 1e-9).all()
    assert ((said.rank == 1) == (said.ids[:, 0] == stored.ids)).all()


class Stored:
    def __init__(self, ids):
        self.ids = ids.astype(np.int32)

    def __len__(self):
        return len(self.ids)

    def read(self, start, count):
        return self.ids[start : start + count]


@attending
def test_what_is_drawn_has_the_probability_that_is_said(attention):
    engine = drawn_engine(shape_of(attention, hidden=9), spread=0.4, seed=7)
    source, drawn, total = np.array([5, 2, 2], np.int32), [[] for _ in range(9)], np.zeros(9)
    config = SamplingConfig(length=30, unk="keep")
    for step in generate(
        engine.bound(source), Context(), np.zeros(0, np.int32), config, 4, tuple(range(9))
    ):
        for text, token, logprob in zip(*step, strict=True):
            drawn[text].append(token)
            total[text] += logprob
    assert len({len(ids) for ids in drawn}) > 2
    chunk = make_pair_chunk([(source, np.array(ids[:-1], np.int32)) for ids in drawn])
    logp = engine.log_probs(chunk)
    said = np.add.reduceat(logp, np.cumsum(chunk.target_length) - chunk.target_length)
    whole = np.array([ids[-1] == EOS for ids in drawn])
    assert whole.sum() > 5
    np.testing.assert_allclose(total[whole], said[whole], rtol=1e-5)


@attending
def test_a_beam_wide_enough_finds_the_most_probable_target(attention):
    engine, longest = drawn_engine(shape_of(attention), spread=1.5, seed=5), 3
    source = np.array([3, 2, 5], np.int32)
    texts = [
        np.array(text, np.int32)
        for n in range(longest)
        for text in itertools.product(range(2, TARGETS), repeat=n)
    ]
    chunk = make_pair_chunk([(source, text) for text in texts])
    starts = np.cumsum(chunk.target_length) - chunk.target_length
    totals = np.add.reduceat(engine.log_probs(chunk), starts)
    found = beam_search(
        engine.bound(source), Context(), np.zeros(0, np.int32), SamplingConfig(length=longest), 60,
        lambda ids: ids[-1] == EOS,
    )  # fmt: skip
    ended = [(ids[:-1], logp) for ids, logp in found if ids[-1] == EOS]
    assert ended[0][0] == texts[totals.argmax()].tolist()
    np.testing.assert_allclose([logp for _, logp in ended], np.sort(totals)[::-1], rtol=1e-4)


@attending
def test_greedy_takes_the_best_token_until_the_end_or_the_limit(attention):
    engine = drawn_engine(shape_of(attention, hidden=8), spread=1.0, seed=2)
    sources = [source for source, _ in drawn_pairs([(n % 7, 0) for n in range(40)], seed=6)]
    limits = [3 + n % 4 for n in range(40)]
    written = engine.greedy(sources, limits)
    for source, limit, found in zip(sources, limits, written, strict=True):
        bound, ids, total = engine.bound(source), [], 0.0
        state, token = bound.zero_state(1), NO_TOKEN
        for _ in range(limit + 1):
            logits, state = bound.logits(np.array([[token]], np.int32), state)
            logp = logits[0] - np.log(np.exp(logits[0].astype(float)).sum())
            token = max((t for t in range(TARGETS) if t != UNK), key=lambda t: logp[t])
            if token == EOS or len(ids) < limit:
                total += logp[token]
            if token == EOS or len(ids) == limit:
                break
            ids.append(token)
        assert found.ids.tolist() == ids
        assert found.ended == (token == EOS)
        assert found.logprob == pytest.approx(total, rel=1e-5)
    assert {len(found.ids) for found in written if not found.ended} >= {3, 5}
    assert sum(found.ended for found in written) > 3
    assert engine.greedy([], []) == []


def test_sources_read_together_are_as_each_alone():
    engine = drawn_engine(shape_of(hidden=9))
    sources = [source for source, _ in drawn_pairs()]
    bound = converter.BoundConverter(engine, engine.remembered(sources))
    numbers = np.array([4, 1, 0, 6, 5, 0, 3])
    state = bound.states(numbers)
    alone = [engine.bound(sources[number]) for number in numbers]
    states = [each.zero_state(1) for each in alone]
    for tokens in ([NO_TOKEN, 2], [4], [3]):
        given = np.tile(np.array(tokens, np.int32)[:, None], 7)
        logits, state = bound.logits(given, state)
        for b, each in enumerate(alone):
            own, states[b] = each.logits(given[:, :1], states[b])
            np.testing.assert_allclose(logits[b], own[0], rtol=COMPANY, atol=COMPANY)


@attending
@pytest.mark.parametrize("width", [1, 4])
def test_beams_of_several_sources_are_those_of_each(attention, width):
    engine = drawn_engine(shape_of(attention, hidden=9), spread=1.0, seed=3)
    sources = [source for source, _ in drawn_pairs([(n % 5, 0) for n in range(12)], seed=4)]
    lengths = [1 + n % 6 for n in range(12)]
    bound = converter.BoundConverter(engine, engine.remembered(sources))
    together = beam_searches(bound, Context(), bound.states(np.arange(12)), lengths, width)
    for source, length, found in zip(sources, lengths, together, strict=True):
        alone = beam_search(
            engine.bound(source), Context(), np.zeros(0, np.int32), SamplingConfig(length=length),
            width, lambda ids: ids[-1] == EOS,
        )  # fmt: skip
        assert [ids for ids, _ in found] == [ids for ids, _ in alone]
        logp = [total for _, total in found]
        np.testing.assert_allclose(logp, [total for _, total in alone], rtol=COMPANY, atol=COMPANY)
    if width == 1:
        limits = [length - 1 for length in lengths]
        for (found, *_), greedy in zip(together, engine.greedy(sources, limits), strict=True):
            assert found[0][: len(greedy.ids)] == greedy.ids.tolist()


# Training


def trained(threads, attention=True, steps=12, dropout=0.2):
    shape = shape_of(attention, hidden=6, dropout=dropout)
    engine = ConverterEngine(shape, threads, TrainConfig(seed=5, threads=threads))
    chunks = [make_pair_chunk(drawn_pairs(seed=k), 9) for k in range(3)]
    tallies = [engine.update(chunks[k % 3], (), 0.02)[0] for k in range(steps)]
    return engine, tallies


@attending
@pytest.mark.parametrize("threads", [1, 2])
def test_training_repeats_to_the_bit_and_learns(threads, attention):
    (one, tallies), (other, _) = trained(threads, attention), trained(threads, attention)
    np.testing.assert_array_equal(one.params.flat, other.params.flat)
    assert tallies[-1].nats < tallies[2].nats
    assert tallies[0].count == sum(m + 1 for _, m in SIZES)
    assert tallies[0].read == sum(n + m + 2 for n, m in SIZES)


def test_threads_share_a_step_out_and_take_the_same():
    one, two = trained(1, dropout=0.0, steps=1)[0], trained(2, dropout=0.0, steps=1)[0]
    first = ConverterEngine(one.shape, 1, TrainConfig(seed=5)).params.flat
    moved = one.params.flat != first
    assert moved.any()
    close = np.isclose(one.params.flat, two.params.flat, atol=1e-4)
    assert close.mean() > 0.99  # Adam's first step is a sign, which a rounded zero may turn


def test_muon_moves_the_matrices_of_both_networks():
    found = set(block_shapes(shapes(shape_of(layers=2, cell="lstm-peephole"))))
    parts = [f"rnn.weight_{kind}_l{k}" for kind in ("ih", "hh") for k in (0, 1)]
    back = [f"encoder.{part}_reverse" for part in parts]
    assert found == {*parts, *back, *(f"encoder.{part}" for part in parts)}


def test_first_weights_are_those_of_two_networks():
    """Each part's as if drawn for itself; unknown symbols are zero vectors on both sides."""
    shape = shape_of(hidden=30, cell="lstm", layer_norm=True)
    params = initialize(shape, np.random.default_rng(0))
    for prefix, hidden in (("encoder.", 30), ("", 31)):
        own = np.abs(params[f"{prefix}rnn.weight_ih_l0"])
        assert 0.9 * hidden**-0.5 < own.max() <= hidden**-0.5
        assert (params[f"{prefix}rnn.bias_ih_l0"][hidden : 2 * hidden] == 1).all()
        assert (params[f"{prefix}rnn.gain_hh_l0"] == 1).all()
    assert 0.9 * 60**-0.5 < np.abs(params["source.weight"]).max() <= 60**-0.5
    engine = ConverterEngine(shape)
    for name in ("embed.weight", "encoder.embed.weight"):
        assert not engine.params[name][UNK].any()
        assert engine.params[name][2:].all()
