"""Whose turn it is to train a dataset's champion further: one run at a time.

The turn is an object beside the dataset's versions, `datasets/NAME/turn.json`, that names the run. It is written if
there is none, or instead of exactly the object that was read, so of two runs that want it one gets it (S3 user
guide, "Add preconditions to S3 operations with conditional requests"). No run gives it back: Airflow is asked whether
the run that has it has ended. So a run that was killed holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.sagemaker.naming import Run

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RunState = Literal["unknown", "unfinished", "over"]
RunStates = Callable[[Run], RunState]
"""What Airflow knows of a run."""

STARTED_WITHIN = timedelta(minutes=10)
"""So long a run that Airflow does not know yet keeps its turn: it is being started."""

TAKEN_BY_ANOTHER = frozenset({404, 409, 412})
"""What S3 answers if the object is not the one that was read."""


class Turn(BaseModel):
    """The run that trains a dataset's champion further, or is about to.

    From `late_at` on people are notified if it has not ended; None if no one is to be notified, or if they have been.
    """

    model_config = ConfigDict(frozen=True)

    dag_id: str
    run_id: str
    late_at: datetime | None = None

    @property
    def run(self) -> Run:
        """The run as other modules know it."""
        return Run(self.dag_id, self.run_id)


def take_turn(s3: S3Client, bucket: str, dataset: str, run: Run, states: RunStates) -> Run:
    """The run whose turn it is: `run`, or one that has the turn and has not ended."""
    while True:
        found = _read(s3, bucket, dataset)
        if found and (found.turn.run == run or _holds(states(found.turn.run), datetime.now(UTC) - found.written)):
            return found.turn.run
        wanted = Turn(dag_id=run.dag_id, run_id=run.run_id)
        if _write(s3, bucket, dataset, wanted, in_place_of=found):
            return run


def set_deadline(s3: S3Client, bucket: str, dataset: str, run: Run, late_at: datetime) -> None:
    """Note until when the run that has the turn should have ended; nothing if another run has it by now."""
    found = _read(s3, bucket, dataset)
    if found and found.turn.run == run:
        _write(s3, bucket, dataset, found.turn.model_copy(update={"late_at": late_at}), in_place_of=found)


def late_runs(s3: S3Client, bucket: str, datasets: Iterable[str], states: RunStates) -> Iterator[tuple[str, Turn]]:
    """The runs that should have ended and have not, by their datasets. Each is given once, to one caller."""
    for dataset in datasets:
        found = _read(s3, bucket, dataset)
        if found is None or found.turn.late_at is None or found.turn.late_at > datetime.now(UTC):
            continue
        if states(found.turn.run) != "unfinished":
            continue
        if _write(s3, bucket, dataset, found.turn.model_copy(update={"late_at": None}), in_place_of=found):
            yield dataset, found.turn


@dataclass(frozen=True)
class _StoredTurn:
    turn: Turn
    etag: str
    written: datetime


def _key(dataset: str) -> str:
    return f"datasets/{dataset}/turn.json"


def _read(s3: S3Client, bucket: str, dataset: str) -> _StoredTurn | None:
    try:
        found = s3.get_object(Bucket=bucket, Key=_key(dataset))
    except ClientError as error:
        if _status(error) != 404:
            raise
        return None
    return _StoredTurn(Turn.model_validate_json(found["Body"].read()), found["ETag"], found["LastModified"])


def _write(s3: S3Client, bucket: str, dataset: str, turn: Turn, *, in_place_of: _StoredTurn | None) -> bool:
    """Write the turn instead of the one that was read, or of none; False if another run was quicker."""
    condition = {"IfMatch": in_place_of.etag} if in_place_of else {"IfNoneMatch": "*"}
    body = turn.model_dump_json(exclude_none=True).encode()
    try:
        s3.put_object(Bucket=bucket, Key=_key(dataset), Body=body, ContentType="application/json", **condition)  # type: ignore[arg-type]
    except ClientError as error:
        if _status(error) not in TAKEN_BY_ANOTHER:
            raise
        return False
    return True


def _holds(state: RunState, age: timedelta) -> bool:
    return state == "unfinished" or (state == "unknown" and age < STARTED_WITHIN)


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
