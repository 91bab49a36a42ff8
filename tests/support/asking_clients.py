"""Clients that ask an endpoint all the time while it changes, and remember who answered."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from tests.support.local_aws import eventually

FIRST_ANSWERS = 5
PAUSE_SECONDS = 0.02
"""Between two questions of a client, which otherwise take what processors there are from those that they ask."""


class Clients:
    """Several clients at once, each of which asks again soon after it has its answer.

    `ask` gives the name of the model that answered; an exception is an answer too, `failed: ...`.
    """

    def __init__(self, ask: Callable[[], str], count: int) -> None:
        self.answered_by: list[tuple[float, str]] = []
        self._ask = ask
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask_until_ended) for _ in range(count)]

    @property
    def models(self) -> set[str]:
        """Who has answered so far."""
        return {model for _, model in self.answered_by}

    def between(self, begin: float, end: float) -> list[str]:
        """Who answered what was asked between two moments of the monotonic clock."""
        return [model for asked, model in self.answered_by if begin < asked <= end]

    def after(self, moment: float) -> list[str]:
        """Who answered what was asked after a moment."""
        return self.between(moment, float("inf"))

    def wait_for(self, answers: int, *, after: float = 0.0) -> None:
        """Wait until there are so many answers to what was asked after a moment."""
        eventually(lambda: len(self.after(after)) >= answers, 90)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask_until_ended(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            asked = time.monotonic()
            try:
                model = self._ask()
            except Exception as error:  # noqa: BLE001 - any failure of a request is what the tests look for
                model = f"failed: {error}"
            self.answered_by.append((asked, model))


@contextlib.contextmanager
def asking(ask: Callable[[], str], count: int = 2) -> Iterator[Clients]:
    """Clients from their first answers on, until the end of the block."""
    clients = Clients(ask, count)
    clients.start()
    try:
        clients.wait_for(FIRST_ANSWERS)
        yield clients
    finally:
        clients.end()
