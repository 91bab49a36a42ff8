"""AWS services asked at the same time, each for a few seconds at most; one that does not answer leaves a note."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from include.preflight.findings import Findings
from include.run_conf.section import UnknownValueError

PATIENCE = 3.5
"""Seconds that all services together are waited for."""
CLIENT_CONFIG: dict[str, Any] = {
    "connect_timeout": 1,
    "read_timeout": 2.5,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
}
"""botocore's configuration of the clients that ask: few retries, short time-outs."""

REFUSALS = ("AccessDenied", "Unauthorized", "NotAuthorized", "OptInRequired", "SubscriptionRequired")

Question = Callable[[], Findings]


class Clients(Protocol):
    """Makes boto3 clients with the deployment's connection; the region is the deployment's where none is given."""

    def __call__(self, service: str, region: str | None = None) -> Any:
        """A client of one service (`iam`, `pricing`, ...)."""


def ask(questions: Mapping[str, Question], *, patience: float = PATIENCE) -> dict[str, Findings]:
    """Ask every question in a thread of its own; what is not answered in time becomes a note under its name."""
    if not questions:
        return {}
    pool = ThreadPoolExecutor(max_workers=len(questions), thread_name_prefix="preflight")
    try:
        asked = {subject: pool.submit(question) for subject, question in questions.items()}
        wait(asked.values(), timeout=patience)
        return {subject: _answer(subject, future, patience) for subject, future in asked.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def reason(error: ClientError | BotoCoreError) -> str:
    """Why a service gave no answer, in a few words."""
    if not isinstance(error, ClientError):
        return f"no answer ({type(error).__name__})"
    code = error.response["Error"]["Code"]
    if is_refusal(error):
        return f"{error.operation_name} is not permitted"
    return f"{error.operation_name} answers {code}"


def is_refusal(error: ClientError) -> bool:
    """Whether the caller lacks the permission, which says nothing about what it asked for."""
    return any(word in error.response["Error"]["Code"] for word in REFUSALS)


def _answer(subject: str, future: Future[Findings], patience: float) -> Findings:
    if not future.done():
        return Findings.note(f"{subject}: no answer within {patience:g} s")
    try:
        return future.result()
    except UnknownValueError:
        return Findings()
    except (ClientError, BotoCoreError) as error:
        return Findings.note(f"{subject}: {reason(error)}")
