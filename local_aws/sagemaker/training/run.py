"""One run of a training job: data in, container, checkpoints and artifacts out, and the status it ends with."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.account import Aws
from local_aws.container_process import ContainerProcess, ContainerStartError
from local_aws.log_events import LogStream
from local_aws.metric_feed import MetricDatum
from local_aws.safe_paths import inside
from local_aws.sagemaker.core import failures
from local_aws.sagemaker.core.container_files import HOST, write_training_inputs
from local_aws.sagemaker.core.container_start import start_container
from local_aws.sagemaker.core.utilisation import Utilisation
from local_aws.sagemaker.training.job import TrainingJob
from local_aws.sagemaker.training.rules import CHECKPOINT_PATH, DEFAULT_RUNTIME, ML_ROOT
from local_aws.storage import (
    DataError,
    S3Location,
    download,
    files_in,
    files_of_manifest,
    files_under,
    upload_archive,
    upload_file,
    upload_folder,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LOG_GROUP = NAMESPACE = "/aws/sagemaker/TrainingJobs"
SYNC_SECONDS = 5.0

log = logging.getLogger(__name__)


class TrainingRun:
    """Carries one job from its place in the queue to its end, in the thread that calls it."""

    def __init__(self, aws: Aws, job: TrainingJob) -> None:
        self._aws = aws
        self._job = job
        self._base = aws.directory("training-jobs", job.name)
        self._last_line = ""

    def __call__(self) -> None:
        """Run the job to its end; whatever happens is noted in the job's record."""
        try:
            if self._wait_for_slot():
                self._job.begin()
                self._run()
                while self._job.goes_on_elsewhere():
                    self._job.begin_again()
                    self._run()
        except failures.JobFailure as failure:
            self._fail(str(failure))
        except DataError as error:
            self._fail(f"ClientError: {error}")
        except ContainerStartError as error:
            self._fail(f"ClientError: {error}. {failures.what_to_do(error)}")
        except OSError as error:
            self._fail(failures.of_system(error, self._job.secondary_status, self._base))
        except (ClientError, BotoCoreError) as error:
            self._fail(f"InternalServerError: {error}")
        except Exception as error:
            log.exception("training job %s", self._job.name)
            self._fail(f"InternalServerError: {type(error).__name__}: {error}")
        finally:
            if self._job.stopping.is_set() and not self._job.finished.is_set():
                self._job.finish("Stopped", secondary_status=self._job.stop_status)
            self._job.slot.release()
            shutil.rmtree(self._base, ignore_errors=True)

    def _wait_for_slot(self) -> bool:
        """Wait in the queue; False when the job was stopped there, by a person or by MaxWaitTimeInSeconds."""
        longest = self._job.request.get("StoppingCondition", {}).get("MaxWaitTimeInSeconds")
        if self._job.slot.wait(longest):
            return not self._job.stopping.is_set()
        self._job.stop(ends_as="MaxWaitTimeExceeded")
        return False

    def _run(self) -> None:
        """Run on one instance: to the job's end, or until the instance is taken away."""
        reason = self._aws.server.faults.reason_to_fail()
        if reason is not None:
            raise failures.JobFailure(reason)
        shutil.rmtree(self._base, ignore_errors=True)
        write_training_inputs(self._base, self._job.request)
        for channel in self._job.request.get("InputDataConfig", []):
            self._download(channel)
        checkpoints = self._checkpoint_sync(self._job.request.get("CheckpointConfig"))
        if checkpoints is not None:
            checkpoints.restore()
        if self._job.stopping.is_set():
            return
        returncode = self._train(checkpoints)
        if checkpoints is not None:
            checkpoints.close()
        if self._job.is_interrupted and not self._job.stopping.is_set():
            return
        if returncode != 0 and not self._job.stopping.is_set():
            self._upload_output()
            raise failures.of_container(returncode, self._base, self._last_line)
        self._upload()
        if not self._job.stopping.is_set():
            self._job.finish("Completed")

    def _download(self, channel: Mapping[str, Any]) -> None:
        source = channel["DataSource"]["S3DataSource"]
        location = S3Location.parse(source["S3Uri"])
        try:
            if source["S3DataType"] == "ManifestFile":
                files = files_of_manifest(self._aws.s3, location)
            else:
                files = files_under(self._aws.s3, location)
        except DataError as error:
            raise self._no_objects(location, str(error)) from error
        if not files:
            raise self._no_objects(location, "")
        download(
            self._aws.s3,
            files,
            inside(self._base / "input" / "data", channel["ChannelName"]),
            gunzip=channel.get("CompressionType") == "Gzip",
            cancelled=self._job.stopping.is_set,
        )

    def _no_objects(self, location: S3Location, said: str) -> failures.JobFailure:
        return failures.no_objects(location, self._aws.region, self._job.request["RoleArn"], said)

    def _train(self, checkpoints: CheckpointSync | None) -> int:
        """Run the container to its end and return its exit code, negative for the signal that ended it."""
        request = self._job.request
        algorithm = request["AlgorithmSpecification"]
        given = request.get("Environment", {})
        named = {"TRAINING_JOB_NAME": self._job.name, "TRAINING_JOB_ARN": self._job.arn}
        self._job.move("Training")
        stream = LogStream(self._aws.logs, LOG_GROUP, f"{self._job.name}/{HOST}-{int(time.time())}")
        try:
            container = start_container(
                self._aws,
                algorithm["TrainingImage"],
                "train",
                base=self._base,
                given={**given, **named},
                networked=not request.get("EnableNetworkIsolation", False),
                on_line=lambda line: self._read(line, stream),
                algorithm=algorithm,
            )
            self._job.run_in(container)
            host = {"Host": f"{self._job.name}/{HOST}"}
            usage = Utilisation(self._aws.metrics, NAMESPACE, host, self._base, container.pids)
            usage.start()
            if checkpoints is not None:
                checkpoints.start()
            try:
                return self._watch(container)
            finally:
                usage.close()
        finally:
            stream.close()
            self._aws.metrics.flush()

    def _watch(self, container: ContainerProcess) -> int:
        runtime = self._job.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_RUNTIME)
        limit = threading.Timer(runtime, self._job.stop, kwargs={"ends_as": "MaxRuntimeExceeded"})
        limit.daemon = True
        limit.start()
        try:
            returncode = container.wait()
        finally:
            limit.cancel()
        return -1 if returncode is None else returncode

    def _read(self, line: str, stream: LogStream) -> None:
        self._last_line = line or self._last_line
        stream.write(line)
        for metric in self._job.metrics.read(line):
            dimensions = {"TrainingJobName": self._job.name}
            self._aws.metrics.put(MetricDatum(NAMESPACE, metric.name, metric.value, dimensions, time=metric.time))

    def _upload(self) -> None:
        """Put the model and the other output in S3; a job that was stopped keeps what it has saved."""
        model = self._base / "model"
        if self._job.stopping.is_set() and not any(files_in(model)):
            return
        self._job.move("Uploading")
        config = self._job.request["OutputDataConfig"]
        target = S3Location.parse(config["S3OutputPath"]).under(self._job.name, "output")
        if config.get("CompressionType") == "NONE":
            upload_folder(self._aws.s3, model, target.under("model"))
            self._job.artifact_uri = f"{target.under('model').uri}/"
        else:
            upload_archive(self._aws.s3, model, target.under("model.tar.gz"))
            self._job.artifact_uri = target.under("model.tar.gz").uri
        self._upload_output()

    def _upload_output(self) -> None:
        config = self._job.request["OutputDataConfig"]
        data = self._base / "output" / "data"
        target = S3Location.parse(config["S3OutputPath"]).under(self._job.name, "output")
        if not any(files_in(data)):
            return
        if config.get("CompressionType") == "NONE":
            upload_folder(self._aws.s3, data, target.under("data"))
        else:
            upload_archive(self._aws.s3, data, target.under("output.tar.gz"))

    def _checkpoint_sync(self, config: Mapping[str, str] | None) -> CheckpointSync | None:
        if config is None:
            return None
        folder = inside(self._base, config.get("LocalPath", CHECKPOINT_PATH).removeprefix(ML_ROOT).rstrip("/"))
        return CheckpointSync(self._aws.s3, folder, S3Location.parse(config["S3Uri"]))

    def _fail(self, reason: str) -> None:
        self._job.finish("Failed", reason=reason)


class CheckpointSync:
    """Copies what changes in a folder to S3, every few seconds and once more at the end."""

    def __init__(self, s3: S3Client, folder: Path, target: S3Location) -> None:
        self._s3 = s3
        self._folder = folder
        self._target = target
        self._sent: dict[Path, tuple[int, int]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="checkpoints", daemon=True)

    def restore(self) -> None:
        """Lay down what S3 holds already; raises DataError for a bucket that cannot be read."""
        prefix = S3Location(self._target.bucket, f"{self._target.key.rstrip('/')}/".lstrip("/"))
        download(self._s3, files_under(self._s3, prefix), self._folder, cancelled=self._ended.is_set)
        self._sent = self._stamps()

    def start(self) -> None:
        """Begin to copy changes, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Copy the last changes; raises DataError when S3 refuses them."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._send_changes()

    def _keep(self) -> None:
        while not self._ended.wait(SYNC_SECONDS):
            try:
                self._send_changes()
            except (DataError, OSError) as error:
                log.warning("checkpoints to %s: %s", self._target.uri, error)

    def _send_changes(self) -> None:
        for path, stamp in self._stamps().items():
            if self._sent.get(path) != stamp and path.exists():
                upload_file(self._s3, path, self._target.under(*path.relative_to(self._folder).parts))
                self._sent[path] = stamp

    def _stamps(self) -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files_in(self._folder)}
