"""How fast the pages in Airflow's UI answer, with 500 models, 200 jobs and 50 dataset versions of 100,000 images.

    .venv/bin/python -m benchmarks.pages [--write] [--serve]

A local AWS is filled, and the pages are served over HTTP with Airflow's own sign-in and database. Every page is asked
for the first time since the start, and then again and again, beside a bare ListTrainingJobs of a hundred jobs, which is
what a page that asks AWS would wait for at least once.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import secrets
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pyarrow as pa

from benchmarks.installation import free_port, wait_until
from demo.bootstrap import LocalSettings, bootstrap, client_config, local_session
from demo.processes import BackgroundProcess
from demo.sample_images import digit_images
from demo.services import ROOT, USER, airflow_environment
from include.algorithms.kinds import algorithm_of
from include.datasets.layout import SPLITS, VersionLayout
from include.datasets.manifest import lay_out, write_manifest
from include.datasets.source_image import Status
from include.datasets.version import DatasetSource, DatasetVersion, SplitCounts, SplitOptions
from include.deployment.registry import register_model
from include.evaluation.metrics import Evaluation
from include.recordio.format import encode_image_record, encode_record
from include.recordio.options import ImageOptions
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run, tags
from include.settings import Settings

DATASET = "photographs"
CLASSES = [f"class {number:03d}" for number in range(200)]
MODELS, JOBS, VERSIONS, IMAGES, RUNS = 500, 200, 50, 100_000, 300
BAD, GROWTH = 400, 1_000
OF_A_RUN = 50
"""Jobs of the run whose page is measured."""
ALGORITHM = """for epoch in 0 1 2 3 4 5 6 7 8 9; do
  echo "Epoch[$epoch] Train-accuracy=0.9$epoch"
  echo "Epoch[$epoch] Validation-accuracy=0.$((80 + epoch))$(($$ % 1000))"
done
echo model > "$SAGEMAKER_BASE_DIR/model/model.txt"
"""
WARM_UP_SECONDS = 5.0
TURNS, COMPLETE_SECONDS = 10, 300.0
TARGET_SECONDS = 1.0
PAGE = ROOT / "docs/explanation/benchmarks.md"
BEGIN, END = "<!-- figures of make bench-pages -->", "<!-- end of the figures of the pages -->"
STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Filled:
    """A local AWS with everything in it."""

    settings: Settings
    sagemaker: Any
    versions: list[str]
    run: Run
    job: str


@dataclass(frozen=True)
class Row:
    """A page, with the seconds of its first answer, of later ones, and until it had read everything it shows."""

    name: str
    first: float
    later: float
    complete: float
    bytes: int


def main() -> None:
    """Measure, and print a table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/explanation/benchmarks.md")
    parser.add_argument("--serve", action="store_true", help="leave the pages open until this process is ended")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this process
    with (
        tempfile.TemporaryDirectory(prefix="bench-pages-") as folder,
        filled(Path(folder)) as found,
        served(found) as client,
    ):
        rows = [measure(client, name, path) for name, path in pages_of(found).items()]
        listing = seconds_of_a_listing(found.sagemaker)
        if options.serve:
            print(f"{client.base_url}, cookie _token={client.cookies['_token']}", flush=True)
            signal.pause()
    report(rows, listing, write=options.write)


def pages_of(found: Filled) -> dict[str, str]:
    """The paths of all pages of a dataset, by what the table calls them."""
    here, newest = f"/datasets/{DATASET}", found.versions[-1]
    return {
        "Overview": "/",
        f"Models: {MODELS}": f"{here}/models",
        "A model": f"{here}/models/{MODELS}",
        "Six models compared": f"{here}/models/compare?{'&'.join(f'version={MODELS - back}' for back in range(6))}",
        f"Dataset versions: {VERSIONS}": f"{here}/versions",
        f"A version of {IMAGES:,} images": f"{here}/versions/{newest}",
        "The same, images of one class and split": f"{here}/versions/{newest}?label={quote(CLASSES[7])}&split=test",
        "Two versions compared": f"{here}/versions/compare?version={found.versions[0]}&version={newest}",
        f"Runs: {RUNS}": "/runs",
        f"A run with {OF_A_RUN} jobs": f"/runs/{found.run.dag_id}/{quote(found.run.run_id, safe='')}",
        f"Runs and jobs: {JOBS} jobs": f"{here}/jobs",
        "A job": f"/jobs/training_job/{found.job}",
        "Endpoint": f"{here}/endpoint",
        "Reports of a run": f"/reports/{found.run.name}/",
    }


def measure(client: httpx.Client, name: str, path: str) -> Row:
    """Ask for a page, wait until it has read everything, and ask again."""
    began = time.monotonic()
    answer = asked(client, path)
    first = time.monotonic() - began
    while "data-awaited" in answer.text and time.monotonic() - began < COMPLETE_SECONDS:
        time.sleep(0.2)
        answer = asked(client, path)
    complete = time.monotonic() - began
    later = []
    for _ in range(TURNS):
        turn = time.monotonic()
        answer = asked(client, path)
        later.append(time.monotonic() - turn)
    if "data-awaited" in answer.text:
        sys.exit(f"{path} does not show everything after {complete:.0f} s.")
    print(f"{name}: {first:.3f} s, complete after {complete:.2f} s, then {statistics.median(later):.3f} s", flush=True)
    return Row(name, first, statistics.median(later), complete, len(answer.content))


def asked(client: httpx.Client, path: str) -> httpx.Response:
    """The answer to a request; ends the benchmark if it is none."""
    answer = client.get(path)
    if not answer.is_success:
        sys.exit(f"{path} is answered with {answer.status_code}:\n{answer.text}")
    return answer


def seconds_of_a_listing(sagemaker: Any) -> float:
    """A bare ListTrainingJobs of a hundred jobs, the median."""
    taken = []
    for _ in range(TURNS):
        turn = time.monotonic()
        sagemaker.list_training_jobs(MaxResults=100)
        taken.append(time.monotonic() - turn)
    return statistics.median(taken)


def report(rows: list[Row], listing: float, *, write: bool) -> None:
    """Print the table, and keep it if asked."""
    lines = [
        "| page | first answer | complete after | later | of a bare list call | size | under 1 s |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row.name} | {row.first:.2f} s | {row.complete:.1f} s | {row.later * 1000:.0f} ms | "
            f"{row.later / listing:.1f} | {row.bytes / 1000:,.0f} kB | "
            f"{'yes' if max(row.first, row.later) < TARGET_SECONDS else 'NO'} |"
            for row in rows
        ),
    ]
    machine = f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}"
    table = f"{machine}. A bare ListTrainingJobs of a hundred jobs: {listing * 1000:.0f} ms.\n\n" + "\n".join(lines)
    print(f"\n{table}")
    if write:
        text = PAGE.read_text()
        PAGE.write_text(f"{text.partition(BEGIN)[0]}{BEGIN}\n{table}\n{END}{text.partition(END)[2]}")


@contextmanager
def filled(folder: Path) -> Iterator[Filled]:
    """A local AWS with models, jobs and dataset versions, and an empty database of Airflow; this process is set up so
    that Airflow finds both.
    """
    aws_url, airflow_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    local = replace(LocalSettings.at(aws_url), poll_seconds=5)
    os.environ.update(airflow_environment(folder, local, aws_url, airflow_url))
    os.environ["AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS"] = ""
    algorithm = folder / "algorithm.sh"
    algorithm.write_text(ALGORITHM)
    command = [sys.executable, "-m", "local_aws", "--port", aws_url.rpartition(":")[2]]
    command += [
        "--state-dir",
        str(folder / "aws"),
        "--jobs",
        "4",
        "--image",
        f"image-classification=/bin/sh {algorithm}",
    ]
    aws = BackgroundProcess.start("Local AWS", command, dict(os.environ), ROOT, folder / "logs/aws.log")
    try:
        print("Making Airflow's database ...", flush=True)
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        wait_until(lambda: _answers(aws_url), "the local AWS answers")
        session: Any = local_session()
        bootstrap(local, session, aws_url)
        sagemaker, s3 = (
            session.client(name, endpoint_url=aws_url, config=client_config()) for name in ("sagemaker", "s3")
        )
        settings = Settings.from_variable(json.loads(local.to_json()))
        print(f"Filling the local AWS: {VERSIONS} dataset versions ...", flush=True)
        versions = put_versions(s3, settings)
        run = Run("train_model", "manual__2026-03-01T12:00:00+00:00")
        print(f"{JOBS} jobs ...", flush=True)
        jobs = put_jobs(s3, sagemaker, settings, versions[-1], run)
        print(f"{MODELS} models ...", flush=True)
        put_models(s3, sagemaker, settings, versions[-1], jobs[0])
        yield Filled(settings, sagemaker, [version.version for version in versions], run, jobs[0])
    finally:
        aws.end()


def put_versions(s3: Any, settings: Settings) -> list[DatasetVersion]:
    """Versions that grow by a thousand images; some of each are bad, and the newest has its records."""
    every = IMAGES + GROWTH * VERSIONS
    generator = np.random.default_rng(0)
    etags = [generator.bytes(16).hex() for _ in range(every)]
    record = encode_record(encode_image_record((0.0,), 0, next(iter(digit_images())).jpeg))
    splits = np.where(np.arange(every) % 10 < 8, 0, np.arange(every) % 10 - 7)
    table = pa.table(
        {
            "key": [f"{CLASSES[number % len(CLASSES)]}/{number:07d}.jpg" for number in range(every)],
            "etag": etags,
            "labels": [[CLASSES[number % len(CLASSES)]] for number in range(every)],
            "split": [SPLITS[split] for split in splits],
        }
    )
    versions: list[DatasetVersion] = []
    for number in range(VERSIONS):
        images = IMAGES - GROWTH * (VERSIONS - 1 - number) // 2
        rows = table.slice(GROWTH * number // 4, images)
        own = splits[GROWTH * number // 4 :][:images]
        offsets = np.zeros(images, np.int64)
        for split in range(len(SPLITS)):
            offsets[own == split] = np.arange((own == split).sum()) * len(record)
        bad = np.arange(images) % (images // BAD) == 0
        status = np.where(bad, Status.CORRUPT.value, Status.PACKED.value)
        reason = pa.array(np.where(bad, "the file ends before the image does", ""), mask=~bad)
        laid = lay_out(
            rows,
            bucket=settings.data_bucket,
            size=20_000,
            status=pa.array(status.tolist(), pa.string()),
            reason=reason,
            width=28,
            height=28,
            shard="0",
            offset=pa.array(offsets),
        )
        counts = [int((own[~bad] == split).sum()) for split in range(len(SPLITS))]
        version = _document(settings, number, counts, int(bad.sum()), versions[-1] if versions else None)
        layout = version.layout
        write_manifest(s3, layout.bucket, layout.manifest, laid)
        if number == VERSIONS - 1:
            for place, name in enumerate(SPLITS):
                body = record * int((own == place).sum())
                s3.put_object(Bucket=layout.bucket, Key=layout.records(name), Body=body)
        s3.put_object(Bucket=layout.bucket, Key=layout.document, Body=version.model_dump_json().encode())
        versions.append(version)
    return versions


def _document(
    settings: Settings, number: int, counts: list[int], bad: int, parent: DatasetVersion | None
) -> DatasetVersion:
    created = STARTED + timedelta(days=number)
    layout = VersionLayout(settings.data_bucket, DATASET, f"{created:%Y%m%dT%H%M%SZ}-{number:08x}")
    each = SplitCounts(**{split: count // len(CLASSES) for split, count in zip(SPLITS, counts, strict=True)})
    return DatasetVersion(
        name=DATASET,
        version=layout.version,
        parent=parent.uri if parent else None,
        source=DatasetSource(addresses=["https://pictures.example/photographs.tar"]),
        uri=layout.uri,
        labels=CLASSES,
        multi_label=False,
        counts=SplitCounts(**dict(zip(SPLITS, counts, strict=True))),
        class_counts=dict.fromkeys(CLASSES, each),
        statuses={"packed": sum(counts), "corrupt": bad},
        new_images=GROWTH if parent else sum(counts),
        smallest_side=28,
        next_record_id=sum(counts),
        packing=ImageOptions(),
        split=SplitOptions(train=0.8, validation=0.1, test=0.1, seed=0),
        libraries={},
        created=created,
    )


def put_jobs(s3: Any, sagemaker: Any, settings: Settings, version: DatasetVersion, run: Run) -> list[str]:
    """Finished training jobs, the last fifty of one run, the others each of a run of its own."""
    s3.put_object(Bucket=settings.data_bucket, Key="few/train.txt", Body=b"0")
    names = [f"train-model-train-{number:010x}" for number in range(JOBS)]

    def start(number: int) -> None:
        is_of_run = number >= JOBS - OF_A_RUN
        own = run if is_of_run else Run("train_model", f"scheduled__{STARTED + timedelta(days=number):%Y-%m-%d}")
        sagemaker.create_training_job(
            TrainingJobName=names[number],
            AlgorithmSpecification={
                "TrainingImage": "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1",
                "TrainingInputMode": "File",
            },
            RoleArn=settings.execution_role_arn,
            InputDataConfig=[
                {
                    "ChannelName": "train",
                    "DataSource": {
                        "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{settings.data_bucket}/few/"}
                    },
                }
            ],
            OutputDataConfig={"S3OutputPath": f"s3://{settings.output_bucket}/jobs"},
            ResourceConfig={"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
            StoppingCondition={"MaxRuntimeInSeconds": 3600},
            HyperParameters={"epochs": "10", "learning_rate": f"{0.001 * (number + 1):g}", "num_layers": "50"},
            Tags=tags(settings, Run(own.dag_id, own.run_id, f"training.train/{number % OF_A_RUN}"), version),
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(JOBS)))
    wait_until(lambda: not sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"], "all end")
    return names


def put_models(s3: Any, sagemaker: Any, settings: Settings, version: DatasetVersion, job: str) -> None:
    """Registered models, each with the report of an evaluation."""
    prefix = f"reports/{Run('train_model', 'manual__2026-03-01T12:00:00+00:00').name}"
    metrics = {"images": 9_000, "accuracy": 0.9, "intervals": {"accuracy": {"low": 0.89, "high": 0.91}}}
    for name, body in (("metrics.json", json.dumps(metrics)), ("report.html", "<title>Report</title>")):
        s3.put_object(Bucket=settings.output_bucket, Key=f"{prefix}/{name}", Body=body.encode())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz"):
        pass
    s3.put_object(Bucket=settings.output_bucket, Key="model.tar.gz", Body=packed.getvalue())
    trained = JobResult.of_training_job(sagemaker.describe_training_job(TrainingJobName=job))
    first = register_model(
        sagemaker,
        job=trained,
        algorithm=algorithm_of(RunConf(), settings),
        evaluation=Evaluation(
            job=job,
            images=9_000,
            accuracy=0.9,
            classes={},
            report_uri=f"s3://{settings.output_bucket}/{prefix}/report.html",
            metrics_uri=f"s3://{settings.output_bucket}/{prefix}/metrics.json",
        ),
        dataset=version,
        run=Run("train_model", "manual__2026-03-01T12:00:00+00:00"),
    )
    described = sagemaker.describe_model_package(ModelPackageName=first.arn)
    fields = ("ModelPackageGroupName", "InferenceSpecification", "ModelMetrics", "ModelApprovalStatus")
    request = {field: described[field] for field in fields} | {"ModelPackageDescription": "A copy of the first."}

    def register(number: int) -> None:
        properties = described["CustomerMetadataProperties"] | {"accuracy": f"{0.9 + number / 10_000:.4f}"}
        sagemaker.create_model_package(**request, CustomerMetadataProperties=properties)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(register, range(1, MODELS)))


@contextmanager
def served(found: Filled) -> Iterator[httpx.Client]:
    """The pages over HTTP, and a client that is signed in; Airflow knows some hundred runs of the DAGs."""
    import uvicorn  # noqa: PLC0415  (it comes with Airflow, which reads its environment when it is loaded)
    from airflow.api_fastapi.app import get_auth_manager, init_auth_manager  # noqa: PLC0415
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: PLC0415

    from image_classification.ui.app import build_pages  # noqa: PLC0415

    put_runs(found.run)
    state = SimpleNamespace(auth_manager=init_auth_manager(), dag_bag=None, secret_key=secrets.token_hex(16))
    pages = build_pages(SimpleNamespace(state=state))  # type: ignore[arg-type]
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=USER, role="ADMIN"))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(pages, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", cookies={"_token": token}, trust_env=False, timeout=60
    ) as client:
        wait_until(lambda: server.started, "the pages answer")
        # Before somebody opens a page, Airflow's own have checked their rights and shown the icon of these.
        client.get("/jobs/of_no_kind/job")
        asked(client, "/static/models.svg")
        time.sleep(WARM_UP_SECONDS)
        yield client
    server.should_exit = True
    thread.join()


def put_runs(of_jobs: Run) -> None:
    """Runs of the DAGs in Airflow's database, that of the jobs among them."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: PLC0415
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db  # noqa: PLC0415
    from airflow.models.dagrun import DagRun  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415
    from airflow.utils.state import DagRunState  # noqa: PLC0415
    from airflow.utils.types import DagRunType  # noqa: PLC0415

    DagBundlesManager().sync_bundles_to_db()
    for dag in ("image_classification", of_jobs.dag_id):
        sync_bag_to_db(DagBag(ROOT / f"dags/{dag}.py", bundle_path=ROOT / "dags"), "dags-folder", None)
    with create_session() as session:
        for number in range(RUNS):
            at = STARTED + timedelta(hours=number)
            run_id = of_jobs.run_id if number == RUNS - 1 else f"scheduled__{at:%Y-%m-%dT%H}"
            session.add(
                DagRun(
                    dag_id=of_jobs.dag_id,
                    run_id=run_id,
                    run_type=DagRunType.MANUAL,
                    conf={"dataset.name": DATASET},
                    start_date=at,
                    state=DagRunState.SUCCESS,
                    triggering_user_name="Ada",
                )
            )


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/_local_aws/calls", trust_env=False).is_success
    return False


if __name__ == "__main__":
    main()
