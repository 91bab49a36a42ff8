"""Whose turn it is to train a dataset's champion further: one run at a time.

The turn is an object beside the dataset's versions, `datasets/NAME/turn.json`, that names the run. It is written if
there is none, or in the place of exactly the object that was read, so of two runs that want it one gets it (S3 user
guide, "Add preconditions to S3 operations with conditional requests"). No run gives it back: Airflow is asked whether
the run that has it has ended. So a run that was killed holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """The run that trains a dataset's champion further, or is about to."""

    model_config = ConfigDict(frozen=True)

    dag_id: str
    run_id: str

    @property
    def run(self) -> Run:
        """The run as other modules know it."""
        return Run(self.dag_id, self.run_id)


def take_turn(s3: S3Client, bucket: str, dataset: str, run: Run, states: RunStates) -> Run:
    """The run whose turn it is: `run`, or one that has the turn and has not ended."""
    key, wanted = f"datasets/{dataset}/turn.json", Turn(dag_id=run.dag_id, run_id=run.run_id)
    while True:
        try:
            found = s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _status(error) != 404:
                raise
            condition = {"IfNoneMatch": "*"}
        else:
            turn = Turn.model_validate_json(found["Body"].read())
            if turn == wanted or _holds(states(turn.run), datetime.now(UTC) - found["LastModified"]):
                return turn.run
            condition = {"IfMatch": found["ETag"]}
        try:
            body = wanted.model_dump_json().encode()
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition)  # type: ignore[arg-type]
        except ClientError as error:
            if _status(error) not in TAKEN_BY_ANOTHER:
                raise
        else:
            return run


def _holds(state: RunState, age: timedelta) -> bool:
    return state == "unfinished" or (state == "unknown" and age < STARTED_WITHIN)


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
