from __future__ import annotations

import pytest

from include.sagemaker.api import JITTER, LONGEST_SECONDS, Backoff


@pytest.mark.parametrize("poll", [1, 30, 600])
def test_the_pace_that_was_asked_for_is_kept_and_never_made_faster(poll: float) -> None:
    for _ in range(20):
        assert poll <= Backoff().wait(poll) <= poll * (1 + JITTER)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 10), (2, 20), (4, 80), (50, LONGEST_SECONDS)])
def test_each_failed_look_in_a_row_doubles_the_wait_up_to_a_limit(failures: int, seconds: float) -> None:
    backoff = Backoff()
    backoff.failures = failures

    assert seconds <= backoff.wait(5) <= seconds * (1 + JITTER)


def test_triggerers_that_start_together_do_not_ask_together() -> None:
    assert len({Backoff().wait(2) for _ in range(20)}) > 1
