"""The places for jobs that may run at once on this machine, given out first come, first served."""

from __future__ import annotations

import os
import threading


class JobSlots:
    """A fixed number of places; who asks first runs first, whatever the order in which threads wake."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._changed = threading.Condition()
        self._waiting: list[JobSlot] = []
        self._running: set[JobSlot] = set()

    def queue(self) -> JobSlot:
        """A place in the queue; the order of these calls is the order of the jobs."""
        slot = JobSlot(self)
        with self._changed:
            self._waiting.append(slot)
        return slot

    def _wait(self, slot: JobSlot, timeout: float | None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: slot not in self._waiting or self._is_next(slot), timeout)
            if slot in self._waiting and self._is_next(slot):
                self._waiting.remove(slot)
                self._running.add(slot)
                self._changed.notify_all()
            return slot in self._running

    def _is_next(self, slot: JobSlot) -> bool:
        return slot in self._waiting[: self.count - len(self._running)]

    def _leave(self, slot: JobSlot) -> None:
        with self._changed:
            if slot in self._waiting:
                self._waiting.remove(slot)
            self._changed.notify_all()

    def cpus_per_job(self) -> int:
        """How many processors one job may use, with those that run and wait now."""
        with self._changed:
            at_once = min(self.count, len(self._running) + len(self._waiting))
        return max(1, (os.cpu_count() or 1) // max(1, at_once))

    def _release(self, slot: JobSlot) -> None:
        with self._changed:
            self._running.discard(slot)
            if slot in self._waiting:
                self._waiting.remove(slot)
            self._changed.notify_all()


class JobSlot:
    """One job's place, in the queue or running."""

    def __init__(self, slots: JobSlots) -> None:
        self._slots = slots

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a free place; False when the time is over or the place was given back meanwhile."""
        return self._slots._wait(self, timeout)

    def leave_queue(self) -> None:
        """Give up waiting; a place that was taken already is kept."""
        self._slots._leave(self)

    def release(self) -> None:
        """Give the place back, or leave the queue; safe to call twice and from any thread."""
        self._slots._release(self)
