from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from image_classification.operators.sagemaker_job import TrainingJobOperator, inputs_of, operator_lineage, outputs_of

TRAINING = {
    "InputDataConfig": [
        {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": "s3://data/datasets/pets/v1/train/"}}},
        {"ChannelName": "model", "DataSource": {"S3DataSource": {"S3Uri": "s3://out/jobs/base/output/model.tar.gz"}}},
    ],
    "ModelArtifacts": {"S3ModelArtifacts": "s3://out/jobs/more/output/model.tar.gz"},
}


@dataclass
class Named:
    namespace: str
    name: str


@dataclass
class Lineage:
    inputs: list[Named]
    outputs: list[Named]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the OpenLineage provider, which an installation may have."""
    facet: Any = ModuleType("facet")
    facet.Dataset = Named
    extractors: Any = ModuleType("extractors")
    extractors.OperatorLineage = Lineage
    monkeypatch.setitem(sys.modules, "airflow.providers.common.compat.openlineage.facet", facet)
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage", ModuleType("openlineage"))
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", extractors)


def test_a_training_job_reads_its_channels_and_writes_a_model() -> None:
    assert inputs_of(TRAINING) == ["s3://data/datasets/pets/v1/train/", "s3://out/jobs/base/output/model.tar.gz"]
    assert outputs_of(TRAINING) == ["s3://out/jobs/more/output/model.tar.gz"]


def test_a_tuning_job_reads_the_channels_of_its_training_jobs() -> None:
    assert inputs_of({"TrainingJobDefinition": {"InputDataConfig": TRAINING["InputDataConfig"]}}) == inputs_of(TRAINING)


def test_a_transform_job_reads_its_manifest_and_writes_answers() -> None:
    job = {
        "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": "s3://out/transform/job/manifest.json"}}},
        "TransformOutput": {"S3OutputPath": "s3://out/transform/job/answers"},
    }

    assert (inputs_of(job), outputs_of(job)) == (
        ["s3://out/transform/job/manifest.json"],
        ["s3://out/transform/job/answers"],
    )


@pytest.mark.usefixtures("provider")
def test_a_finished_task_tells_openlineage_what_its_job_read_and_wrote() -> None:
    operator = TrainingJobOperator(task_id="train", request=lambda *_: {}, inputs={})
    operator._done = TRAINING

    lineage = operator.get_openlineage_facets_on_complete(None)

    assert lineage.inputs[0] == Named("s3://data", "datasets/pets/v1/train")
    assert lineage.outputs == [Named("s3://out", "jobs/more/output/model.tar.gz")]


def test_without_the_provider_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)

    assert operator_lineage(["s3://data/a"], []) is None
