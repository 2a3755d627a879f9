"""Signals that end a training run: noted, so that the run saves itself after its step."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


class Interrupted(BaseException):
    """A signal came before there was anything to save."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


class Signals:
    """While open, signals only ask the run to stop after its step.

    What was ignored stays ignored, such as SIGHUP under nohup. In a thread other than the main one, which Python
    gives no handlers, signals do what they did.

    `process_ends` says that the process ends with the run: if a signal came, then no further one may cut short the
    way out, not even between the run's end and the process's.
    """

    def __init__(self, process_ends: bool = False) -> None:
        self.number = 0
        self._process_ends = process_ends
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in STOPPING:
            handler = signal.getsignal(number)
            if handler in (signal.SIG_IGN, None):  # None: not set from Python, so it could not be put back
                continue
            try:
                signal.signal(number, self._note)
            except ValueError:
                break
            self._before[number] = handler
        return self

    def __exit__(self, *_: object) -> None:
        ignored = self._process_ends and self.number != 0
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if ignored else handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """While open, a signal raises Interrupted: for work that may take long and has nothing to save yet."""
        self._at_once = True
        try:
            if self.number:
                raise Interrupted(self.number)
            yield
        finally:
            self._at_once = False

    def stop(self) -> bool:
        return self.number != 0

    def _note(self, number: int, _: FrameType | None) -> None:
        first, self.number = self.number == 0, self.number or number
        if first and self._at_once:
            raise Interrupted(number)


def ignore_signals() -> None:
    """Let nothing cut short the way out of a process that was asked to end."""
    with contextlib.suppress(ValueError):
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
