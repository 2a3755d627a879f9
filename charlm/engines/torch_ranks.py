"""The processes of a run on several GPUs or machines, as PyTorch connects them, and what its errors mean."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed

from charlm.errors import CharlmError

_PATIENCE = datetime.timedelta(minutes=10)  # with a rank that does not answer in the middle of a step
_READING = datetime.timedelta(days=7)  # with rank 0, which may read a corpus or evaluate between two steps


class Ranks:
    """The processes that torchrun started, of which this is one; messages go through rank 0."""

    def __init__(self) -> None:
        """Meet the others: NCCL adds up gradients on GPUs, gloo on CPUs and carries the messages."""
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with one_line_errors():
            store, self.rank, self.count = next(distributed.rendezvous("env://", timeout=_PATIENCE))
            # A store may outlive the ranks of before a restart: their addresses are not to be taken for the new ones.
            store = distributed.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
            distributed.init_process_group(backend, None, _PATIENCE, self.count, self.rank, store)
            self._control = distributed.new_group(backend="gloo", timeout=_READING)
        self.local = int(os.environ.get("LOCAL_RANK", "0"))

    def scatter(self, parts: list[Any] | None = None) -> Any:
        """Send each rank its part, from rank 0, which alone gives them; return one's own."""
        mine: list[Any] = [None]
        with one_line_errors():
            distributed.scatter_object_list(mine, parts, src=0, group=self._control)
        return mine[0]

    def gather(self, part: Any) -> list[Any]:
        """Return all ranks' parts, in order, on rank 0; an empty list elsewhere."""
        parts: list[Any] = [None] * self.count if self.rank == 0 else []
        with one_line_errors():
            distributed.gather_object(part, parts or None, dst=0, group=self._control)
        return parts

    def leave(self) -> None:
        """Part from the others, once all are ready to."""
        with one_line_errors():
            distributed.barrier(self._control)
            distributed.destroy_process_group()


@contextlib.contextmanager
def one_line_errors(alone: bool = False) -> Iterator[None]:
    """Say what PyTorch's errors mean: too little memory, or a rank that did not do its part."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise MemoryError from None
    except RuntimeError as error:
        if alone:
            raise
        raise CharlmError("another rank was lost; the state saved last is kept: go on with --resume") from error
