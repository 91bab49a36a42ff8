from __future__ import annotations

from demo.run import LOG_LINES, reason

FAILED_LOG = [
    "::group::Pre Execute",
    "Worker startup parse complete",
    "::endgroup::",
    "Task failed with exception",
    "ProblemsError: There are problems:",
    "tuning.strategie = x: no such field",
    "::group::Post Execute",
    "Retry policy decision",
    "::endgroup::",
]


def test_only_the_reason_of_a_failed_task_is_shown() -> None:
    assert reason(FAILED_LOG) == ["ProblemsError: There are problems:", "tuning.strategie = x: no such field"]


def test_a_refusal_is_shown_with_all_its_lines() -> None:
    refused = ["::endgroup::", "Task failed: There are problems:", "  tuning.strategie = x: no such field"]

    assert reason([*refused, "::group::Post Execute", "Retry policy decision"]) == refused[1:]


def test_a_log_that_breaks_off_shows_its_end() -> None:
    log = [f"line {number}" for number in range(100)]

    assert reason(log) == log[-LOG_LINES:]
