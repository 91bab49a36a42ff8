"""One run at a time trains a dataset's champion further."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include import retraining
from include.retraining import RunState, RunStates, late_runs, set_deadline, take_turn
from include.sagemaker.naming import Run
from tests.support.dataset_bucket import Bucket, bucket, endpoint, s3

__all__ = ["bucket", "endpoint", "s3"]  # fixtures

FIRST, SECOND = Run("retrain_on_new_images", "retrain__pets__v1__1"), Run("retrain_on_new_images", "manual__2")


def all_are(state: RunState) -> RunStates:
    return lambda _: state


def test_the_first_run_that_asks_has_the_turn_until_it_has_ended(bucket: Bucket) -> None:
    def turn(run: Run, state: RunState, dataset: str = "pets") -> Run:
        return take_turn(bucket.s3, bucket.name, dataset, run, all_are(state))

    assert turn(FIRST, "unfinished") == FIRST
    assert turn(FIRST, "unfinished") == FIRST, "a second try of the run"
    assert turn(SECOND, "unfinished") == FIRST
    assert turn(SECOND, "unfinished", "birds") == SECOND, "another dataset's turn"
    assert turn(SECOND, "over") == SECOND
    assert turn(FIRST, "unfinished") == SECOND


def test_a_run_that_airflow_does_not_know_keeps_its_turn_while_it_may_be_started(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_turn(bucket.s3, bucket.name, "pets", FIRST, all_are("unknown"))

    assert take_turn(bucket.s3, bucket.name, "pets", SECOND, all_are("unknown")) == FIRST

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Later:
            return cls.fromtimestamp((datetime.now(UTC) + timedelta(minutes=11)).timestamp(), tz)

    monkeypatch.setattr(retraining, "datetime", Later)

    assert take_turn(bucket.s3, bucket.name, "pets", SECOND, all_are("unknown")) == SECOND


def test_a_run_that_has_not_ended_by_its_deadline_is_reported_once(bucket: Bucket) -> None:
    def late(state: RunState) -> list[tuple[str, Run]]:
        found = late_runs(bucket.s3, bucket.name, ["pets", "birds"], all_are(state))
        return [(dataset, turn.run) for dataset, turn in found]

    now = datetime.now(UTC)
    for dataset, run in (("pets", FIRST), ("birds", SECOND)):
        take_turn(bucket.s3, bucket.name, dataset, run, all_are("over"))
    assert late("unfinished") == [], "none has a deadline"
    set_deadline(bucket.s3, bucket.name, "birds", SECOND, now + timedelta(hours=1))
    set_deadline(bucket.s3, bucket.name, "pets", FIRST, now - timedelta(seconds=1))
    assert late("over") == []
    assert late("unfinished") == [("pets", FIRST)]
    assert late("unfinished") == []
    assert take_turn(bucket.s3, bucket.name, "birds", SECOND, all_are("unfinished")) == SECOND, "it keeps its turn"


def test_a_run_that_has_lost_its_turn_sets_no_deadline(bucket: Bucket) -> None:
    take_turn(bucket.s3, bucket.name, "pets", FIRST, all_are("over"))
    set_deadline(bucket.s3, bucket.name, "pets", SECOND, datetime.now(UTC) - timedelta(hours=1))
    assert list(late_runs(bucket.s3, bucket.name, ["pets"], all_are("unfinished"))) == []


@pytest.mark.parametrize("there", [False, True])
def test_of_two_runs_that_ask_at_once_one_has_the_turn(bucket: Bucket, there: bool) -> None:
    """The other run is quicker: it takes the turn after this one has read it, and before this one writes it."""
    before = Run("retrain_on_new_images", "before")
    if there:
        take_turn(bucket.s3, bucket.name, "pets", before, all_are("over"))

    def states(run: Run) -> RunState:
        return "over" if run == before else "unfinished"

    class Slow:
        asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(bucket.s3, name)

        def put_object(self, **options: Any) -> Any:
            if not self.asked:
                assert take_turn(bucket.s3, bucket.name, "pets", SECOND, states) == SECOND
            self.asked += 1
            return bucket.s3.put_object(**options)

    slow: Any = Slow()

    assert take_turn(slow, bucket.name, "pets", FIRST, states) == SECOND
    assert slow.asked == 1


def test_the_turn_is_no_dataset_version(bucket: Bucket) -> None:
    bucket.put_images({"cat": 12, "dog": 12})
    version = bucket.build(bucket.conf(source=[f"s3://{bucket.name}/images/"]))

    take_turn(bucket.s3, bucket.name, "pets", FIRST, all_are("unknown"))

    assert retraining.Turn.model_validate_json(bucket.get("datasets/pets/turn.json")).run == FIRST
    assert bucket.listing(version.layout.prefix) != []
