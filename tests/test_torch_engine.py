"""The torch engine beside the NumPy engine: the same steps, figures and files, and runs that change between them."""

import json

import numpy as np
import pytest

from charlm import model
from charlm.config import NO_TOKEN, ModelConfig, TrainConfig
from charlm.engines.numpy import NumpyEngine
from charlm.engines.pieces import cut
from charlm.errors import DataError, DivergedError, UsageError
from charlm.text.batches import Batch
from tests.test_commands import assert_refused, charlm
from tests.tiny import CELLS, IN_TORCH, SHAPES

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from charlm.engines.torch import TorchEngine  # noqa: E402

torch.set_num_threads(1)

TOKENS = 9
cells = pytest.mark.parametrize("cell", IN_TORCH)


def config_of(cell="gru", shape="embedding", **more):
    return ModelConfig(TOKENS, **{"layers": 2, "hidden": 7} | CELLS[cell] | SHAPES[shape] | more)


def pair(config, **train):
    """Return both engines with the weights that the same seed gives."""
    return NumpyEngine(config, 1, TrainConfig(**train)), TorchEngine(config, TrainConfig(engine="torch", **train))


def steps(engine, chunks, state, lr=0.01):
    """Train on chunks; return (nats per token, norm of the gradient) of each, and the state after."""
    figures = []
    for chunk in chunks:
        loss, norm, state = engine.update(chunk, state, lr)
        figures.append((loss.mean, norm))
    return np.array(figures), state


def rounding(config):
    """Return how much more the engines may differ in float32: a small deviation, divided by, magnifies rounding."""
    return 20 if config.layer_norm else 1


def stream(config, chunk_of, count, steps=6, columns=4):
    """Return chunks without resets but for the first row of the first, fed EOS there, as streams have it."""
    chunks = []
    for k in range(count):
        chunk = chunk_of(config, steps, columns, seed=k)
        reset = np.zeros_like(chunk.reset)
        reset[0] = k == 0
        chunks.append(Batch(np.where(chunk.inputs == NO_TOKEN, 0, chunk.inputs), chunk.targets, reset, chunk.weight))
    return chunks


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_pieces_are_the_columns_cut_at_resets(density):
    """Checked against a walk through every column, step by step."""
    rng = np.random.default_rng(3)
    reset = rng.random((9, 5)) < density
    pieces = cut(reset)
    places = np.arange(45).reshape(9, 5)
    rows = pieces.in_order(places)
    assert sorted(rows.tolist()) == list(range(45))
    np.testing.assert_array_equal(pieces.in_place(rows, (9, 5)), places)
    expected = {}  # of the first place of each piece: all its places
    for column in range(5):
        for step in range(9):
            if step == 0 or reset[step, column]:
                first = (step, column)
                expected[first] = []
            expected[first].append(places[step, column])
    begins = np.cumsum([0, *pieces.sizes])
    found = [[rows[begin + n] for begin, size in zip(begins, pieces.sizes, strict=False) if n < size]
             for n in range(pieces.sizes[0])]  # fmt: skip
    assert sorted(found) == sorted(expected.values())
    assert [len(piece) for piece in found] == sorted(map(len, found), reverse=True)
    for n, piece in enumerate(found):
        assert pieces.columns[n] == piece[0] % 5
        assert pieces.carried[n] == (piece[0] < 5 and not reset[0, piece[0]])
    assert [found[n][-1] for n in pieces.last] == [40, 41, 42, 43, 44]


def test_first_weights_are_the_same():
    numpy_engine, torch_engine = pair(config_of("lstm"), seed=5)
    for name, value in numpy_engine.tensors().items():
        np.testing.assert_array_equal(torch_engine.tensors()[name], value, err_msg=name)


@pytest.mark.parametrize("optimizer", ["adam", "muon", "sgd", "rmsprop"])
@pytest.mark.parametrize("shape", SHAPES)
@cells
def test_ten_steps_with_resets_inside_the_chunks(cell, shape, optimizer, chunk_of):
    """Losses, norms, weights, moments and states; clipping and weight decay are at work."""
    config = config_of(cell, shape)
    engines = pair(config, optimizer=optimizer, weight_decay=0.1, clip=0.2)
    chunks = [chunk_of(config, 6, 4, seed=k) for k in range(10)]
    (ours, our_state), (theirs, their_state) = (steps(engine, chunks, engine.zero_state(4)) for engine in engines)
    more = rounding(config)
    np.testing.assert_allclose(theirs[:, 0], ours[:, 0], rtol=1e-5 * more)
    np.testing.assert_allclose(theirs[:, 1], ours[:, 1], rtol=1e-4 * more)
    assert (ours[:, 1] > 0.2).any()
    arrays, facts = engines[0].snapshot(our_state)
    their_arrays, their_facts = engines[1].snapshot(their_state)
    assert their_facts["optimizer_steps"] == facts["optimizer_steps"] == 10
    assert set(their_arrays) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_allclose(their_arrays[name], value, rtol=1e-3, atol=3e-5 * more, err_msg=name)


@cells
def test_a_document_that_begins_with_a_newline(cell, chunk_of):
    """Its state is reset where a token, and not the zero vector, is fed."""
    config = config_of(cell)
    zero = chunk_of(config, 8, 4)
    begun = Batch(np.where(zero.inputs == NO_TOKEN, 2, zero.inputs), zero.targets, zero.reset, zero.weight)
    ours, theirs = (engine.evaluate(begun, engine.zero_state(4))[0].nats for engine in pair(config))
    assert theirs == pytest.approx(ours, rel=1e-5)
    engine, _ = pair(config)
    assert ours != pytest.approx(engine.evaluate(zero, engine.zero_state(4))[0].nats, rel=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
@cells
def test_each_gradient(cell, shape, chunk_of):
    """A step of SGD at rate 1 without clipping moves each weight by its gradient."""
    config = config_of(cell, shape)
    engines = pair(config, optimizer="sgd", momentum=0.0, clip=1e9)
    before, chunk, moved, limit = engines[0].tensors(), chunk_of(config, 8, 4), [], 1e-6 * rounding(config)
    for engine in engines:
        engine.update(chunk, engine.zero_state(4), 1.0)
        moved.append({name: value - before[name] for name, value in engine.tensors().items()})
    for name in before:
        assert np.abs(moved[0][name]).max() > 1e-4
        np.testing.assert_allclose(moved[1][name], moved[0][name], rtol=1e-4, atol=limit, err_msg=name)


@pytest.mark.parametrize(
    ("times", "rate"), [(15, 0.01), pytest.param(50, 0.003, marks=pytest.mark.full)]
)
@pytest.mark.parametrize("context", ["sequence", "stream"])
@cells
def test_hundreds_of_steps(cell, context, times, rate, chunk_of):
    """Rounding grows on the way, but slowly."""
    config = config_of(cell, layers=1)
    in_pieces = [chunk_of(config, 6, 4, seed=k) for k in range(20)]
    chunks = stream(config, chunk_of, 20) if context == "stream" else in_pieces
    ours, theirs = (
        steps(engine, chunks * times, engine.zero_state(4), rate)[0][:, 0]
        for engine in pair(config)
    )
    np.testing.assert_allclose(theirs[:10], ours[:10], rtol=1e-5)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)
    assert (
        ours[-20:].mean() < 0.95 * ours[:20].mean()
    )  # they have learnt, so the agreement means something


@cells
def test_log_probs_ranks_and_logits(cell, chunk_of):
    config = config_of(cell)
    ours, theirs = pair(config)
    rng = np.random.default_rng(2)
    ours.load({name: rng.normal(size=value.shape).astype(np.float32) for name, value in ours.tensors().items()})
    theirs.load(ours.tensors())
    chunk = chunk_of(config, 7, 3)
    expected, expected_state = ours.log_probs(chunk, ours.zero_state(3), 3)
    found, state = theirs.log_probs(chunk, theirs.zero_state(3), 3)
    np.testing.assert_allclose(found.target, expected.target, rtol=1e-5, atol=1e-6)
    assert found.target.dtype == np.float64
    np.testing.assert_array_equal(found.rank, expected.rank)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.top, expected.top, rtol=1e-5, atol=1e-6)
    for part, expected_part in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(part.numpy(), expected_part, rtol=1e-5, atol=1e-6)
    inputs = np.array([[2, 3, NO_TOKEN], [4, 5, 6]], np.int32)
    logits, _ = theirs.logits(inputs, theirs.select(state, [2, 0, 0]))
    expected_logits, _ = ours.logits(inputs, ours.select(expected_state, [2, 0, 0]))
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "muon", "sgd", "rmsprop"])
@pytest.mark.parametrize("first", [0, 1], ids=["numpy first", "torch first"])
def test_a_run_changes_engine_half_way(first, optimizer, chunk_of):
    """Five steps here, a snapshot, five there: the figures of ten steps on one engine."""
    config = config_of("lstm")
    chunks = [chunk_of(config, 6, 4, seed=k) for k in range(10)]
    engines = pair(config, optimizer=optimizer)
    expected, _ = steps(NumpyEngine(config, 1, TrainConfig(optimizer=optimizer)), chunks, engines[0].zero_state(4))
    begun, state = steps(engines[first], chunks[:5], engines[first].zero_state(4))
    after = engines[1 - first].restore(engines[first].snapshot(state))
    ended, _ = steps(engines[1 - first], chunks[5:], after)
    np.testing.assert_allclose(np.concatenate([begun, ended])[:, 0], expected[:, 0], rtol=1e-5)


def test_a_snapshot_before_the_first_step_goes_both_ways(chunk_of):
    config = config_of()
    ours, theirs = pair(config)
    arrays, facts = theirs.snapshot(theirs.zero_state(4))
    assert not arrays["optimizer.m"].any()
    ours.restore((arrays, facts))
    theirs.restore(ours.snapshot(ours.zero_state(4)))
    chunk = chunk_of(config, 6, 4)
    figures = [engine.update(chunk, engine.zero_state(4), 0.01)[0].mean for engine in (ours, theirs)]
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)


def expected_nats(engine, config, chunk, count):
    """Return the mean and the standard error of the training loss over draws of dropout, the weights left alone."""
    nats = [engine.update(chunk, engine.zero_state(4), 0.0)[0].mean for _ in range(count)]
    return np.mean(nats), np.std(nats) / np.sqrt(count)


@pytest.mark.parametrize("shape", ["embedding", "tied", "normed"])
def test_dropout_has_the_same_distribution(shape, chunk_of):
    config = config_of("gru", shape, dropout=0.4, hidden=7)
    chunk = chunk_of(config, 6, 4)
    engines = pair(config)
    # So that dropping is felt. The gains stay: normalised and magnified, little noise would be left to average out.
    weights = {name: value * (1 if "gain" in name else 2.5) for name, value in engines[0].tensors().items()}
    for engine in engines:
        engine.load(weights)
    (ours, our_error), (theirs, their_error) = (expected_nats(engine, config, chunk, 400) for engine in engines)
    undropped = engines[1].evaluate(chunk, engines[1].zero_state(4))[0].mean
    assert abs(theirs - ours) < 4 * (our_error + their_error)
    assert abs(theirs - undropped) > (5 if shape == "normed" else 8) * their_error


def test_dropout_is_one_mask_for_all_steps(chunk_of):
    """A relu network whose layers pass on what they get: its hidden values show the masks."""
    config = ModelConfig(4, cell="rnn", nonlinearity="relu", layers=1, hidden=50, embedding=50, dropout=0.5)
    engine = TorchEngine(config, TrainConfig(engine="torch"))
    eye, flat = np.eye(50, dtype=np.float32), np.zeros(50, np.float32)
    tensors = engine.tensors() | {
        "embed.weight": np.ones((4, 50), np.float32), "rnn.weight_ih_l0": eye, "rnn.weight_hh_l0": 0 * eye,
        "rnn.bias_ih_l0": flat + 1, "rnn.bias_hh_l0": flat,
    }  # fmt: skip
    engine.load(tensors)
    chunk = chunk_of(config, 6, 3)
    pieces = cut(chunk.reset)
    rows = engine._rows(chunk, pieces)
    generator = torch.Generator().manual_seed(1)
    y, _ = engine._network.hidden(rows, engine._begin(pieces, engine.zero_state(3)), generator)
    values = pieces.in_place(y.detach().numpy(), (6, 3))
    kept = values > 0
    assert (kept == kept[:1]).all()
    assert 0.3 < kept.mean() < 0.7
    assert (kept[0, 0] != kept[0, 1]).any()
    for token in np.unique(chunk.inputs):  # 2 * (2 or 0) + 2: the embedding's mask is the token's
        seen = values[chunk.inputs == token]
        assert all(len(np.unique(column[column > 0])) == 1 for column in seen.T if (column > 0).any())
    assert set(np.unique(values)) <= {0.0, 2.0, 6.0}


def test_a_step_depends_on_the_seed_and_its_number(chunk_of):
    config = config_of(dropout=0.5)
    chunk = chunk_of(config, 6, 4)

    def losses(seed):
        engine = TorchEngine(config, TrainConfig(engine="torch", seed=seed))
        engine.load(NumpyEngine(config).tensors())
        return steps(engine, [chunk] * 3, engine.zero_state(4), 0.0)[0][:, 0].tolist()

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert len(set(losses(1))) == 3


def test_divergence_leaves_the_weights_alone(chunk_of):
    config = config_of("lstm")
    engine = TorchEngine(config, TrainConfig(engine="torch"))
    tensors = engine.tensors()
    tensors["head.bias"][3] = np.nan
    engine.load(tensors)
    with pytest.raises(DivergedError, match=r"gradient of .* lower --lr or --clip"):
        engine.update(chunk_of(config, 6, 4), engine.zero_state(4), 0.01)
    for name, value in engine.tensors().items():
        np.testing.assert_array_equal(value, tensors[name], err_msg=name)


def test_wrong_tensors_are_refused():
    engine = TorchEngine(config_of(), TrainConfig(engine="torch"))
    with pytest.raises(DataError, match=r"missing or unknown head\.bias"):
        engine.load({name: value for name, value in engine.tensors().items() if name != "head.bias"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "numpy", "device": "cuda"}, "device cuda needs --engine torch"),
        ({"engine": "numpy", "precision": "tf32"}, "precision tf32 needs --engine torch"),
        ({"engine": "torch", "precision": "float16"}, "must be one of float32, tf32, bfloat16"),
    ],
)
def test_what_an_engine_lacks_is_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**settings)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"device cuda:99 is not there: PyTorch .* finds cpu here"):
        TorchEngine(config_of(), TrainConfig(engine="torch", device="cuda:99"))
    with pytest.raises(UsageError, match="precision tf32 needs a CUDA device, not cpu"):
        TorchEngine(config_of(), TrainConfig(engine="torch", device="cpu", precision="tf32"))


def test_bfloat16_rounds_the_steps_and_not_the_figures(chunk_of):
    """The first loss of training differs by rounding to 8 bits; the evaluation's not at all."""
    config = config_of("lstm", hidden=32)
    exact, rounded = (TorchEngine(config, TrainConfig(engine="torch", precision=p)) for p in ("float32", "bfloat16"))
    chunk = chunk_of(config, 6, 4)
    before = [engine.evaluate(chunk, engine.zero_state(4))[0].nats for engine in (exact, rounded)]
    assert before[0] == before[1]
    losses = [engine.update(chunk, engine.zero_state(4), 0.01)[0].mean for engine in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_bfloat16_does_not_round_the_loss_that_is_told(chunk_of):
    """With a head of zeros every token has one probability: the loss is known to all digits."""
    config = config_of("lstm")
    engine = TorchEngine(config, TrainConfig(engine="torch", precision="bfloat16"))
    zeros = {
        name: 0 * value for name, value in engine.tensors().items() if name.startswith("head.")
    }
    engine.load(engine.tensors() | zeros)
    loss, _, _ = engine.update(chunk_of(config, 6, 4), engine.zero_state(4), 0.01)
    assert loss.mean == pytest.approx(np.log(TOKENS), rel=1e-6)


def test_both_engines_say_how_much_they_read(chunk_of):
    config = config_of()
    chunk = chunk_of(config, 6, 4)
    losses = [engine.update(chunk, engine.zero_state(4), 0.01)[0] for engine in pair(config)]
    assert [loss.read for loss in losses] == [24, 24]


TEXT = "the cat sat on the mat and the dog ate the hat\n" * 60


def run(*arguments):
    result = charlm(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def small(path, *more):
    shape = ["--hidden", 16, "--embedding", 8, "--dropout", 0]
    course = ["--schedule", "constant", "--lr", 0.01, "--batch-size", 4, "--seq-len", 16, "--eval-every", 10]
    return ["train", path / "corpus.txt", "-m", path / "model", *shape, *course, "--log-every", 1, *more]


def losses_of(path):
    return [json.loads(line)["train_nats"] for line in (path / "model" / "log.jsonl").read_text().splitlines()]


def test_the_commands_give_the_same_figures(tmp_path):
    """Train, resume on the other engine, score on both: as on one engine."""
    (tmp_path / "corpus.txt").write_text(TEXT)
    run(*small(tmp_path, "--steps", 20))
    expected = losses_of(tmp_path)
    run(*small(tmp_path, "--steps", 10, "--engine", "torch", "--force"))
    resumed = run("train", "-m", tmp_path / "model", "--resume", "--steps", 20, "--engine", "numpy")
    assert "warning: engine torch -> numpy" in resumed.stderr
    assert losses_of(tmp_path) == pytest.approx(expected, rel=1e-5)
    scored = ["score", "-m", tmp_path / "model", "--json"]
    scores = [
        json.loads(run(*scored, *more, "the cat").stdout)["logprob"]
        for more in ([], ["--engine", "torch"], ["--engine", "torch", "--device", "cpu"])
    ]
    assert scores[1:] == pytest.approx([scores[0]] * 2, rel=1e-4)
    assert "PyTorch" in model.load_language_model(tmp_path / "model", engine="torch").trained.description
    assert json.loads(run(*scored, "--no-counts", "the cat").stdout)["logprob"] != pytest.approx(scores[0], rel=1e-3)
    assert_refused(charlm(*scored, "--engine", "torch", "--per-token", "a"), 2, "--no-counts")
    run(*scored, "--engine", "torch", "--per-token", "--no-counts", "a")
    valid = [*scored, "--corpus", "valid", "--engine"]
    ours, theirs = (json.loads(run(*valid, name).stdout) for name in ("numpy", "torch"))
    assert theirs["logprob"] == pytest.approx(ours["logprob"], rel=1e-5)
    assert theirs["tokens"] == ours["tokens"] > 100
    assert_refused(charlm(*valid, "torch", "--cache"), 2, "--cache and --engine torch do not go together")


def test_settings_of_the_other_engine_end_in_one_line(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)
    for more, message in [
        (["--device", "cuda"], "charlm: device cuda needs --engine torch: NumPy computes on the processor\n"),
        (["--engine", "torch", "--device", "tpu"], "charlm: device tpu is not there"),
    ]:
        assert_refused(charlm(*small(tmp_path, "--steps", 1, *more)), 2, message)
    assert not (tmp_path / "model").exists()
