"""The recurrent cells there are, and what is known of each without computing: a line a cell, read by all others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a cell is.

    layer: its module below `charlm.nn` and its class there, imported where it is asked for. gates:
    row blocks of its weights. states: arrays that it hands on, h and, in an LSTM, c. forget: the
    block whose bias begins at 1. compiled: its number in kernel.c, None where NumPy alone computes
    it. torch: its class in `torch.nn`, None where PyTorch has none. vectors: the names of further
    parameters [H], without their layer. own_nonlinearity: whether nothing is to be chosen. format:
    of the model files that may hold it. gate_names: of the row blocks, where they are gates.
    """

    layer: str
    gates: int
    states: int = 1
    forget: int | None = None
    compiled: int | None = None
    torch: str | None = None
    vectors: tuple[str, ...] = ()
    own_nonlinearity: bool = True
    format: int = 2
    gate_names: tuple[str, ...] = ()


_LSTM = ("input", "forget", "candidate", "output")

CELLS = {
    "rnn": Kind("rnn.RNN", 1, compiled=1, torch="RNN", own_nonlinearity=False, format=1),
    "gru": Kind(
        "gru.GRU", 3, compiled=2, torch="GRU", format=1, gate_names=("reset", "update", "candidate")
    ),
    "lstm": Kind(
        "lstm.LSTM", 4, states=2, forget=1, compiled=3, torch="LSTM", format=1, gate_names=_LSTM
    ),
    "simple-gru": Kind(
        "simple_gru.SimpleGRU", 2, compiled=4, gate_names=("update", "candidate")
    ),
    "lstm-peephole": Kind(
        "lstm_peephole.PeepholeLSTM",
        4,
        states=2,
        forget=1,
        compiled=5,
        vectors=("weight_ci", "weight_cf", "weight_co"),
        gate_names=_LSTM,
    ),
}
