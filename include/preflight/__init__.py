"""The questions that a check asks, all at once, and what they find: problems that stop a run, notes for its log.

Each AWS service is asked for a few seconds at most; one that does not answer leaves a note. What takes long to look up
and changes rarely is kept in the output bucket for the next run.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from include.problems import Problem, ProblemsError
from include.run_conf.fields import UnknownValueError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Stage = Literal["dataset", "training", "endpoint", "prediction"]
"""`dataset`: a version is built or grown; `training`: jobs train, tune and measure; `endpoint`: one is deployed;
`prediction`: a batch transform of images by a model that is there."""
WHOLE_CHAIN: tuple[Stage, ...] = ("dataset", "training", "endpoint")
ONLY_DEPLOYS: tuple[Stage, ...] = ("endpoint",)
PATIENCE = 3.5
"""Seconds that all services together are waited for."""
CLIENT_CONFIG: dict[str, Any] = {
    "connect_timeout": 1,
    "read_timeout": 2.5,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
}
"""botocore's configuration of the clients that ask: few retries, short time-outs."""
Use = Literal["training", "hosting", "batchtransform"]
"""What a machine is used for: prices differ."""
REFUSALS = ("AccessDenied", "Unauthorized", "NotAuthorized", "OptInRequired", "SubscriptionRequired")
"""In the codes of errors that say nothing about what was asked for: the caller lacks the permission."""


class PreflightError(ProblemsError):
    """The run would fail or make something useless; nothing was started."""

    title = "This run cannot work and was not started"


@dataclass(frozen=True)
class Charge:
    """Machines of one kind for so many hours; `hours` is None for an endpoint, which runs until it is deleted."""

    what: str
    field: str
    machine: str
    use: Use
    machines: int
    hours: float | None


@dataclass(frozen=True)
class Charged:
    """A charge with its price, None if that is not known."""

    charge: Charge
    usd_per_hour: float | None

    @property
    def usd(self) -> float | None:
        """What it costs at most; None for an endpoint, and if the price is not known."""
        if self.usd_per_hour is None or self.charge.hours is None:
            return None
        return self.usd_per_hour * self.charge.machines * self.charge.hours


@dataclass(frozen=True)
class Findings:
    """Problems, and notes on what could not be checked or is worth knowing.

    `charged` is what the run is charged for, `table` the same in lines for a log.
    """

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    charged: tuple[Charged, ...] = ()

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> Findings:
        """Findings of problems alone."""
        return cls(problems=tuple(problems))

    @classmethod
    def note(cls, text: str) -> Findings:
        """Findings of one note alone."""
        return cls(notes=(text,))

    @classmethod
    def joined(cls, findings: Iterable[Findings]) -> Findings:
        """All findings in one; a problem that was found twice is reported once."""
        several = tuple(findings)
        problems = [problem for each in several for problem in each.problems]
        return cls(
            problems=tuple({str(problem): problem for problem in problems}.values()),
            notes=tuple(dict.fromkeys(note for each in several for note in each.notes)),
            table=tuple(line for each in several for line in each.table),
            charged=tuple(charged for each in several for charged in each.charged),
        )


Question = Callable[[], Findings]


class Clients(Protocol):
    """Makes boto3 clients with the installation's connection; the region is the installation's if none is given."""

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
    if any(word in code for word in REFUSALS):
        return f"{error.operation_name} is not permitted"
    return f"{error.operation_name} answers {code}"


@dataclass(frozen=True)
class Remembered:
    """A JSON object at `s3://BUCKET/preflight/NAME.json`; if it cannot be read or written, nothing is remembered."""

    s3: S3Client
    bucket: str
    name: str

    def read(self) -> dict[str, Any]:
        """What is remembered, empty if nothing is."""
        try:
            body = self.s3.get_object(Bucket=self.bucket, Key=self._key)["Body"].read()
            content = json.loads(body)
        except (ClientError, BotoCoreError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, content: dict[str, Any]) -> None:
        """Remember this instead."""
        with contextlib.suppress(ClientError, BotoCoreError):
            self.s3.put_object(Bucket=self.bucket, Key=self._key, Body=json.dumps(content).encode())

    @property
    def _key(self) -> str:
        return f"preflight/{self.name}.json"


def _answer(subject: str, future: Future[Findings], patience: float) -> Findings:
    if not future.done():
        return Findings.note(f"{subject}: no answer within {patience:g} s")
    try:
        return future.result()
    except UnknownValueError:
        return Findings()
    except (ClientError, BotoCoreError) as error:
        return Findings.note(f"{subject}: {reason(error)}")
