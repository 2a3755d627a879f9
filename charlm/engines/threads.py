"""The threads of an engine, and BLAS held to one thread in each of them, whoever else computes at the same time.

How many threads BLAS uses is a setting of the whole process. So those who need one are counted: the first sets it, and
the last puts back what was there. A forked child has neither its parent's threads nor their calls: it begins anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")


class SingleThreadedBlas:
    """Holds BLAS to one thread while any thread of the process is within `during`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._libraries: list[Any] | None = None
        self._users = 0
        self._before: list[tuple[Any, int]] = []  # libraries that were limited, with the threads they had

    def during(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, BLAS keeping to one thread meanwhile."""
        own = self._enter()
        try:
            return work()
        finally:
            self._leave(own)

    def _enter(self) -> list[tuple[Any, int]]:
        """Set the limit where nobody has; return what this thread alone must put back."""
        with self._lock:
            if self._libraries is None:  # found once, since that takes milliseconds
                self._libraries = list(ThreadpoolController().select(user_api="blas").lib_controllers)
            if self._users == 0:
                self._before = _limited([lib for lib in self._libraries if not _each_thread_has_its_own(lib)])
            self._users += 1
            return _limited([lib for lib in self._libraries if _each_thread_has_its_own(lib)])

    def _leave(self, own: list[tuple[Any, int]]) -> None:
        with self._lock:
            _restore(own)
            self._users -= 1
            if self._users == 0:
                _restore(self._before)

    def before_fork(self) -> None:
        """Let no call be halfway through a change while the process is copied."""
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()

    def in_child(self) -> None:
        """Begin anew: the calls of other threads are not there any more."""
        self._lock = threading.RLock()
        if self._users:
            self._users = 0
            _restore(self._before)


def _each_thread_has_its_own(library: Any) -> bool:
    """Return whether a library's number of threads is one of each thread's, not of the process: OpenMP's is."""
    return library.internal_api == "openblas" and getattr(library, "threading_layer", None) == "openmp"


def _limited(libraries: list[Any]) -> list[tuple[Any, int]]:
    """Hold libraries to one thread; return those that had more and obeyed, with what they had."""
    found = [(library, library.num_threads) for library in libraries]
    several = [(library, threads) for library, threads in found if threads is not None and threads > 1]
    for library, _ in several:
        library.set_num_threads(1)
    return [(library, threads) for library, threads in several if library.num_threads == 1]


def _restore(limited: list[tuple[Any, int]]) -> None:
    for library, threads in limited:
        _disown(library)  # the limit may be another thread's, which has left before this one
        library.set_num_threads(threads)
        _disown(library)


def _disown(library: Any) -> None:
    """Let any thread set the number: threadpoolctl from 3.7 on heeds only the thread that did so first."""
    disown = getattr(library, "clear_controlling_thread", None)
    if disown is not None:
        disown(force=True)


BLAS = SingleThreadedBlas()
_forks = 0  # between the first process and this one


def _count_fork() -> None:
    global _forks
    _forks += 1
    BLAS.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=BLAS.before_fork, after_in_parent=BLAS.after_fork, after_in_child=_count_fork)


class Threads:
    """Several threads that share out the work of their callers, of whom there may be many at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by forks: a child cannot use its parent's

    def run(self, work: Callable[[int], Result], count: int) -> list[Result]:
        """Call work(0), on this thread, to work(count - 1) at once; results in order.

        BLAS keeps to one thread in each: with its own, steps of Muon took a third longer (GRU of 480, two cores).
        """
        return BLAS.during(partial(self._run, work, count))

    def _run(self, work: Callable[[int], Result], count: int) -> list[Result]:
        others = [self._pool().submit(BLAS.during, partial(work, k)) for k in range(1, count)]
        try:
            first = work(0)
        finally:
            wait(others)  # also where this thread is interrupted: what they compute with is not theirs for longer
        return [first, *(other.result() for other in others)]

    def _pool(self) -> ThreadPoolExecutor:
        pool = self._pools.get(_forks)
        if pool is None:  # of several made at once the first stands; none has a thread before it has work
            pool = self._pools.setdefault(_forks, ThreadPoolExecutor(self.count - 1, "charlm"))
        return pool
