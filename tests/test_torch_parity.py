"""The same files, figures, gradients and training steps as a network of torch.nn, and files both ways."""

import numpy as np
import pytest

import charlm
from charlm import checkpoint
from charlm.config import NO_TOKEN, ModelConfig, TrainConfig
from charlm.engines.numpy import NumpyEngine
from charlm.language import Language
from charlm.model import Model
from charlm.nn.model import LanguageModel, shapes
from charlm.nn.optim import move_blocks
from charlm.nn.params import Params
from charlm.text.tokenizers import EOS, CharTokenizer
from tests.tiny import CELLS, IN_TORCH, SHAPES

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
load_file = pytest.importorskip("safetensors.torch", reason="safetensors is not installed").load_file
torch.set_num_threads(1)

TOKENIZER = CharTokenizer(list("etaoin"))
CONFIGS = [
    pytest.param(
        ModelConfig(TOKENIZER.size, layers=layers, hidden=7, **CELLS[cell], **SHAPES[shape]),
        id=f"{cell} {layers} {shape}",
    )
    for cell in IN_TORCH
    for layers in (1, 2)
    for shape in SHAPES
]

all_configs = pytest.mark.parametrize("config", CONFIGS)


class NormedResidualStack(torch.nn.Module):
    """What `torch.nn.LSTM` and the others are to plain layers, for one step: PyTorch's layer_norm and the equations."""

    def __init__(self, config, inputs):
        super().__init__()
        self.config, width = config, {"rnn": 1, "gru": 3, "lstm": 4}[config.cell] * config.hidden
        for k in range(config.layers):
            widths = {"weight_ih": (width, config.hidden if k else inputs), "weight_hh": (width, config.hidden)}
            widths |= {"bias_ih": (width,), "bias_hh": (width,), "gain_hh": (width,)}
            for name, size in widths.items():
                self.register_parameter(f"{name}_l{k}", torch.nn.Parameter(torch.randn(size) / 4))

    def forward(self, x, state):
        """Return y [1, B, H] of x [1, B, D] and the state after, from h or (h, c) [layers, B, H]."""
        x, several, after = x[0], isinstance(state, tuple), []
        for k, parts in enumerate(zip(*(state if several else (state,)), strict=True)):
            p = {name.removesuffix(f"_l{k}"): value for name, value in self.named_parameters()}
            told = torch.nn.functional.layer_norm(
                parts[0] @ p["weight_hh"].T, [len(p["gain_hh"])], p["gain_hh"], p["bias_hh"]
            )
            after.append(self._step(x @ p["weight_ih"].T + p["bias_ih"], told, *parts))
            x = x + after[-1][0] if k else after[-1][0]
        last = tuple(map(torch.stack, zip(*after, strict=True)))
        return x[None], last if several else last[0]

    def _step(self, z, p, h, c=None):
        if self.config.cell == "rnn":
            return (getattr(torch, self.config.nonlinearity)(z + p),)
        if self.config.cell == "gru":
            (zr, zu, zn), (pr, pu, pn) = z.chunk(3, 1), p.chunk(3, 1)
            u = (zu + pu).sigmoid()
            return ((1 - u) * (zn + (zr + pr).sigmoid() * pn).tanh() + u * h,)
        i, f, g, o = (z + p).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class TorchModel(torch.nn.Module):
    """The same network of PyTorch's own modules, under the same names."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        if config.embedding:
            self.embed = torch.nn.Embedding(config.vocab_size, config.embedding)
        width = config.embedding or config.vocab_size
        if config.layer_norm:
            self.rnn = NormedResidualStack(config, width)
        elif config.cell == "rnn":
            self.rnn = torch.nn.RNN(width, config.hidden, config.layers, config.nonlinearity)
        else:
            self.rnn = getattr(torch.nn, config.cell.upper())(width, config.hidden, config.layers)
        widths = [config.hidden] + [config.head_width] * config.head_layers
        self.dense = torch.nn.ModuleList(map(torch.nn.Linear, widths, widths[1:]))
        self.head = torch.nn.Linear(config.head_width, config.vocab_size)
        if config.tie:
            self.head.register_parameter("weight", None)

    def forward(self, inputs, reset, state):
        """Return log-probabilities [T, B, V] and the state after, one step at a time for the resets' sake."""
        outputs = []
        for ids, new in zip(torch.tensor(inputs).long(), torch.tensor(reset), strict=True):
            state = tuple(torch.where(new[:, None], torch.zeros_like(part), part) for part in state)
            y, state = self.rnn(self._vectors(ids)[None], state if self.config.cell == "lstm" else state[0])
            state = state if self.config.cell == "lstm" else (state,)
            outputs.append(y[0])
        weight = self.embed.weight if self.config.tie else self.head.weight
        y = torch.stack(outputs)
        for layer in self.dense:
            y = torch.relu(layer(y))
        logits = torch.nn.functional.linear(y, weight, self.head.bias)
        return logits.log_softmax(dim=-1), state

    def log_probs(self, chunk, state):
        """Return log p of the targets [T, B] and the state after."""
        logp, state = self(chunk.inputs, chunk.reset, state)
        return logp.gather(-1, torch.tensor(chunk.targets).long()[..., None])[..., 0], state

    def _vectors(self, ids):
        known = ids.clamp(min=0)
        if self.config.embedding:
            vectors = self.embed(known)
        else:
            vectors = torch.nn.functional.one_hot(known, self.config.vocab_size).to(self.head.bias.dtype)
        return vectors * (ids != NO_TOKEN)[:, None]


def new_model(config, seed=0, context="sequence", train=None):
    engine = NumpyEngine(config, 2, train or TrainConfig(seed=seed))
    engine.params.flat[:] = 0.4 * np.random.default_rng(seed).standard_normal(engine.params.flat.size)
    return Model(engine, config, Language(TOKENIZER, "line", context), {})


def in_torch(config, path):
    """Return the network of a model file in PyTorch and float64; names and shapes must be exactly its own."""
    network = TorchModel(config)
    network.load_state_dict(load_file(path), strict=True)
    return network.double()


def to_torch(state):
    return tuple(torch.tensor(part).double() for part in state)


@all_configs
def test_names_and_shapes_are_those_of_a_state_dict(config):
    network = TorchModel(config)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes(config)


@all_configs
def test_log_probs_and_every_gradient(config, tmp_path, chunk_of, state_of):
    model = new_model(config)
    model.save(tmp_path / "model.safetensors")
    network = in_torch(config, tmp_path / "model.safetensors")
    params = Params(shapes(config), np.float64)
    params.flat[:] = model.engine.params.flat
    chunk, state = chunk_of(config, 7, 3), state_of(config, 3)

    expected, expected_after = network.log_probs(chunk, to_torch(state))
    (-0.125 * (expected * torch.tensor(chunk.weight)).sum()).backward()
    logp, after = LanguageModel(config).log_probs(params, chunk.inputs, chunk.targets, chunk.reset, state)
    np.testing.assert_allclose(logp, expected.detach(), rtol=1e-11)
    for part, expected_part in zip(after, expected_after, strict=True):
        np.testing.assert_allclose(part, expected_part.detach(), rtol=1e-11, atol=1e-14)

    grads = params.twin()
    LanguageModel(config).backward(
        params, grads, chunk, state, 0.125
    )
    for name, value in network.named_parameters():
        np.testing.assert_allclose(grads[name], value.grad, rtol=1e-9, atol=1e-13, err_msg=name)

    found, _ = model.engine.log_probs(chunk, tuple(part.astype(np.float32) for part in state))
    logp = found.target
    np.testing.assert_allclose(logp, expected.detach(), rtol=1e-5, atol=1e-6)  # in float32, on two threads


OPTIMIZERS = {
    "adam": ({"optimizer": "adam"}, lambda p, lr: torch.optim.Adam(p, lr)),
    "adamw": ({"optimizer": "adam", "weight_decay": 0.1}, lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.1)),
    "sgd": (
        {"optimizer": "sgd", "weight_decay": 0.1},
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, weight_decay=0.1),
    ),
    "rmsprop": (
        {"optimizer": "rmsprop", "weight_decay": 0.1},
        lambda p, lr: torch.optim.RMSprop(p, lr, alpha=0.95, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", IN_TORCH)
def test_ten_training_steps(cell, shape, optimizer, tmp_path, chunk_of):
    """Truncated back-propagation over ten chunks with carried state, clipped where the norm is above 0.1."""
    config = ModelConfig(TOKENIZER.size, layers=2, hidden=7, **CELLS[cell], **SHAPES[shape])
    settings, make = OPTIMIZERS[optimizer]
    model = new_model(config, train=TrainConfig(clip=0.1, **settings))
    model.save(tmp_path / "model.safetensors")
    network = in_torch(config, tmp_path / "model.safetensors")
    torch_optimizer = make(network.parameters(), 0.01)
    state, clipped = model.engine.zero_state(4), 0
    torch_state = to_torch(state)
    for step in range(10):
        chunk = chunk_of(config, 6, 4, seed=step)
        loss, norm, state = model.engine.update(chunk, state, 0.01)
        torch_optimizer.zero_grad()
        logp, torch_state = network.log_probs(chunk, tuple(part.detach() for part in torch_state))
        expected = -(logp * torch.tensor(chunk.weight)).sum() / float(chunk.weight.sum())
        expected.backward()
        expected_norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        torch_optimizer.step()
        assert loss.mean == pytest.approx(expected.item(), rel=1e-5)
        assert norm == pytest.approx(expected_norm.item(), rel=1e-5)
        clipped += norm > 0.1
    assert clipped > 0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
@pytest.mark.parametrize("shape", [(64, 48), (48, 64)])
def test_muon_moves_a_matrix_as_torch_does(shape):
    """PyTorch's iterates in bfloat16, of three digits: each step is the same but for that, and so are ten."""
    rng = np.random.default_rng(0)
    ours = rng.standard_normal((1, *shape)).astype(np.float32)
    theirs, first = torch.nn.Parameter(torch.from_numpy(ours[0].copy())), ours.copy()
    optimizer = torch.optim.Muon([theirs], 0.1, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    momentum = np.zeros_like(ours)
    for _ in range(10):
        gradient = rng.standard_normal(ours.shape).astype(np.float32)
        theirs.grad = torch.from_numpy(gradient[0].copy())
        move_blocks(ours, gradient, momentum, 0.1, 0.2)
        optimizer.step()
    difference = np.linalg.norm(theirs.detach().numpy() - ours[0])
    assert difference < 0.02 * np.linalg.norm(ours - first)


@all_configs
def test_weights_of_torch_serve_in_charlm(config, tmp_path, chunk_of):
    torch.manual_seed(1)
    network = TorchModel(config)
    tensors = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    checkpoint.save(tmp_path / "model.safetensors", tensors, new_model(config).metadata())
    model, chunk = charlm.load(tmp_path), chunk_of(config, 8, 3)
    state = model.engine.zero_state(3)
    expected, _ = network.double().log_probs(chunk, to_torch(state))
    found, _ = model.engine.log_probs(chunk, state)
    logp = found.target
    np.testing.assert_allclose(logp, expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "text", ["a note to a tie", "t", "", "tea\u00e9 nation " * 20], ids=["text", "one token", "nothing", "long"]
)
@pytest.mark.parametrize("eos", [True, False], ids=["with its end", "without"])
@pytest.mark.parametrize("context", ["sequence", "stream"])
@pytest.mark.parametrize("cell", IN_TORCH)
def test_a_score_is_the_sum_of_log_probs(cell, context, eos, text, tmp_path):
    """The first input is the zero vector, or EOS where texts follow one another in a stream."""
    config = ModelConfig(TOKENIZER.size, layers=2, hidden=7, embedding=4, **CELLS[cell])
    new_model(config, 2, context).save(tmp_path / "model.safetensors")
    score = charlm.load(tmp_path).score(text, eos=eos, per_token=True)
    ids = [*TOKENIZER.encode(text).tolist(), *([EOS] if eos else [])]
    inputs = [EOS if context == "stream" else NO_TOKEN, *ids][: len(ids)]
    if ids:
        network = in_torch(config, tmp_path / "model.safetensors")
        state = to_torch(NumpyEngine(config).zero_state(1))
        logp, _ = network(np.array(inputs)[:, None], np.zeros((len(ids), 1), np.bool_), state)
        expected = logp[range(len(ids)), 0, ids].tolist()
    else:
        expected = []
    assert score.logprob == pytest.approx(sum(expected), rel=1e-5)
    assert [token.logprob for token in score.per_token] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert score.tokens == len(ids)


@pytest.mark.parametrize("count", [250, pytest.param(1000, marks=pytest.mark.full)])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_many_lines_score_as_they_do_in_torch(cell, count, tmp_path):
    """Lines of 0 to 80 letters, unknown ones among them, batched here, one by one there."""
    rng = np.random.default_rng(8)
    lines = ["".join(rng.choice(list("aeionst \u00e9"), rng.integers(0, 81))) for _ in range(count)]
    config = ModelConfig(TOKENIZER.size, layers=2, hidden=7, embedding=4, **CELLS[cell])
    new_model(config, 2, "sequence").save(tmp_path / "model.safetensors")
    network = in_torch(config, tmp_path / "model.safetensors")
    state, expected = to_torch(NumpyEngine(config).zero_state(1)), []
    with torch.inference_mode():
        for line in lines:
            ids = [*TOKENIZER.encode(line).tolist(), EOS]
            inputs = np.array([NO_TOKEN, *ids[:-1]])[:, None]
            logp, _ = network(inputs, np.zeros((len(ids), 1), np.bool_), state)
            expected.append(float(logp[range(len(ids)), 0, ids].double().sum()))
    found = [score.logprob for score in charlm.load(tmp_path, threads=2).scores(lines)]
    assert found == pytest.approx(expected, rel=1e-5)
