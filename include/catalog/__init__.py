"""Answers that are asked for in the background and kept for some seconds, so that no page waits for AWS.

A look is a function without arguments; its key says what it reads. An answer that is older than its seconds is given
at once, and asked for again meanwhile.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue
from time import monotonic
from typing import Any, Generic, TypeVar, cast

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

FOREVER = math.inf
"""Seconds for which an answer is kept that cannot change."""
Kept = float | Callable[[Any], float]
"""Seconds for which an answer is kept, or what finds them by the answer."""
WAIT_UNTIL: ContextVar[float] = ContextVar("WAIT_UNTIL", default=math.inf)
"""Until when, by the monotonic clock, first answers are waited for: those that one page needs are, together."""
AFTER_AN_ERROR = 5.0
"""Seconds after which a look that failed is taken again, when somebody asks."""


@dataclass(frozen=True)
class Seen(Generic[Answer]):
    """The last good answer to a look, when it came, and why a later look failed, if it did.

    `answer` is None before the first one has come.
    """

    answer: Answer | None = None
    at: datetime | None = None
    error: str = ""

    @property
    def is_awaited(self) -> bool:
        """Whether neither an answer nor an error has come yet."""
        return self.at is None and not self.error


@dataclass
class _Kept:
    seen: Seen[Any] = field(default_factory=Seen)
    stale_at: float = -math.inf
    is_asked: bool = False
    is_outdated: bool = False
    came: threading.Event = field(default_factory=threading.Event)


class Lookups:
    """Looks by their keys: `most` answers are kept, and `workers` threads ask, which start with the first look."""

    def __init__(self, *, workers: int = 4, most: int = 1000, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._workers = workers
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._asked: SimpleQueue[tuple[_Kept, Callable[[], Any], Kept]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def see(
        self, key: Hashable, look: Callable[[], Answer], *, seconds: Kept = 10.0, wait: float = 0.0
    ) -> Seen[Answer]:
        """The last answer to a look, which is taken again if that is older than `seconds`, or than they give for it.

        The first answer is waited for, for `wait` seconds at most, and not beyond WAIT_UNTIL.
        """
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            if not kept.is_asked and self._clock() >= kept.stale_at:
                kept.is_asked = True
                self._asked.put((kept, look, seconds))
                self._start()
        if kept.seen.is_awaited and wait:
            kept.came.wait(max(0.0, min(wait, WAIT_UNTIL.get() - monotonic())))
        return cast("Seen[Answer]", kept.seen)

    def forget(self, belongs: Callable[[Any], bool]) -> None:
        """Let every look whose key `belongs` be taken again, as what it reads has changed."""
        with self._lock:
            for key, kept in self._kept.items():
                if belongs(key):
                    kept.stale_at, kept.is_outdated = -math.inf, kept.is_asked

    def _start(self) -> None:
        if len(self._threads) < self._workers:
            thread = threading.Thread(target=self._answer, name=f"catalog-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer(self) -> None:
        while True:
            kept, look, seconds = self._asked.get()
            try:
                answer = look()
                fresh = seconds(answer) if callable(seconds) else seconds
                seen = Seen(answer, datetime.now(UTC))
            except Exception as error:
                log.debug("A look failed.", exc_info=True)
                seen, fresh = Seen(kept.seen.answer, kept.seen.at, _in_words(error)), AFTER_AN_ERROR
            with self._lock:
                kept.seen, kept.stale_at = seen, -math.inf if kept.is_outdated else self._clock() + fresh
                kept.is_asked = kept.is_outdated = False
            kept.came.set()


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
