"""Links from a task to what it started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

CONSOLES = {"cn": "console.amazonaws.cn", "us-gov": "console.amazonaws-us-gov.com"}


class ConsoleLink(BaseOperatorLink):
    """The page of the task's job or endpoint in the AWS console."""

    @property
    def name(self) -> str:
        """The link's text."""
        return "SageMaker console"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """The page of the job that `operator` has just started or found; empty before there is one."""
        return str(getattr(operator, "console_url", ""))


def console_url(region: str, page: str, name: str) -> str:
    """The address of a job's or endpoint's page, in the console of the region's partition."""
    console = next(
        (host for prefix, host in CONSOLES.items() if region.startswith(f"{prefix}-")), "console.aws.amazon.com"
    )
    return f"https://{region}.{console}/sagemaker/home?region={region}#/{page}/{name}"
