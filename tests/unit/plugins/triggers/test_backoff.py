from __future__ import annotations

import pytest

from image_classification.triggers.backoff import JITTER, SLOWEST_SECONDS, Backoff


@pytest.mark.parametrize(
    ("elapsed", "pace"),
    [(0, 2), (10, 2), (100, 10), (100_000, SLOWEST_SECONDS)],
    ids=["first", "short", "long", "longest"],
)
def test_the_wait_grows_with_the_time_waited_between_the_poll_and_the_slowest_pace(elapsed: float, pace: float) -> None:
    for _ in range(20):
        assert pace * (1 - JITTER) <= Backoff(2).wait(elapsed) <= pace * (1 + JITTER)


def test_a_poll_slower_than_the_slowest_pace_is_kept() -> None:
    assert Backoff(120).wait(0) >= 120 * (1 - JITTER)


def test_each_throttled_call_in_a_row_doubles_the_wait() -> None:
    backoff = Backoff(2)
    backoff.throttled = 2

    assert 8 * (1 - JITTER) <= backoff.wait(0) <= 8 * (1 + JITTER)


def test_jobs_that_start_together_do_not_ask_together() -> None:
    assert len({Backoff(2).wait(0) for _ in range(20)}) > 1
