"""What every task of every DAG starts from: owner, retries, and which failures no retry can mend."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

JOBS_POOL = os.environ.get("IMAGE_CLASSIFICATION_POOL") or "default_pool"
"""Pool of the tasks that start jobs: as many jobs run at once as it has slots, if it includes deferred tasks."""

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "machine-learning",
    # Documents are large and stand in XCom. Airflow gives mapped tasks no default of this: they have it themselves.
    "show_return_value_in_logs": False,
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
