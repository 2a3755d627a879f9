"""The names of parameters, as in PyTorch's `state_dict`, which has no gains: spelt here and nowhere else."""

from __future__ import annotations

EMBED = "embed.weight"
HEAD_WEIGHT, HEAD_BIAS = "head.weight", "head.bias"

NGRAMS = "ngrams.weight"  # [buckets, width], of the n-grams beside the recurrent layers
POOL_WEIGHT = "pool.weight"  # [W], of the pooling by attention

CHARACTERS = "characters."  # before the names of the network that reads a word's characters
ENCODER = "encoder."  # before the names of the network that reads what is to be converted
SOURCE_WEIGHT = "source.weight"  # [G·H, W], from what an encoder says last to the product that the decoder reads
KEY_WEIGHT, VALUE_WEIGHT = (
    "attention.key.weight",
    "attention.value.weight",
)  # [H, W], of a source's steps
COMBINE_WEIGHT, COMBINE_BIAS = (
    "attention.combine.weight",
    "attention.combine.bias",
)  # [H, H], [H], of a target's
CRF_WEIGHT = "crf.weight"  # [L, L], how well a tag goes before another
CRF_START, CRF_END = "crf.start", "crf.end"  # [L], how well a tag begins and ends a sentence

_BODY = "rnn."
_DENSE = "dense."


def recurrent(part: str, k: int, reverse: bool = False) -> str:
    """Return the name of a parameter of recurrent layer k; `reverse` is of the direction from the end to the start."""
    return f"{_BODY}{part}_l{k}{'_reverse' if reverse else ''}"


def weight_ih(k: int, reverse: bool = False) -> str:
    """Return the name of W_ih [G·H, D], which multiplies what layer k reads."""
    return recurrent("weight_ih", k, reverse)


def weight_hh(k: int, reverse: bool = False) -> str:
    """Return the name of W_hh [G·H, H], which multiplies the state."""
    return recurrent("weight_hh", k, reverse)


def bias_ih(k: int, reverse: bool = False) -> str:
    """Return the name of b_ih [G·H]."""
    return recurrent("bias_ih", k, reverse)


def bias_hh(k: int, reverse: bool = False) -> str:
    """Return the name of b_hh [G·H]."""
    return recurrent("bias_hh", k, reverse)


def gain_hh(k: int, reverse: bool = False) -> str:
    """Return the name of the gains [G·H] of the normalised product with the state."""
    return recurrent("gain_hh", k, reverse)


def dense_weight(k: int) -> str:
    """Return the name of W of the layer without recurrence number k."""
    return f"{_DENSE}{k}.weight"


def dense_bias(k: int) -> str:
    """Return the name of its b."""
    return f"{_DENSE}{k}.bias"


def is_dense(name: str) -> bool:
    """Return whether a parameter is of a layer without recurrence."""
    return name.startswith(_DENSE)


def is_recurrent(name: str) -> bool:
    """Return whether a parameter is a recurrent layer's."""
    return name.removeprefix(CHARACTERS).removeprefix(ENCODER).startswith(_BODY)


def layer_of(name: str) -> int | None:
    """Return the layer of a recurrent layer's forward parameter; None for any other parameter."""
    _, mark, layer = name.rpartition("_l")
    return int(layer) if name.startswith(_BODY) and mark and layer.isdecimal() else None


def is_gain(name: str) -> bool:
    """Return whether a parameter is a gain, which begins at 1."""
    return name.startswith(f"{_BODY}gain_")


def state_weight(name: str) -> str:
    """Return the name of the W_hh beside a recurrent layer's W_ih or W_hh."""
    return name.replace("_ih_", "_hh_")
