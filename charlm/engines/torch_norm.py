"""A recurrent layer with a normalised recurrent product, step by step: PyTorch's own layers have none."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from charlm.cells import CELLS
from charlm.config import ModelConfig

States = list[torch.Tensor]  # each [B, H]: [h] or, for an LSTM, [h, c]


class NormedLayer(nn.Module):
    """One layer, called as `torch.nn.RNN`, `GRU` and `LSTM` are, with the equations of `charlm.nn`."""

    num_layers = 1

    def __init__(self, config: ModelConfig, inputs: int) -> None:
        super().__init__()
        self._step = {"rnn": self._rnn, "gru": self._gru, "lstm": self._lstm}[config.cell]
        self._act = torch.tanh if config.nonlinearity == "tanh" else torch.relu
        hidden, width = config.hidden, CELLS[config.cell].gates * config.hidden
        self.weight_ih_l0 = nn.Parameter(torch.zeros(width, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.zeros(width, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(width))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(width))
        self.gain_hh_l0 = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor | PackedSequence, before: Any) -> tuple[Any, Any]:
        """Read x [T, B, D], or pieces, from state [1, B, H]; return all values of h, and the state after."""
        if isinstance(x, PackedSequence):
            rows, sizes = x.data, x.batch_sizes.tolist()
        else:
            rows, sizes = x.flatten(0, 1), [x.shape[1]] * len(x)
        z = functional.linear(rows, self.weight_ih_l0, self.bias_ih_l0)
        several = isinstance(before, tuple)
        states, values = [part[0] for part in (before if several else (before,))], []
        for zt in z.split(sizes):
            now = self._step(zt, self._told(states[0][: len(zt)]), [part[: len(zt)] for part in states])
            states = [torch.cat([new, old[len(zt) :]]) for new, old in zip(now, states, strict=True)]
            values.append(now[0])
        y = torch.cat(values)
        after = tuple(part[None] for part in states)
        shaped = PackedSequence(y, x.batch_sizes) if isinstance(x, PackedSequence) else y.view(*x.shape[:2], -1)
        return shaped, after if several else after[0]

    def _told(self, h: torch.Tensor) -> torch.Tensor:
        """Return what the state tells a step, [B, G·H]."""
        product = h @ self.weight_hh_l0.T
        return functional.layer_norm(product, product.shape[1:], self.gain_hh_l0, self.bias_hh_l0)

    def _rnn(self, z: torch.Tensor, p: torch.Tensor, states: States) -> States:
        return [self._act(z + p)]

    def _gru(self, z: torch.Tensor, p: torch.Tensor, states: States) -> States:
        (z_r, z_u, z_n), (p_r, p_u, p_n) = z.chunk(3, dim=1), p.chunk(3, dim=1)
        u, n = torch.sigmoid(z_u + p_u), torch.tanh(z_n + torch.sigmoid(z_r + p_r) * p_n)
        return [n + u * (states[0] - n)]

    def _lstm(self, z: torch.Tensor, p: torch.Tensor, states: States) -> States:
        i, f, g, o = (z + p).chunk(4, dim=1)
        c = torch.sigmoid(f) * states[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]
