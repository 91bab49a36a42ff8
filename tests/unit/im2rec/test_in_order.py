from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from im2rec.in_order import InOrder


@dataclass(frozen=True)
class Number:
    value: int
    size: int = 1


def nothing() -> None:
    """A tick that shows nothing."""


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 5), st.integers(0, 60))
def test_results_come_in_the_order_of_tasks_whatever_the_threads_and_the_limit(
    sizes: list[int], threads: int, held: int
) -> None:
    delivered: list[Number] = []
    tasks = [Number(number, size) for number, size in enumerate(sizes)]
    InOrder(iter(tasks), lambda task: task, delivered.append, held_bytes=held).run(threads, nothing, seconds=0.01)
    assert delivered == tasks


def test_a_slow_task_holds_no_more_back_than_the_limit() -> None:
    begun: list[int] = []
    may_end = threading.Event()

    def work(number: int) -> Number:
        begun.append(number)
        if number == 0:
            assert may_end.wait(30)
        return Number(number, 10)

    def tick() -> None:
        if len(begun) == 5:  # the slow one, and four results that together are over the limit
            may_end.set()

    delivered: list[Number] = []
    InOrder(range(50), work, delivered.append, held_bytes=35).run(2, tick, seconds=0.01)
    assert [result.value for result in delivered] == list(range(50))


@pytest.mark.parametrize("fails_in", ["work", "deliver", "tasks"])
def test_an_error_ends_every_thread_and_is_raised(fails_in: str) -> None:
    def fail(place: str, number: int) -> None:
        if place == fails_in and number == 7:
            raise OSError("disk")

    def work(number: int) -> Number:
        fail("work", number)
        return Number(number)

    def tasks():
        for number in range(1000):
            fail("tasks", number)
            yield number

    delivered: list[Number] = []

    def deliver(result: Number) -> None:
        fail("deliver", result.value)
        delivered.append(result)

    before = threading.active_count()
    with pytest.raises(OSError, match="disk"):
        InOrder(tasks(), work, deliver).run(3, nothing, seconds=0.01)
    assert threading.active_count() == before
    assert [result.value for result in delivered] == list(range(len(delivered)))
    assert len(delivered) <= 7


def test_an_interrupt_is_raised_when_the_threads_have_ended() -> None:
    stopped, ended = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    class Stoppable(InOrder[int, Number]):
        def stop(self) -> None:
            super().stop()
            stopped.set()

    def work(number: int) -> Number:
        signal.pthread_kill(main, signal.SIGINT)
        assert stopped.wait(30)
        time.sleep(0.3)  # as long as it takes to decode an image
        ended.set()
        return Number(number)

    with pytest.raises(KeyboardInterrupt):
        Stoppable(range(5), work, lambda _: None).run(1, nothing, seconds=30)
    assert ended.is_set()
