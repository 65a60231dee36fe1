"""Being told to stop: SIGTERM, as schedulers send it, ends a search as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt in the main thread; elsewhere nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Interruption:
    """Turns the first SIGINT or SIGTERM into an event; a second one acts as it did before.

    Outside the main thread it never happens.

    Attributes
    ----------
    event : threading.Event
        Set once a signal came.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._before = {number: signal.getsignal(number) for number in _KEPT}
        self._main = threading.current_thread() is threading.main_thread()

    def listen(self) -> None:
        """Take the signals; to be called again after a library took them.

        Once one has come they stay as they are, so that a second one still acts at once.
        """
        if self._main and not self.event.is_set():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._note)

    def __enter__(self) -> Interruption:
        self.listen()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._main:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.event.set()
        signal.signal(number, self._before[signal.Signals(number)])


_KEPT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ray and Tune take these."""
