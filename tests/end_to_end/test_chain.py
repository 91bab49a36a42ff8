"""The whole chain and a retraining: DAGs as Airflow runs them, real images, real training, a real endpoint."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from demo.sample_images import SampleImage, upload
from include.datasets.layout import SPLITS
from include.datasets.manifest import read_manifest
from include.datasets.version import DatasetVersion, latest
from include.deployment import predict
from include.recordio.format import read_records
from include.sagemaker.naming import LONGEST_NAME, tags_of, task_of_job
from tests.support.dag_test_runs import Run, Test, runner
from tests.support.world import DIGITS, SMALL, World, digits, running_world

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("airflow_database")]

ENDPOINT = "digits-of-the-chain"
CONF = {
    **SMALL,
    "dataset.packing.color": 0,
    "training.hyperparameters.image_shape": "1,28,28",
    "training.mode": "both",
    "tuning.strategy": "Random",
    "tuning.max_jobs": 2,
    "tuning.max_parallel_jobs": 2,
    "tuning.seed": 7,
    "tuning.ranges": {"learning_rate": {"min": 0.02, "max": 0.1, "scaling": "Logarithmic"}},
    "incremental.hyperparameters": {"epochs": 1, "learning_rate": 0.01},
    "dataset.packing.shard_images": 50,
    "dataset.keep_removed": True,
    "endpoint.name": ENDPOINT,
    "endpoint.keep": False,
}
"""Trains in grayscale, tunes with two jobs, goes on from the best, deploys, and takes the endpoint down again.

Images that are moved away later stay in the dataset."""


@pytest.fixture(scope="module")
def world(module_path: Path) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, running_world(module_path) as world:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.drop(digits(*DIGITS, count=40))
        yield world


@pytest.fixture(scope="module")
def run_dag(airflow_database: None, world: World) -> Test:
    return runner()


@dataclass(frozen=True)
class Chain:
    """The first run, and what the services held right after it."""

    run: Run
    jobs: dict[str, str]
    endpoints: dict[str, str]
    models: list[str]


@pytest.fixture(scope="module")
def chain(world: World, run_dag: Test) -> Chain:
    run = run_dag("image_classification", CONF)
    models = [model["ModelName"] for model in world.sagemaker.list_models()["Models"]]
    return Chain(run, world.training_jobs(), world.endpoints(), models)


def records_of(world: World, version: DatasetVersion) -> dict[str, int]:
    """Count the records of each channel's file."""
    bucket, layout = version.layout.bucket, version.layout
    return {
        split: sum(
            1 for _ in read_records(world.s3.get_object(Bucket=bucket, Key=layout.records(split))["Body"].read())
        )
        for split in SPLITS
    }


def test_every_task_of_the_chain_succeeds(chain: Chain) -> None:
    tasks = dict(chain.run.tasks)

    assert chain.run.state == "success"
    assert tasks.pop("dataset.unpack") == "skipped"  # the images lie under a prefix
    assert tasks.pop("training.find_start") == "skipped"  # it trains from scratch
    assert tasks.pop("training.train_tuned") == "skipped"  # training.mode is both
    assert tasks.pop("evaluation.transform_by_champion") == "skipped"  # there is no champion yet
    assert set(tasks.values()) == {"success"}


def test_a_published_version_counts_every_image_and_has_one_record_file_a_channel(chain: Chain, world: World) -> None:
    version = DatasetVersion.model_validate(chain.run.returned["dataset.publish"])

    assert version == DatasetVersion.model_validate(world.document(f"{version.uri}dataset.json"))
    assert version.labels == list(DIGITS)
    assert version.new_images == 120
    assert version.counts.model_dump() == records_of(world, version)
    assert version.counts.total == 120
    prefix = version.uri.removeprefix(f"s3://{world.settings.data_bucket}/")
    keys = [key.removeprefix(prefix) for key in world.keys(world.settings.data_bucket, prefix)]
    assert sorted(key for key in keys if key.endswith(".rec")) == [
        "test/test.rec",
        "train/train.rec",
        "validation/validation.rec",
    ]
    assert not [key for key in keys if key.startswith(("shards/", "plan/"))]


def test_no_more_jobs_run_than_were_asked_for(chain: Chain, world: World) -> None:
    trained, best = chain.run.returned["training.train"], chain.run.returned["training.select_best"]
    tuned, incremental = chain.run.returned["training.tune"], chain.run.returned["training.train_incremental"]
    tuning = world.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=tuned["name"]
    )
    children = [job["TrainingJobName"] for job in tuning["TrainingJobSummaries"]]

    assert len(children) == 2
    assert chain.jobs == dict.fromkeys([trained["name"], incremental["name"], *children], "Completed")
    assert best["job"] in [trained["name"], *children]
    channels = world.sagemaker.describe_training_job(TrainingJobName=incremental["name"])["InputDataConfig"]
    (model,) = [channel for channel in channels if channel["ChannelName"] == "model"]
    assert model["DataSource"]["S3DataSource"]["S3Uri"] == best["artifact"]


def test_the_model_is_registered_with_what_it_came_from(chain: Chain, world: World) -> None:
    registered = chain.run.returned["registration.register_model"]
    package = world.sagemaker.describe_model_package(ModelPackageName=registered["arn"])

    assert package["ModelApprovalStatus"] == "Approved"
    (container,) = package["InferenceSpecification"]["Containers"]
    assert container["ModelDataUrl"] == chain.run.returned["training.train_incremental"]["artifact"]


def test_the_endpoint_that_was_not_to_be_kept_is_gone(chain: Chain) -> None:
    assert chain.run.returned["deployment.deploy"]["name"] == ENDPOINT
    assert chain.endpoints == {}


def test_every_job_stands_in_the_leaderboard_with_its_epochs(chain: Chain, world: World) -> None:
    board = world.document(chain.run.returned["training.compare_jobs"])

    assert {job["job"] for job in board["jobs"]} == set(chain.jobs)
    assert board["best"] == chain.run.returned["training.select_best"]["job"]
    assert all(job["epochs"] and job["billable_seconds"] for job in board["jobs"])
    assert board["final"] == chain.run.returned["training.train_incremental"]["name"]
    for job in board["jobs"]:
        accuracies = [epoch["metrics"]["validation:accuracy"] for epoch in job["epochs"]]
        assert job["objective"] == pytest.approx(max(accuracies))
        assert kept_epochs(world, job["job"]) == [job["kept_epoch"]]
        assert accuracies[job["kept_epoch"] - 1] == max(accuracies)


def kept_epochs(world: World, job: str) -> list[int]:
    """The epochs whose weights are in the artifact of a training job."""
    uri = world.sagemaker.describe_training_job(TrainingJobName=job)["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body = world.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        names = [re.search(r"-(\d{4})\.params$", name) for name in archive.getnames()]
    return [int(name[1]) for name in names if name]


def test_the_summary_tells_what_the_services_hold(chain: Chain, world: World) -> None:
    summary, report = chain.run.returned["summarise"], chain.run.returned["evaluation.evaluate"]["report_uri"]

    assert world.document(f"{report.rpartition('/')[0]}/summary.json") == summary
    assert summary["dataset"]["counts"] == chain.run.returned["dataset.publish"]["counts"]
    assert {job["name"] for job in summary["training_jobs"]} == set(chain.jobs)
    assert sorted(job["role"] for job in summary["training_jobs"]) == ["base", "incremental", "tuning", "tuning"]
    assert summary["best_job"] == chain.run.returned["training.select_best"]["job"]
    assert summary["endpoint_status"] == "Deleted"
    for job in summary["training_jobs"]:
        described = world.sagemaker.describe_training_job(TrainingJobName=job["name"])
        metrics = {metric["MetricName"]: metric["Value"] for metric in described["FinalMetricDataList"]}
        assert job["metrics"] == pytest.approx(metrics)
    prediction = summary["prediction"]
    assert {prediction["expected"], prediction["label"]} <= set(DIGITS)
    assert prediction["correct"] == (prediction["expected"] == prediction["label"])
    evaluated = chain.run.returned["evaluation.evaluate"]
    assert summary["test_accuracy"] == evaluated["accuracy"]  # endpoint and transform job: they are sent the same bytes


def test_nothing_new_ends_a_retraining_without_any_job(chain: Chain, world: World, run_dag: Test) -> None:
    before = world.training_jobs()

    run = run_dag("retrain_on_new_images", {})

    assert run.state == "success"
    assert (run.tasks.pop("find_grown_datasets"), run.tasks.pop("find_new_images")) == ("success", "success")
    assert set(run.tasks.values()) == {"skipped"}
    assert world.training_jobs() == before


@dataclass(frozen=True)
class Retraining:
    """A retraining, and the endpoint before and after it."""

    run: Run
    new_jobs: list[str]
    endpoint_before: dict[str, Any]
    endpoint_after: dict[str, Any]


@pytest.fixture(scope="module")
def retraining(chain: Chain, world: World, run_dag: Test) -> Retraining:
    """New images arrive, after the old training images and a held-out one were moved away: nobody may need them."""
    deployed = run_dag("deploy_endpoint", {"dataset.name": "digits"})
    name = deployed.returned["deployment.deploy"]["name"]
    before = world.sagemaker.describe_endpoint(EndpointName=name)
    jobs = world.training_jobs()
    published = chain.run.returned["dataset.publish"]
    for key in [*sources_of(world, published, "train"), sources_of(world, published, "test")[0]]:
        world.s3.delete_object(Bucket=world.settings.data_bucket, Key=key)
    world.drop(digits(*DIGITS, first=40, count=4))
    run = run_dag("retrain_on_new_images", {"dataset.name": "digits", "promotion.minimum_accuracy": 0.0})
    new_jobs = [job for job in world.training_jobs() if job not in jobs]
    return Retraining(run, new_jobs, before, world.sagemaker.describe_endpoint(EndpointName=name))


def sources_of(world: World, version: dict[str, Any], split: str) -> list[str]:
    """Keys of the images behind a split."""
    layout = DatasetVersion.model_validate(version).layout
    table = read_manifest(world.s3, layout.bucket, layout.manifest, ["key", "split"])
    return [row["key"] for row in table.to_pylist() if row["split"] == split]


def test_new_images_grow_the_dataset_and_only_they_are_read(retraining: Retraining, chain: Chain, world: World) -> None:
    parent = DatasetVersion.model_validate(chain.run.returned["dataset.publish"])
    version = latest(world.s3, world.settings.data_bucket, "digits")

    assert version is not None
    assert version.model_dump(mode="json") == retraining.run.returned["dataset.publish"]
    assert version.parent == parent.uri
    assert version.labels == parent.labels
    assert version.new_images == 12
    assert version.statuses == {"packed": 132}
    assert version.counts.model_dump() == records_of(world, version)


def test_the_champion_is_trained_on_and_nothing_else(retraining: Retraining, chain: Chain, world: World) -> None:
    champion = chain.run.returned["registration.register_model"]
    (job,) = retraining.new_jobs
    channels = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
        for channel in world.sagemaker.describe_training_job(TrainingJobName=job)["InputDataConfig"]
    }

    assert channels["model"] == champion["artifact"]
    assert channels["train"].startswith(retraining.run.returned["dataset.publish"]["uri"])
    registered = retraining.run.returned["registration.register_model"]
    assert registered["version"] == champion["version"] + 1
    assert registered["artifact"].endswith(f"{job}/output/model.tar.gz")


def test_the_deployed_endpoint_is_updated_to_the_new_model(retraining: Retraining, world: World) -> None:
    before, after = retraining.endpoint_before, retraining.endpoint_after

    assert after["EndpointStatus"] == "InService"
    assert after["CreationTime"] == before["CreationTime"]
    assert after["EndpointConfigName"] != before["EndpointConfigName"]
    config = world.sagemaker.describe_endpoint_config(EndpointConfigName=after["EndpointConfigName"])
    model = world.sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    registered = retraining.run.returned["registration.register_model"]
    assert model["PrimaryContainer"]["ModelDataUrl"] == registered["artifact"]
    (new,) = digits("7", first=60, count=1)
    answer = world.runtime.invoke_endpoint(
        EndpointName=after["EndpointName"], Body=new.jpeg, ContentType="image/jpeg", Accept="application/json"
    )
    assert sum(json.loads(answer["Body"].read())) == pytest.approx(1, abs=1e-3)


def test_the_transform_job_and_the_endpoint_measure_the_same(chain: Chain, retraining: Retraining) -> None:
    for run in (chain.run, retraining.run):
        evaluated, predicted = run.returned["evaluation.evaluate"], run.returned["deployment.predict"]["evaluation"]
        assert (predicted["images"], predicted["accuracy"]) == (evaluated["images"], evaluated["accuracy"])


def test_a_new_model_and_its_endpoint_are_announced_to_other_dags(retraining: Retraining) -> None:
    from airflow.models.asset import AssetEvent  # noqa: PLC0415  (the home comes first)
    from airflow.utils.session import create_session  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415

    registered = retraining.run.registered
    with create_session() as session:
        found = session.scalars(select(AssetEvent).order_by(AssetEvent.id))
        events = {event.asset.name: dict(event.extra) for event in found}
    told = {name: registered[name] for name in ("dataset", "version", "accuracy", "verdict", "approval", "report")}
    assert events["image-model"].items() >= told.items()
    assert events["image-endpoint"] == {"endpoint": "digits", **events["image-model"]}


def test_the_endpoints_of_all_datasets_are_measured_beside_their_registered_figures(
    retraining: Retraining, world: World, run_dag: Test
) -> None:
    """As the schedule runs it: without a conf."""
    run = run_dag("evaluate_endpoint", {})

    said = retraining.run.returned["summarise"]["note"]
    assert said.startswith(f"digits v{retraining.run.registered['version']}: ")
    assert said.endswith(", serving at digits")
    measured = run.returned["measure_endpoint"]
    known = measured["registered"]
    assert run.state == "success"
    assert known["version"] == retraining.run.registered["version"]
    assert measured["accuracy"] == pytest.approx(known["accuracy"], abs=1e-6)
    assert known["images"] == measured["images"] == measured["latency"]["requests"]
    assert world.document(measured["report_uri"].replace("report.html", "metrics.json"))["endpoint"] == "digits"
    assert run.reports["measure_endpoint"].partition("?")[0].endswith("/digits/report.html")


def test_images_that_were_removed_since_are_evaluated_as_they_are_packed(retraining: Retraining) -> None:
    held_out = retraining.run.returned["dataset.publish"]["counts"]["test"]
    assert retraining.run.returned["evaluation.evaluate"]["images"] == held_out


def test_new_images_are_predicted_by_the_model_that_serves(retraining: Retraining, world: World, run_dag: Test) -> None:
    """The table of a batch transform and the command that asks the endpoint say the same of every image."""
    bucket, endpoint = world.settings.data_bucket, retraining.endpoint_after["EndpointName"]
    upload(world.s3, bucket, "to-predict/", digits(*DIGITS, first=70, count=3))
    world.s3.put_object(Bucket=bucket, Key="to-predict/broken.jpg", Body=b"no image")
    source = f"s3://{bucket}/to-predict/"
    before = world.training_jobs()

    run = run_dag("predict_images", {"source": source, "model_of_endpoint": endpoint, "top_k": 2})

    assert (run.state, set(run.tasks.values())) == ("success", {"success"})
    written = run.returned["prediction.write_predictions"]
    assert (written["images"], written["predicted"], written["bad"]) == (10, 9, {"not_an_image": 1})
    _, _, key = written["uri"].removeprefix("s3://").partition("/")
    body = world.s3.get_object(Bucket=world.settings.output_bucket, Key=key)["Body"].read()
    table = {row["key"]: row for row in pq.ParquetFile(io.BytesIO(body)).read().to_pylist()}
    out = io.StringIO()
    assert predict.main([endpoint, source, "--json"], out) == predict.INCOMPLETE  # one of them is broken
    for line in out.getvalue().splitlines():
        answer = json.loads(line)
        row = table[answer["image"].removeprefix(f"s3://{bucket}/")]
        assert row["label"] == answer.get("label")
        if row["label"]:
            assert row["probability"] == pytest.approx(answer["probability"], abs=1e-5)
            assert row["top_labels"] == [each["label"] for each in answer["classes"][:2]]
        else:
            assert row["status"] == "not_an_image"
            assert "cannot be packed" in answer["problem"]
    job = run.returned["prediction.transform_images"]["name"]
    arn = world.sagemaker.describe_transform_job(TransformJobName=job)["TransformJobArn"]
    assert task_of_job(job, tags_of(world.sagemaker, arn), LONGEST_NAME) == "prediction.transform_images"
    assert world.training_jobs() == before
    assert not [name for name in world.keys(world.settings.output_bucket, "predictions/") if "/images/" in name]


def test_images_that_are_not_there_start_no_prediction(chain: Chain, world: World, run_dag: Test) -> None:
    jobs = world.sagemaker.list_transform_jobs()["TransformJobSummaries"]

    run = run_dag("predict_images", {"dataset.name": "digits", "source": f"s3://{world.settings.data_bucket}/none/"})

    assert run.state == "failed"
    assert run.tasks.pop("choose_model") == "failed"
    assert set(run.tasks.values()) == {"upstream_failed"}
    assert world.sagemaker.list_transform_jobs()["TransformJobSummaries"] == jobs


@pytest.mark.usefixtures("retraining")
def test_an_image_that_comes_again_under_another_name_starts_nothing(world: World, run_dag: Test) -> None:
    (again,) = digits("7", first=40, count=1)
    world.drop([SampleImage("7/again.jpg", again.jpeg)])
    before = world.training_jobs()

    run = run_dag("retrain_on_new_images", {})

    assert run.state == "success"
    assert (run.tasks.pop("find_grown_datasets"), run.tasks.pop("find_new_images")) == ("success", "success")
    assert set(run.tasks.values()) == {"skipped"}
    assert world.training_jobs() == before


@pytest.mark.usefixtures("retraining")
def test_new_images_that_all_are_broken_are_noted_and_train_nothing(world: World, run_dag: Test) -> None:
    world.drop([SampleImage("7/broken.jpg", b"no image")])
    before = world.training_jobs()

    run = run_dag("retrain_on_new_images", {"dataset.name": "digits", "dataset.max_bad_fraction": 0.5})

    assert run.state == "success"
    assert run.returned["dataset.publish"]["statuses"]["not_an_image"] == 1
    assert run.tasks["has_gained"] == "success"
    later = [task for task in run.tasks if not task.startswith(("find_", "dataset.", "has_gained"))]
    assert {run.tasks[task] for task in later} == {"skipped"}
    assert world.training_jobs() == before
    assert run_dag("retrain_on_new_images", {"dataset.name": "digits"}).tasks["dataset.plan"] == "skipped"
