"""Work in threads whose results come out in the order of the tasks, few bytes of them waiting at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

HELD_BYTES = 64 << 20
"""How many bytes of results may wait for the one before them until no new task is begun."""


class Sized(Protocol):
    """A result that knows how many bytes it keeps in memory."""

    @property
    def size(self) -> int:
        """Bytes it keeps in memory."""


Task = TypeVar("Task")
Result = TypeVar("Result", bound=Sized)


class InOrder(Generic[Task, Result]):
    """Threads that take tasks in order, work on them side by side, and hand the results over in the tasks' order.

    Whoever finishes the next result due hands it over, and those behind it: there is no thread between that every
    result would have to wait for. `deliver` is never called twice at a time.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        work: Callable[[Task], Result],
        deliver: Callable[[Result], None],
        *,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self._tasks: Iterator[tuple[int, Task]] = enumerate(tasks)
        self._work = work
        self._deliver = deliver
        self._limit = held_bytes
        self._changed = threading.Condition()
        self._done: dict[int, Result] = {}
        self._held = 0
        self._due = 0
        self._is_delivering = False
        self._is_stopped = False
        self._error: BaseException | None = None
        self._ended: list[str] = []
        self._woken: SimpleQueue[None] = SimpleQueue()

    def run(self, threads: int, tick: Callable[[], None], *, seconds: float = 0.2) -> None:
        """Work until no task is left; `tick` is called in this thread meanwhile.

        Raises what the work, the delivery or `tick` raised, when every thread has ended; so does an interrupt.
        """
        workers = [threading.Thread(target=self._serve, name=f"packing-{number}") for number in range(threads)]
        try:
            for worker in workers:
                worker.start()
            while self._are_working(workers, seconds):
                tick()
        finally:
            self.stop()
            while self._are_working(workers, seconds):
                pass
            for worker in workers:
                if worker.ident is not None:
                    worker.join()  # it has left its work
        if self._error is not None:
            raise self._error

    def _are_working(self, workers: Sequence[threading.Thread], seconds: float) -> bool:
        """Wait at most this long for one of the workers to end; whether there are others.

        Not by `join`: in Python 3.11 an interrupt of it takes the thread for ended, and a process that ends while a
        thread is inside OpenCV aborts.
        """
        started = sum(worker.ident is not None for worker in workers)
        if len(self._ended) < started:
            with suppress(Empty):
                self._woken.get(timeout=seconds)
        return len(self._ended) < started

    def stop(self) -> None:
        """Begin no further task."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _serve(self) -> None:
        try:
            while (taken := self._take()) is not None:
                number, task = taken
                result = self._work(task)
                if self._put(number, result):
                    self._deliver_due()
        except BaseException as error:  # noqa: BLE001 - raised again by run(), in the thread that waits
            with self._changed:
                self._error = self._error or error
            self.stop()
        finally:
            self._ended.append(threading.current_thread().name)
            self._woken.put(None)

    def _take(self) -> tuple[int, Task] | None:
        with self._changed:
            while self._held > self._limit and not self._is_stopped:
                self._changed.wait()
            return None if self._is_stopped else next(self._tasks, None)

    def _put(self, number: int, result: Result) -> bool:
        """Keep a result; whether the caller is the one to hand over."""
        with self._changed:
            self._done[number] = result
            self._held += result.size
            if self._is_delivering or self._due not in self._done:
                return False
            self._is_delivering = True
            return True

    def _deliver_due(self) -> None:
        while True:
            with self._changed:
                result = None if self._is_stopped else self._done.pop(self._due, None)
                if result is None:
                    self._is_delivering = False
                    return
                self._due += 1
            self._deliver(result)
            with self._changed:
                was_full = self._held > self._limit
                self._held -= result.size
                if was_full:
                    self._changed.notify_all()
