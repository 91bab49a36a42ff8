"""What every task of every DAG starts from: owner, retries, and which failures no retry can mend."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

if TYPE_CHECKING:
    from airflow.sdk import Context

JOBS_POOL = os.environ.get("IMAGE_CLASSIFICATION_POOL") or "default_pool"
"""Pool of the tasks that start jobs: as many jobs run at once as it has slots, if it includes deferred tasks."""

FAILURE = "image_classification_failure"
"""Under which name a failed task passes on why it failed; the plugin `run_notes` knows it too."""
LONGEST_FAILURE = 300


def keep_failure(airflow: Context) -> None:
    """Pass on the message of a failed task, for the run's note: the `on_failure_callback` of every task.

    There is none of a task whose process was killed: what Airflow calls this with then has no exception.
    """
    error = airflow.get("exception")
    message = " ".join(str(error or "").split())
    if message:
        short = message if len(message) <= LONGEST_FAILURE else f"{message[: LONGEST_FAILURE - 3]}..."
        airflow["ti"].xcom_push(key=FAILURE, value=short)


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "machine-learning",
    # Documents are large and stand in XCom. Airflow gives mapped tasks no default of this: they have it themselves.
    "show_return_value_in_logs": False,
    "on_failure_callback": keep_failure,
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=ValueError,
                action=RetryAction.FAIL,
                reason="Conf, data or model are wrong: the same values fail the same way again.",
            )
        ]
    ),
}
"""Throttling, lost connections and missing capacity are tried again, further and further apart."""
