"""`make demo-retrain`: new images come, the model that serves is trained further and replaced; then bad ones come.

It uses what `make demo` left running. A batch of turned digits arrives in the bucket: the event starts the retraining,
the challenger is compared with the champion, and a canary roll-out brings it to the endpoint, while a client asks that
all the time. Then a batch with mixed-up labels arrives: its challenger is refused, and the endpoint stays as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from rich.console import Console

from demo.airflow_client import AirflowClient, DagRun
from demo.bootstrap import IMAGES_PREFIX, client_config, local_session
from demo.endpoint_client import Asked, EndpointClient
from demo.run import RunFailedError, demo, failure, follow
from demo.sample_images import SampleImage, mislabelled_digits, remove_mixed_up, turned_digits, upload
from demo.services import Services, write_private
from demo.summary import print_rows, read_bytes, read_json
from demo.training_jobs import TrainingJobWatch

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

DAG_ID = "retrain_on_new_images"
ENDPOINT = "digits"
RETRAINING = "retrain__digits__"
"""How the id of a run begins that retrains this dataset; the event starts one that only looks for new images."""
EVENT_SECONDS = 240
LOOK_SECONDS = 1.0
ASKED_IMAGES = 20


@dataclass(frozen=True)
class Version:
    """A registered model: its number, what it reached on the held-out images, and where its report is."""

    version: int
    accuracy: float
    dataset_version: str
    approval: str
    report: str

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Version:
        """The version that DescribeModelPackage shows."""
        facts = described["CustomerMetadataProperties"]
        return cls(
            version=described["ModelPackageVersion"],
            accuracy=float(facts["accuracy"]),
            dataset_version=facts["dataset-version"],
            approval=described["ModelApprovalStatus"],
            report=facts["report"],
        )


@dataclass(frozen=True)
class Serving:
    """What the endpoint serves: its configuration, and the registered version behind it."""

    config: str
    status: str
    arn: str
    version: Version


@dataclass(frozen=True)
class Summary:
    """The figures of `.local/demo-retrain-summary.json`, under the same names; accuracies are 0 to 1."""

    champion_before: dict[str, Any]
    challenger: dict[str, Any]
    verdict: dict[str, Any]
    accuracy_old_images: dict[str, float]
    accuracy_new_images: dict[str, float]
    client: dict[str, Any]
    refused: dict[str, Any]
    seconds: float

    def problems(self) -> list[str]:
        """What did not go as it should; empty if all did."""
        client = self.client
        found = {
            f"The challenger was not promoted: {self.verdict['reason']}": not self.challenger["serves"],
            f"{client['failed']} of {client['requests']} requests failed: {client['errors']}": client["failed"],
            f"A model that was not expected answered: {client['answered_by']}": len(client["answered_by"]) != 2,
            "The challenger answered no request.": not client["answered_by"].get("challenger"),
            "The model of the mixed-up labels was not refused.": not self.refused["reason"],
            "The refused model changed the endpoint.": not self.refused["endpoint_unchanged"],
        }
        return [problem for problem, is_there in found.items() if is_there]


class Stage:
    """The services of the demo, and what the retraining needs of them."""

    def __init__(self, console: Console, services: Services, airflow: AirflowClient, session: boto3.Session) -> None:
        self.console = console
        self.services = services
        self.airflow = airflow
        self.session = session
        self.s3: S3Client = session.client("s3", endpoint_url=services.aws_url, config=client_config())
        self.sagemaker: SageMakerClient = session.client("sagemaker", endpoint_url=services.aws_url)

    def say(self, line: str) -> None:
        """A line on the terminal."""
        self.console.print(line, markup=False, soft_wrap=True)

    def serving(self) -> Serving:
        """What the endpoint serves now."""
        endpoint = self.sagemaker.describe_endpoint(EndpointName=ENDPOINT)
        config = self.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
        model = self.sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
        tags = {tag["Key"]: tag["Value"] for tag in self.sagemaker.list_tags(ResourceArn=model["ModelArn"])["Tags"]}
        arn = tags["model-package"]
        version = Version.of(self.sagemaker.describe_model_package(ModelPackageName=arn))
        return Serving(endpoint["EndpointConfigName"], endpoint["EndpointStatus"], arn, version)

    def newest(self, arn: str) -> Version:
        """The version that was registered last in the group of a version."""
        group = self.sagemaker.describe_model_package(ModelPackageName=arn)["ModelPackageGroupName"]
        newest = self.sagemaker.list_model_packages(
            ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["ModelPackageSummaryList"][0]["ModelPackageArn"]
        return Version.of(self.sagemaker.describe_model_package(ModelPackageName=newest))

    def comparison(self, version: Version) -> dict[str, Any]:
        """The document in which a challenger is compared with the champion."""
        return read_json(self.s3, version.report.rpartition("/")[0] + "/comparison.json")

    def arrive(self, what: str, images: Iterable[SampleImage]) -> DagRun:
        """Upload a batch, wait until its event has started the retraining, and follow that to its end."""
        since = datetime.now(UTC) - timedelta(seconds=1)
        new = upload(self.s3, self.services.settings.data_bucket, IMAGES_PREFIX, images)
        if not new:
            raise RunFailedError(
                f"{what} are in the bucket already: the retraining has been shown with these services. `make down` "
                "ends them, and `make demo-retrain` starts from the beginning."
            )
        self.say(f"\n{new} {what} are in s3://{self.services.settings.data_bucket}/{IMAGES_PREFIX}")
        run_id = self._run_of_the_event(since)
        self.say(f"Their event has started the retraining {self.services.airflow_url}/dags/{DAG_ID}/runs/{run_id}\n")
        run = follow(self.console, self.airflow, DAG_ID, run_id, self._watch(since))
        if run.state != "success":
            raise RunFailedError(failure(self.airflow, DAG_ID, run_id, self.services))
        return run

    def keep_report(self, version: Version, file: Path) -> None:
        """Copy the report of a version's evaluation to this machine."""
        file.write_bytes(read_bytes(self.s3, version.report))

    def _watch(self, since: datetime) -> TrainingJobWatch:
        return TrainingJobWatch(self.session, self.services.aws_url, since)

    def _run_of_the_event(self, since: datetime) -> str:
        """The retraining that was started since then, by the run that the event started."""
        deadline = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < deadline:
            for run in self.airflow.dag_runs(DAG_ID):
                if run.queued is None or run.queued < since:
                    continue
                if run.state == "failed":
                    raise RunFailedError(failure(self.airflow, DAG_ID, run.run_id, self.services))
                if run.run_id.startswith(RETRAINING):
                    return run.run_id
            time.sleep(LOOK_SECONDS)
        raise RunFailedError(
            f"No run of {DAG_ID} has found the images within {EVENT_SECONDS} s: {self.services.airflow_url}"
            f"/dags/{DAG_ID} shows its runs."
        )


def retrain(console: Console, state: Path, aws_port: int, airflow_port: int) -> None:
    """Show the retraining with the services of the demo, which is run first if its endpoint is not there.

    Raises RunFailedError if something did not go as it should.
    """
    session = local_session()
    services = running_demo(state, session) or demo(console, state, aws_port, airflow_port)
    with AirflowClient(services.airflow_url, services.user, services.password) as airflow:
        summary = show(Stage(console, services, airflow, session), state)
    file = state / "demo-retrain-summary.json"
    write_private(file, json.dumps(asdict(summary), indent=2) + "\n")
    print_summary(console, summary)
    pages = " and ".join(f"{state.name}/{page}" for page in ("demo-promoted.html", "demo-refused.html"))
    console.print(f"\nReports of the two models: {pages}   All figures: {state.name}/{file.name}", markup=False)
    if problems := summary.problems():
        raise RunFailedError("\n".join(problems))


def running_demo(state: Path, session: boto3.Session) -> Services | None:
    """The services that the demo left running, if its endpoint is there."""
    services = Services.read(state)
    if services is None or not services.are_alive():
        return None
    sagemaker = session.client("sagemaker", endpoint_url=services.aws_url)
    endpoints = sagemaker.list_endpoints(NameContains=ENDPOINT)["Endpoints"]
    names = [endpoint["EndpointName"] for endpoint in endpoints if endpoint["EndpointStatus"] == "InService"]
    return services if ENDPOINT in names else None


def show(stage: Stage, state: Path) -> Summary:
    """The two batches and what becomes of them."""
    started = time.monotonic()
    stage.airflow.wait_for_dag(DAG_ID, EVENT_SECONDS)
    before = stage.serving()
    stage.say(
        f"Endpoint {ENDPOINT} serves version {before.version.version}, accuracy {before.version.accuracy:.4f}. A "
        "client asks it from now on, ten times a second."
    )
    once = client_config().merge(Config(retries={"total_max_attempts": 1}))
    runtime = stage.session.client("sagemaker-runtime", endpoint_url=stage.services.aws_url, config=once)
    turned = list(turned_digits())
    with EndpointClient(runtime, ENDPOINT, [image.jpeg for image in turned[:ASKED_IMAGES]]) as client:
        client.learn("champion_before")
        stage.airflow.unpause(DAG_ID)

        stage.arrive("digits turned by 15 degrees", turned)
        promoted = stage.serving()
        client.learn("challenger")
        comparison = stage.comparison(challenger := stage.newest(before.arn))
        stage.keep_report(challenger, state / "demo-promoted.html")
        stage.say(f"\nVersion {challenger.version}: {comparison['verdict']['reason']}")

        stage.arrive("digits with mixed-up labels", mislabelled_digits())
        after, refused = stage.serving(), stage.newest(before.arn)
        reason = stage.comparison(refused)["verdict"]["reason"]
        stage.keep_report(refused, state / "demo-refused.html")
        stage.say(f"\nVersion {refused.version}: {reason}")
    removed = remove_mixed_up(stage.s3, stage.services.settings.data_bucket, IMAGES_PREFIX)
    stage.say(f"The {removed} digits with mixed-up labels are removed again: no later run learns from them.")
    asked: Asked = client.asked()
    return Summary(
        champion_before=figures(before.version),
        challenger={**figures(challenger), "serves": promoted.version == challenger},
        verdict={key: comparison["verdict"][key] for key in ("accepted", "reason")},
        accuracy_old_images=both(comparison["earlier_images"]),
        accuracy_new_images=both(comparison["new_images"]),
        client=asdict(asked),
        refused={
            **figures(refused),
            "reason": "" if refused.approval == "Approved" else reason,
            "endpoint_unchanged": (after.config, after.status) == (promoted.config, "InService"),
        },
        seconds=round(time.monotonic() - started, 1),
    )


def figures(version: Version) -> dict[str, Any]:
    """What the summary has of a version."""
    return {"version": version.version, "accuracy": version.accuracy, "dataset_version": version.dataset_version}


def both(paired: Mapping[str, float]) -> dict[str, float]:
    """The accuracies of champion and challenger on the same images."""
    return {name: round(paired[name], 6) for name in ("champion", "challenger")}


def print_summary(console: Console, summary: Summary) -> None:
    """Show the summary as a table."""
    old, new, client = summary.accuracy_old_images, summary.accuracy_new_images, summary.client
    answered = ", ".join(f"{count:,} by {name.replace('_', ' ')}" for name, count in client["answered_by"].items())
    unchanged = "unchanged" if summary.refused["endpoint_unchanged"] else "CHANGED"
    rows = {
        "Champion before": f"version {summary.champion_before['version']}, trained on "
        f"{summary.champion_before['dataset_version']}",
        "Challenger": f"version {summary.challenger['version']}, trained on {summary.challenger['dataset_version']}",
        "Verdict": summary.verdict["reason"],
        "Earlier images": f"champion {old['champion']:.4f}, challenger {old['challenger']:.4f}",
        "New images": f"champion {new['champion']:.4f}, challenger {new['challenger']:.4f}",
        "Client": f"{client['requests']:,} requests, {client['failed']} failed, answered {answered}",
        "Refused": f"version {summary.refused['version']}: {summary.refused['reason']}",
        "Endpoint": f"{unchanged} by the refused model",
        "Time": f"{summary.seconds:.0f} s",
    }
    print_rows(console, rows)
