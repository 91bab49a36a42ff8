"""What a retraining looks at before it packs or pays for anything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from image_classification import context
from image_classification.tasks import growth
from include.deployment.registry import RegisteredModel
from include.preflight import PreflightError
from include.problems import ProblemsError
from include.promotion.champion import Champion, keep_run_conf
from include.retraining import FullTraining, Line, Retraining, set_deadline, take_turn
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from include.settings import Settings
from include.training.best_model import BestModel
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import SETTINGS, run_as_task

ARTIFACT = f"s3://{BUCKET}/jobs/champion/output/model.tar.gz"
CHAMPION = RegisteredModel(
    arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/image-classification-pets/1",
    group="image-classification-pets",
    version=1,
    approval="Approved",
    artifact=ARTIFACT,
    image="image",
    job="champion",
    dataset="pets",
    dataset_version="v1",
    dataset_uri=f"s3://{BUCKET}/datasets/pets/v1/",
    accuracy=0.9,
)
BASE = BestModel(job="champion", objective="validation:accuracy", value=0.9, artifact=ARTIFACT, hyperparameters={})


@pytest.fixture
def grown(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset `pets` that has gained an image, and has a champion."""

    def found(s3: Any, line: Line, dataset: str, **_: Any) -> Retraining:
        assert dataset == "pets"
        source = line.conf.dataset.model_copy(update={"name": "pets", "source": [f"s3://{BUCKET}/data/"]})
        conf = line.conf.model_copy(update={"dataset": source})
        return Retraining(
            conf, line.champion, parent=f"s3://{BUCKET}/datasets/pets/v1/", new_images=1, fingerprint="1a2b3c4d"
        )

    champion = Champion(CHAMPION, None, "which was promoted last")
    monkeypatch.setattr("include.retraining.find_retraining", found)
    monkeypatch.setattr("include.retraining.champion_of", lambda *_, **__: champion)
    monkeypatch.setattr("include.deployment.registry.base_of", lambda *_: BASE)


def looked(conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    run_as_task(monkeypatch, {"dataset.name": "pets", **conf})
    document: Any = growth.find_new_images.function()
    return document


def starts(conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    run_as_task(monkeypatch, conf, dag_id="retrain_on_new_images")
    documents: Any = growth.find_grown_datasets.function()
    return documents


@pytest.mark.usefixtures("aws")
def test_a_look_starts_a_run_for_each_dataset_that_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    def grown(name: str) -> Retraining:
        conf = RunConf.from_conf({"dataset.name": name})
        champion = Champion(CHAMPION, None, "which was promoted last")
        return Retraining(conf, champion, parent=f"s3://{BUCKET}/datasets/{name}/v1/", new_images=3, fingerprint="1a")

    labels = {"dataset.name": "flowers", "dataset.labels": ["aster", "rose"], "retraining.deadline_hours": 6}
    full = FullTraining(RunConf.from_conf(labels), ("rose",))
    monkeypatch.setattr("include.retraining.find_retrainings", lambda *_, **__: [grown("birds"), grown("pets"), full])
    asked = {"promotion.minimum_accuracy": 0.4, "dataset.max_bad_fraction": 0.2, "endpoint.keep": None}

    scheduled, by_hand = starts({}, monkeypatch), starts(asked, monkeypatch)

    assert scheduled[1] == {
        "dataset": "pets",
        "trigger_dag_id": "retrain_on_new_images",
        "trigger_run_id": "retrain__pets__v1__1a",
        "conf": {"dataset": {"name": "pets"}},
        "note": "3 new images of pets since version v1",
        "once": False,
    }
    assert scheduled[2] == {
        "dataset": "flowers",
        "trigger_dag_id": "image_classification",
        "trigger_run_id": full.run_id,
        "conf": {
            "dataset": {"name": "flowers", "labels": ["aster", "rose"]},
            "endpoint": {"deploy": False},
            "retraining": {"deadline_hours": 6.0},
        },
        "note": "New classes of flowers: rose",
        "once": True,
        "deadline_hours": 6.0,
    }
    assert [each["dataset"] for each in by_hand] == ["birds", "pets", "flowers"]
    assert by_hand[0]["conf"] == {
        "dataset": {"name": "birds", "max_bad_fraction": 0.2},
        "promotion": {"minimum_accuracy": 0.4},
    }


@pytest.mark.usefixtures("aws")
def test_a_run_of_one_dataset_starts_no_other_and_a_look_retrains_nothing_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert starts({"dataset.name": "pets"}, monkeypatch) == []
    assert growth.find_new_images.function() is None, "no champion"
    run_as_task(monkeypatch, {})
    assert growth.find_new_images.function() is None


@pytest.mark.usefixtures("grown")
def test_a_second_run_of_a_dataset_ends_before_it_compares_anything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert looked({}, monkeypatch)
    run_as_task(monkeypatch, {"dataset.name": "pets"}, run_id="manual__2", other_runs=True)

    assert growth.find_new_images.function() is None
    assert "pets: manual__1 of image_classification has not ended. A later look takes the new images." in caplog.text


@pytest.mark.usefixtures("grown")
def test_a_retraining_that_can_work_hands_on_its_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    document = looked({}, monkeypatch)

    assert (document["champion"]["job"], document["conf"]["dataset"]["name"]) == ("champion", "pets")


def test_a_retraining_runs_as_the_run_did_that_trained_its_champion(
    grown: None, aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = RunConf.from_conf({"dataset.name": "pets", "promotion.minimum_accuracy": 0.93, "endpoint.instance_count": 2})
    run, settings = Run("image_classification", "manual__kept"), Settings.from_variable(SETTINGS)
    uri = keep_run_conf(aws.client("s3"), kept, settings=settings, run=run)
    champion = Champion(CHAMPION.model_copy(update={"run_conf": uri}), None, "which was promoted last")
    monkeypatch.setattr("include.retraining.champion_of", lambda *_, **__: champion)
    lines = {"pets": {"endpoint": {"instance_type": "ml.c5.large"}}}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "lines": lines}))

    conf = looked({"promotion.minimum_accuracy": None}, monkeypatch)["conf"]

    assert conf["promotion"] == kept.promotion.model_dump()
    assert (conf["endpoint"]["instance_type"], conf["endpoint"]["instance_count"]) == ("ml.c5.large", 2)


@pytest.mark.usefixtures("grown")
def test_a_retraining_that_cannot_work_is_told_before_an_image_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PreflightError) as refused:
        looked({"resources.instance_type": "ml.g5.3xlarge", "endpoint.instance_type": "ml.m5.small"}, monkeypatch)

    told = {problem.field: problem.remedy for problem in refused.value.problems}
    assert told.keys() == {"resources.instance_type", "endpoint.instance_type"}
    assert all("did you mean" in remedy for remedy in told.values())


@pytest.mark.usefixtures("grown")
def test_the_cost_of_a_retraining_is_that_of_what_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    prices = {"ml.g4dn.xlarge": 1.0, "ml.m5.large": 0.5}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "prices": prices}))
    hour = {"resources.max_runtime_seconds": 3600}

    assert looked({**hour, "resources.max_cost": 7}, monkeypatch)
    with pytest.raises(ProblemsError, match=r"the run could cost 7\.00 USD"):
        looked({**hour, "resources.max_cost": 6.99}, monkeypatch)


@pytest.mark.usefixtures("aws")
def test_what_is_secret_in_a_refused_address_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[str] = []
    monkeypatch.setattr(context, "mask_secret", hidden.append)

    with pytest.raises(ProblemsError):
        looked({"dataset.source": "https://[bad/a.zip?X-Amz-Signature=0123456789abcdef"}, monkeypatch)

    assert "0123456789abcdef" in hidden


def test_people_hear_of_a_retraining_that_is_late_and_of_which_run(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str, Run]] = []
    monkeypatch.setattr(growth, "announce", lambda _, what, said, *, run, **__: told.append((what, said, run)))
    monkeypatch.setattr(context.RunningTask, "run_state", lambda *_: "unfinished")
    monkeypatch.setattr("include.retraining.find_retrainings", lambda *_, **__: [])
    name, s3, late = f"late-{uuid4().hex[:8]}", aws.client("s3"), Run("retrain_on_new_images", "retrain__late")
    take_turn(s3, BUCKET, name, late, lambda _: "over")
    set_deadline(s3, BUCKET, name, late, datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    run_as_task(monkeypatch)

    assert growth.find_grown_datasets.function() == []

    assert told == [("late", f"{name}: its retraining has not ended by its deadline, 2026-01-02 03:04 UTC", late)]
    growth.find_grown_datasets.function()
    assert len(told) == 1


@pytest.mark.usefixtures("grown")
def test_a_retraining_notes_by_when_it_should_have_ended(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    def late_at() -> str | None:
        turn: dict[str, str] = json.loads(
            aws.client("s3").get_object(Bucket=BUCKET, Key="datasets/pets/turn.json")["Body"].read()
        )
        return turn.get("late_at")

    assert looked({}, monkeypatch)
    assert late_at() is None
    assert looked({"retraining.deadline_hours": 2}, monkeypatch)
    noted = datetime.fromisoformat(late_at() or "")
    assert timedelta(hours=1.9) < noted - datetime.now(UTC) <= timedelta(hours=2)
