from __future__ import annotations

import threading

from local_aws.job_slots import JobSlots


def test_places_are_given_in_the_order_of_asking() -> None:
    slots = JobSlots(1)
    first, second, third = slots.queue(), slots.queue(), slots.queue()
    assert first.wait(1)
    assert not third.wait(0.01)
    first.release()
    assert not third.wait(0.01)
    assert second.wait(1)
    second.release()
    assert third.wait(1)


def test_who_leaves_the_queue_is_woken_without_a_place() -> None:
    slots = JobSlots(1)
    running, waiting, behind = slots.queue(), slots.queue(), slots.queue()
    running.wait()
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(waiting.wait()))
    thread.start()
    waiting.leave_queue()
    thread.join(5)
    assert got == [False]
    running.release()
    running.release()
    assert behind.wait(1)


def test_leaving_the_queue_keeps_a_place_that_was_taken() -> None:
    slots = JobSlots(1)
    running, waiting = slots.queue(), slots.queue()
    running.wait()
    running.leave_queue()
    assert not waiting.wait(0.01)


def test_one_job_alone_may_use_every_processor() -> None:
    slots = JobSlots(2)
    slots.queue().wait()
    alone = slots.cpus_per_job()
    slots.queue().wait()
    assert slots.cpus_per_job() == max(1, alone // 2)
