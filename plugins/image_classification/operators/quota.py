"""An account that is full: other jobs hold the machines that this one wants, and may give them back.

Sources: "Amazon SageMaker AI endpoints and quotas"; the message of ResourceLimitExceeded, "The account-level service
limit 'ml.g5.xlarge for training job usage' is 2 Instances, with current utilization of 2 Instances and a request delta
of 1 Instances."
"""

from __future__ import annotations

import re
from datetime import timedelta

from airflow.sdk.exceptions import AirflowException

FULL = "ResourceLimitExceeded"
PATIENCE = timedelta(hours=6)
"""How long a task waits for its turn."""

LONGEST_WAIT = timedelta(minutes=10)
SHARE_OF_ELAPSED = 0.5

LIMIT = re.compile(r"limit '(?P<quota>[^']+)' is (?P<limit>\d+)\b.*?request delta of (?P<asked>\d+)\b", re.DOTALL)


class AccountFullError(AirflowException):
    """AWS takes no further job of this kind just now."""

    @property
    def is_hopeless(self) -> bool:
        """Whether the quota is too small for the job also when no other runs."""
        found = LIMIT.search(str(self))
        return found is not None and int(found["asked"]) > int(found["limit"])

    @property
    def remedy(self) -> str:
        """What a person can do about it."""
        found = LIMIT.search(str(self))
        quota = f"'{found['quota']}'" if found else "of the instance type"
        return f"Raise the quota {quota} in Service Quotas, or choose another resources.instance_type."


def seconds_to_wait(poll_seconds: float, waited: float) -> float | None:
    """Seconds until the next try, further and further apart; None when the patience is at its end."""
    if waited >= PATIENCE.total_seconds():
        return None
    return min(max(2 * poll_seconds, SHARE_OF_ELAPSED * waited), LONGEST_WAIT.total_seconds())
