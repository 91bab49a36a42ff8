"""What every task of every DAG starts from: owner, retries, and which failures no retry can mend."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "machine-learning",
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
