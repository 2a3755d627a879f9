"""The engine for GPUs and for several machines: PyTorch's modules, optimizers and collectives.

It computes what the NumPy engine computes, from the same first weights, under the same names, so that a run may go on
with either. Whole sequences go to PyTorch's fused kernels: a chunk with resets inside is cut there (`pieces`). Only
training steps use the reduced precision that was asked for; figures are always computed in float32.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from charlm.cells import CELLS
from charlm.config import NO_TOKEN, ModelConfig, TrainConfig
from charlm.engines import Array, LogProbs, Snapshot, Tally, tally_of
from charlm.engines.pieces import Pieces, cut
from charlm.engines.torch_norm import NormedLayer
from charlm.engines.torch_ranks import Ranks, one_line_errors
from charlm.engines.weights import check_fit, divergence, first_weights
from charlm.errors import UsageError
from charlm.nn import names
from charlm.nn.model import shapes
from charlm.nn.optim import block_shapes, move_blocks
from charlm.text.batches import Batch, Ids

State = tuple[torch.Tensor, ...]  # each [layers, B, H]: (h,) or, for an LSTM, (h, c)

_MOMENTS = {  # of each optimizer: our names, and PyTorch's
    "adam": {"m": "exp_avg", "v": "exp_avg_sq"},
    "muon": {"m": "exp_avg", "v": "exp_avg_sq"},
    "sgd": {"m": "momentum_buffer"},
    "rmsprop": {"v": "square_avg"},
}
_COLUMNS = 1024  # of lines to be scored: fewer leave a GPU idle
_MOST_LOGITS = 1 << 26  # at a time when scoring: a quarter of a gigabyte


@dataclass(frozen=True)
class _Rows:
    """The steps of a chunk as rows [R], on the device and in the order in which they are computed.

    inputs: ids, 0 for the zero vector. known: 0 where it is the zero vector; None where it never is. columns: which of
    the `width` columns a row is of, for dropout alone. sizes: None for whole columns, else as in `Pieces`.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weight: torch.Tensor
    known: torch.Tensor | None
    columns: torch.Tensor | None
    width: int
    sizes: torch.Tensor | None


class _Network(nn.Module):
    """Embedding, recurrent layers and output: the network of `charlm.nn`, of PyTorch's modules.

    All layers are one module where they can be; each is its own with what PyTorch's fused kernels do otherwise or not
    at all: dropout and residual sums between layers, and normalisation inside them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.inputs, config.embedding) if config.embedding else None
        apart = config.dropout or config.residual or config.layer_norm
        deep = 1 if apart else config.layers  # layers of a module
        widths = [config.embedding or config.inputs] + [config.hidden] * (config.layers // deep - 1)
        self.rnns = nn.ModuleList(_layers(config, width, deep) for width in widths)
        widths = [config.width] + [config.head_width] * config.head_layers
        self.dense = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        self.head = nn.Linear(config.head_width, config.vocab_size)
        if config.tie and self.embed is not None:
            self.head.weight = self.embed.weight

    def by_name(self) -> dict[str, nn.Parameter]:
        """Return the parameters under the names of a model file, in their order there."""
        found = {names.HEAD_WEIGHT: self.head.weight, names.HEAD_BIAS: self.head.bias}
        if self.embed is not None:
            found[names.EMBED] = self.embed.weight
        for k, layer in enumerate(self.dense):
            found |= {names.dense_weight(k): layer.weight, names.dense_bias(k): layer.bias}
        for k, rnn in enumerate(self.rnns):
            for name, value in rnn.named_parameters():
                part, _, layer = name.rpartition("_l")
                found[names.recurrent(part, k + int(layer))] = value
        return {name: found[name] for name in shapes(self.config)}

    def forward(self, rows: _Rows, state: State, generator: torch.Generator) -> tuple[torch.Tensor, State]:
        """Return nats = -sum(weight * log p), with dropout, and the state after; it is [layers, N, H] of N pieces."""
        y, state = self.hidden(rows, state, generator)
        lost = functional.cross_entropy(self.head(y).float(), rows.targets, reduction="none")
        # Not `lost @ rows.weight`: autocast would round both, and with them the loss that is told, to bfloat16.
        return torch.dot(lost, rows.weight), state

    def hidden(self, rows: _Rows, state: State, generator: torch.Generator | None = None) -> tuple[torch.Tensor, State]:
        """Return what the softmax reads [R, W] and the state after; `generator` switches dropout on."""
        x, after, first = self._embedded(rows, generator), [], 0
        for rnn in self.rnns:
            part = tuple(value[first : first + rnn.num_layers] for value in state)
            h, last = _run(rnn, x, part, rows)
            h = self._dropped(h, rows, generator)
            x = x + h if self.config.residual and first else h
            after.append(last)
            first += rnn.num_layers
        for layer in self.dense:
            x = self._dropped(torch.relu(layer(x)), rows, generator)
        return x, tuple(torch.cat(parts) for parts in zip(*after, strict=True))

    def _embedded(self, rows: _Rows, generator: torch.Generator | None) -> torch.Tensor:
        if self.embed is None:
            x = functional.one_hot(rows.inputs, self.config.inputs).to(self.head.bias.dtype)
        else:
            x = self.embed(rows.inputs)
            if generator is not None and self.config.dropout:
                tokens, slots = rows.inputs.unique(return_inverse=True)
                x = x * self._mask((len(tokens), x.shape[1]), generator, x)[slots]
        return x if rows.known is None else x * rows.known[:, None]

    def _dropped(self, x: torch.Tensor, rows: _Rows, generator: torch.Generator | None) -> torch.Tensor:
        """Drop from values [R, W], alike at all steps of a column."""
        if generator is None or rows.columns is None:
            return x
        return x * self._mask((rows.width, x.shape[1]), generator, x)[rows.columns]

    def _mask(self, shape: tuple[int, int], generator: torch.Generator, like: torch.Tensor) -> torch.Tensor:
        kept = torch.rand(shape, generator=generator, device=like.device) >= self.config.dropout
        return kept.to(like.dtype) / (1 - self.config.dropout)


def _layers(config: ModelConfig, inputs: int, count: int) -> nn.Module:
    """Return `count` recurrent layers as one module; one, where it normalises."""
    if config.layer_norm:
        return NormedLayer(config, inputs)
    kind = CELLS[config.cell]
    extra = {} if kind.own_nonlinearity else {"nonlinearity": config.nonlinearity}
    made: nn.Module = getattr(nn, str(kind.torch))(inputs, config.hidden, count, **extra)
    return made


def _run(rnn: Any, x: torch.Tensor, state: State, rows: _Rows) -> tuple[torch.Tensor, State]:
    """Run a module over rows [R, D] to [R, H], from the state of each piece to the state after."""
    before: Any = state if len(state) == 2 else state[0]
    if rows.sizes is None:
        y, after = rnn(x.view(-1, rows.width, x.shape[1]), before)
        y = y.reshape(len(x), -1)
    else:
        y, after = rnn(PackedSequence(x, rows.sizes), before)
        y = y.data
    return y, tuple(part.float() for part in (after if len(state) == 2 else (after,)))


class TorchEngine:
    """Implements `charlm.engines.Engine` with PyTorch; the state is a tuple of tensors [layers, B, H]."""

    normalized = False

    def __init__(self, model: ModelConfig, train: TrainConfig | None = None, ranks: Ranks | None = None) -> None:
        """Draw first weights with the training settings' seed; with `ranks` the steps are taken together.

        Raises UsageError where the device is not there, or cannot compute with the precision.
        """
        self.config, self._train, self._ranks = model, train or TrainConfig(engine="torch"), ranks
        self.device = _device(self._train.device, ranks)
        if self._train.precision == "tf32" and self.device.type != "cuda":
            raise UsageError(f"precision tf32 needs a CUDA device, not {self.device}: leave it out, or take bfloat16")
        if self.device.type == "cpu":
            torch.set_num_threads(self._train.threads or 1)
        self.columns = 64 if self.device.type == "cpu" else _COLUMNS
        self._network = _Network(model).to(self.device)
        self._parameters = self._network.by_name()
        self._optimizer = _optimizer(self._train, self._parameters, self.device)
        self._generator = torch.Generator(self.device)
        self._steps = 0
        self.load(first_weights(model, self._train.seed))

    @property
    def description(self) -> str:
        where = f"{self._train.threads or 1} threads" if self.device.type == "cpu" else str(self.device)
        ranks = f", {self._ranks.count} ranks" if self._ranks else ""
        return f"{where} (PyTorch {torch.__version__}, {self._train.precision}){ranks}"

    @cached_property
    def _learner(self) -> Any:
        """What a training step calls: the network, or what adds up its gradients over all ranks."""
        if self._ranks is None:
            return self._network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(self._network, devices, gradient_as_bucket_view=True)

    def zero_state(self, batch: int) -> State:
        empty = torch.zeros(self.config.layers, batch, self.config.hidden, device=self.device)
        return (empty,) * CELLS[self.config.cell].states

    def select(self, state: State, columns: list[int]) -> State:
        return tuple(part[:, columns] for part in state)

    def update(self, batch: Batch, state: State, lr: float) -> tuple[Tally, float, State]:
        return self.learn(batch, state, lr, int(batch.weight.sum()))

    def learn(self, batch: Batch, state: State, lr: float, count: int) -> tuple[Tally, float, State]:
        """Do what `update` does; `count` targets are in the batches of all ranks, and so is the loss over them."""
        pieces, (rank, ranks) = cut(batch.reset), (self._ranks.rank, self._ranks.count) if self._ranks else (0, 1)
        rows = self._rows(batch, pieces)
        place = np.random.SeedSequence([self._train.seed, self._steps, rank])
        self._generator.manual_seed(int(place.generate_state(1, np.uint32)[0]))
        self._optimizer.zero_grad()
        with one_line_errors(self._ranks is None), _precision(self._train.precision, self.device):
            nats, after = self._learner(rows, self._begin(pieces, state), self._generator)
            # DistributedDataParallel takes the mean over ranks, and the gradient is that of the sum over the count.
            (nats * (ranks / max(1, count))).backward()
            nats = nats.detach()
            if ranks > 1:
                distributed.all_reduce(nats)
        norm = nn.utils.get_total_norm([value.grad for value in self._parameters.values()])
        total, size = torch.stack([nats, norm]).tolist()
        if not math.isfinite(size) or not math.isfinite(total):
            raise divergence({name: bool(p.grad.isfinite().all()) for name, p in self._parameters.items()})
        nn.utils.clip_grads_with_norm_(self._parameters.values(), self._train.clip, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        self._steps += 1
        return Tally(total, count, batch.read), size, self._end(pieces, tuple(part.detach() for part in after))

    def evaluate(self, batch: Batch, state: State) -> tuple[Tally, State]:
        logp, state = self.log_probs(batch, state)
        return tally_of(logp.target, batch), state

    def log_probs(self, batch: Batch, state: State, top: int = 0) -> tuple[LogProbs, State]:
        pieces = cut(batch.reset)
        rows = self._rows(batch, pieces)
        with torch.no_grad(), _precision("float32", self.device):
            y, after = self._network.hidden(rows, self._begin(pieces, state))
            some = max(1, _MOST_LOGITS // self.config.vocab_size)
            parts = [self._judged(*part, top) for part in zip(y.split(some), rows.targets.split(some), strict=True)]
        found = (torch.cat(figures).cpu().numpy() for figures in zip(*parts, strict=True))
        figures = [pieces.in_place(figure, batch.targets.shape) for figure in found]
        figures = [figure.astype(np.float64) if figure.dtype == np.float32 else figure for figure in figures]
        return LogProbs(*figures), self._end(pieces, after)

    def _judged(self, y: torch.Tensor, targets: torch.Tensor, top: int) -> tuple[torch.Tensor, ...]:
        """Return log p of the targets [R], and where asked for their ranks [R] and the best tokens [R, top]."""
        logp = self._network.head(y).log_softmax(dim=1)
        target = logp.gather(1, targets[:, None])
        if not top:
            return (target[:, 0],)
        best = logp.topk(min(top, self.config.vocab_size), dim=1)
        return target[:, 0], 1 + (logp > target).sum(dim=1), best.indices, best.values

    def logits(self, inputs: Ids, state: State) -> tuple[Array, State]:
        never = np.zeros(inputs.shape, np.bool_)
        batch = Batch(inputs, np.zeros_like(inputs), never, never.astype(np.float32))
        with torch.no_grad(), _precision("float32", self.device):
            y, after = self._network.hidden(self._rows(batch, cut(never)), state)
            return self._network.head(y[-inputs.shape[1] :]).cpu().numpy(), after

    def tensors(self) -> dict[str, Array]:
        return {name: value.detach().cpu().numpy().copy() for name, value in self._parameters.items()}

    def load(self, tensors: Mapping[str, Array]) -> None:
        check_fit(tensors, shapes(self.config))
        with torch.no_grad():
            for name, value in self._parameters.items():
                value.copy_(torch.from_numpy(np.array(tensors[name])))

    def snapshot(self, state: State) -> Snapshot:
        arrays = self.tensors()
        for ours, theirs in _MOMENTS[self._train.optimizer].items():
            held = [(self._optimizer.state.get(value, {}).get(theirs), value) for value in self._parameters.values()]
            flat = [torch.zeros_like(value) if moment is None else moment for moment, value in held]
            arrays[f"optimizer.{ours}"] = torch.cat([part.detach().reshape(-1) for part in flat]).cpu().numpy()
        arrays |= {f"state.{i}": part for i, part in enumerate(self.shown(state))}
        return arrays, {"optimizer_steps": self._steps, "dropout_generators": []}

    def restore(self, snapshot: Snapshot) -> State:
        arrays, facts = snapshot
        self.load({name: value for name, value in arrays.items() if not name.startswith(("optimizer.", "state."))})
        self._steps = facts["optimizer_steps"]
        held = [{"step": torch.tensor(float(self._steps))} for _ in self._parameters]
        for ours, theirs in _MOMENTS[self._train.optimizer].items():
            flat = torch.from_numpy(np.array(arrays[f"optimizer.{ours}"]))
            parts = flat.split([value.numel() for value in self._parameters.values()])
            for entry, part, value in zip(held, parts, self._parameters.values(), strict=True):
                entry[theirs] = part.reshape(value.shape).clone()
        if self._steps:
            self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": dict(enumerate(held))})
        return self.taken([arrays[f"state.{i}"] for i in range(len(self.zero_state(1)))])

    def shown(self, state: State) -> list[Array]:
        return [part.cpu().numpy().copy() for part in state]

    def taken(self, arrays: list[Array]) -> State:
        """Return the state that `shown` gave as arrays."""
        return tuple(torch.from_numpy(np.array(part)).to(self.device) for part in arrays)

    def _rows(self, batch: Batch, pieces: Pieces) -> _Rows:
        steps, columns = batch.targets.shape
        inputs = pieces.in_order(batch.inputs).astype(np.int64)
        zero = inputs == NO_TOKEN
        column = np.broadcast_to(np.arange(columns), (steps, columns))
        return _Rows(
            inputs=self._sent(np.maximum(inputs, 0)),
            targets=self._sent(pieces.in_order(batch.targets).astype(np.int64)),
            weight=self._sent(pieces.in_order(batch.weight)),
            known=self._sent(~zero).float() if zero.any() else None,
            columns=self._sent(pieces.in_order(column)) if self.config.dropout else None,
            width=columns,
            sizes=None if pieces.order is None else torch.from_numpy(pieces.sizes),  # PyTorch wants it on the CPU
        )

    def _begin(self, pieces: Pieces, state: State) -> State:
        """Return the state [layers, N, H] that each piece starts from."""
        carried = self._sent(pieces.carried)[:, None]
        if pieces.order is not None:
            columns = self._sent(pieces.columns)
            state = tuple(part[:, columns] for part in state)
        return tuple(torch.where(carried, part, 0.0) for part in state)

    def _end(self, pieces: Pieces, state: State) -> State:
        """Return the state [layers, B, H] of the columns from that of the pieces."""
        if pieces.order is None:
            return state
        last = self._sent(pieces.last)
        return tuple(part[:, last] for part in state)

    def _sent(self, values: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)


def _device(name: str, ranks: Ranks | None) -> torch.device:
    """Return the device that a setting names, this rank's own where it names none of several."""
    found = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    if name == "cuda" or (name == "auto" and found):
        name = f"cuda:{ranks.local % max(1, len(found)) if ranks else 0}"
    found += ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if name == "auto":
        name = "cpu" if ranks else found[0]
    if name not in found:
        raise UsageError(f"device {name} is not there: PyTorch {torch.__version__} finds {', '.join(found)} here")
    return torch.device(name)


@contextlib.contextmanager
def _precision(name: str, device: torch.device) -> Iterator[None]:
    """Compute in a precision for a while: `tf32` for products on CUDA, or `bfloat16` where PyTorch deems it safe."""
    exact = name != "tf32"
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if exact else "high")
        torch.backends.cudnn.allow_tf32 = not exact
    with torch.autocast(device.type, torch.bfloat16, enabled=name == "bfloat16"):
        yield


class _Muon(torch.optim.AdamW):
    """What `charlm.nn.optim.Muon` does: AdamW, but for the weights of the recurrent layers."""

    def __init__(self, named: Mapping[str, nn.Parameter], decay: float) -> None:
        super().__init__(named.values(), weight_decay=decay)
        blocks = block_shapes({name: tuple(value.shape) for name, value in named.items()})
        self._blocks = [(named[name], shape) for name, shape in blocks.items()]

    def step(self, closure: None = None) -> None:
        """Move the blocks, then leave the rest to AdamW, which passes over what has no gradient."""
        (group,) = self.param_groups
        for weight, shape in self._blocks:
            state = self.state[weight]
            if not state:
                state["exp_avg"] = torch.zeros_like(weight)
            with torch.no_grad():
                w, g, m = (value.view(shape) for value in (weight, weight.grad, state["exp_avg"]))
                move_blocks(w, g, m, group["lr"], group["weight_decay"])
            weight.grad = None
        super().step(closure)


def _optimizer(
    train: TrainConfig, named: Mapping[str, nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    parameters = list(named.values())
    if train.optimizer == "muon":
        return _Muon(named, train.weight_decay)
    if train.optimizer == "adam":
        fused = {"fused": True} if device.type == "cuda" else {}
        return torch.optim.AdamW(parameters, train.lr, weight_decay=train.weight_decay, **fused)
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, train.lr, train.momentum, weight_decay=train.weight_decay)
    return torch.optim.RMSprop(parameters, train.lr, alpha=0.95, weight_decay=train.weight_decay)
