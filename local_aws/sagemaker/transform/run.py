"""One run of a transform job: a serving process, every object through it, every answer to S3."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import shutil
import threading
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.account import Aws
from local_aws.log_events import LogStream
from local_aws.sagemaker.core.failures import JobFailure, no_objects, of_system
from local_aws.sagemaker.core.model_artifacts import ModelArtifactError
from local_aws.sagemaker.core.serving import (
    ContainerUnreachableError,
    NotHealthyError,
    ServingContainer,
    ServingModel,
)
from local_aws.sagemaker.core.utilisation import Utilisation
from local_aws.sagemaker.transform.job import TransformJob
from local_aws.sagemaker.transform.rules import DEFAULT_MAX_PAYLOAD_MB
from local_aws.storage import DataError, S3Location, StoredFile, files_of_manifest, files_under

LOG_GROUP = "/aws/sagemaker/TransformJobs"
INVOCATION_TIMEOUT_SECONDS = 600.0
STOP_GRACE_SECONDS = 10.0
STATUS_TOLD = 300

log = logging.getLogger(__name__)


class TransformFailure(JobFailure):
    """An object that could not be transformed."""


@dataclass(frozen=True)
class Settings:
    """How a job feeds its container: payload in bytes (0: without limit), seconds, tries after the first."""

    concurrent: int
    max_payload: int
    single_record: bool
    timeout: float
    retries: int

    @classmethod
    def of(cls, job: TransformJob, wanted: dict[str, object]) -> Settings:
        """Merge the request with what the container wants (/execution-parameters); the request decides."""
        request = job.request
        client = request.get("ModelClientConfig", {})
        concurrent = request.get("MaxConcurrentTransforms") or wanted.get("MaxConcurrentTransforms") or 1
        payload = request.get("MaxPayloadInMB", wanted.get("MaxPayloadInMB", DEFAULT_MAX_PAYLOAD_MB))
        strategy = request.get("BatchStrategy", wanted.get("BatchStrategy", "MultiRecord"))
        return cls(
            concurrent=int(str(concurrent)),
            max_payload=int(str(payload)) * 1024 * 1024,
            single_record=strategy == "SingleRecord",
            timeout=client.get("InvocationsTimeoutInSeconds", INVOCATION_TIMEOUT_SECONDS),
            retries=client.get("InvocationsMaxRetries", 0),
        )


class TransformRun:
    """Carries one job from its place in the queue to its end, in a thread of its own."""

    def __init__(self, aws: Aws, job: TransformJob) -> None:
        self._aws = aws
        self._job = job
        self._root = aws.directory("transform-job", job.name)

    def __call__(self) -> None:
        """Run to the end; every failure ends in the job's record, no process outlives it."""
        try:
            if self._job.slot.wait():
                self._job.begin()
                self._run()
            status, reason = "Completed", None
        except (JobFailure, NotHealthyError, ModelArtifactError) as error:
            status, reason = "Failed", str(error)
        except DataError as error:
            status, reason = "Failed", f"ClientError: {error}"
        except OSError as error:
            status, reason = "Failed", of_system(error, "Transforming", self._root)
        except (ClientError, BotoCoreError) as error:
            status, reason = "Failed", f"InternalServerError: {error}"
        except Exception as error:
            log.exception("transform job %s", self._job.name)
            status, reason = "Failed", f"InternalServerError: {type(error).__name__}: {error}"
        self._job.slot.release()
        shutil.rmtree(self._root, ignore_errors=True)
        self._job.finish(status, reason)

    def _run(self) -> None:
        objects = self._objects()
        instance = f"{self._job.name}/i-{uuid.uuid4().hex[:17]}"
        stream = LogStream(self._aws.logs, LOG_GROUP, instance)
        model = ServingModel(
            [
                ServingContainer(
                    self._aws,
                    container,
                    root=self._root / str(place),
                    on_line=stream.write,
                    environment=self._environment(),
                    networked=self._job.model.is_networked,
                )
                for place, container in enumerate(self._job.model.containers)
            ]
        )
        usage = Utilisation(self._aws.metrics, LOG_GROUP, {"Host": instance}, self._root, model.pids)
        stopper = threading.Thread(target=self._stop_on_demand, args=(model,), daemon=True)
        stopper.start()
        try:
            model.start()
            usage.start()
            self._transform(model, objects)
        except NotHealthyError:
            if not self._job.stopping.is_set():
                raise
        finally:
            usage.close()
            model.stop(STOP_GRACE_SECONDS)
            stream.close()
            self._aws.metrics.flush()

    def _stop_on_demand(self, model: ServingModel) -> None:
        while not self._job.stopping.wait(1.0):
            if model.is_stopped:
                return
        model.stop(STOP_GRACE_SECONDS)

    def _environment(self) -> dict[str, str]:
        request = self._job.request
        batch = {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(request.get("MaxPayloadInMB", DEFAULT_MAX_PAYLOAD_MB)),
            "SAGEMAKER_BATCH_STRATEGY": request.get("BatchStrategy", "MultiRecord"),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(request.get("MaxConcurrentTransforms") or 1),
        }
        return {**batch, **request.get("Environment", {})}

    def _objects(self) -> list[StoredFile]:
        """List the input; raises JobFailure when there is none."""
        source = self._job.request["TransformInput"]["DataSource"]["S3DataSource"]
        location = S3Location.parse(source["S3Uri"])
        is_manifest = source["S3DataType"] == "ManifestFile"
        found = files_of_manifest(self._aws.s3, location) if is_manifest else files_under(self._aws.s3, location)
        if not found:
            raise no_objects(location, self._aws.region, self._job.model.document.get("ExecutionRoleArn", ""), "")
        return found

    def _transform(self, model: ServingModel, objects: list[StoredFile]) -> None:
        """Send every object; what succeeds is stored even when another fails, as AWS does it."""
        settings = Settings.of(self._job, _execution_parameters(model))
        failures: dict[int, TransformFailure] = {}
        with ThreadPoolExecutor(settings.concurrent, thread_name_prefix="transform") as pool:
            pending = {pool.submit(self._send, model, settings, stored): n for n, stored in enumerate(objects)}
            for done in as_completed(pending):
                try:
                    done.result()
                except TransformFailure as failure:
                    failures[pending[done]] = failure
        if failures:
            first = failures[min(failures)]
            others = f" ({len(failures)} of {len(objects)} objects failed.)" if len(failures) > 1 else ""
            raise TransformFailure(f"{first}{others}")

    def _send(self, model: ServingModel, settings: Settings, stored: StoredFile) -> None:
        if self._job.stopping.is_set():
            return
        body = self._read(stored)
        parts = [self._invoke(model, settings, stored, payload) for payload in self._payloads(body, settings, stored)]
        output = self._job.request["TransformOutput"]
        ending = b"\n" if output.get("AssembleWith", "None") == "Line" else b""
        assembled = b"".join(part + (ending if not part.endswith(b"\n") else b"") for part in parts)
        target = S3Location.parse(output["S3OutputPath"]).under(f"{stored.path}.out")
        self._aws.s3.put_object(Bucket=target.bucket, Key=target.key, Body=assembled)

    def _read(self, stored: StoredFile) -> bytes:
        answer = self._aws.s3.get_object(Bucket=stored.location.bucket, Key=stored.location.key)
        with contextlib.closing(answer["Body"]) as stream:
            body = stream.read()
        if self._job.request["TransformInput"].get("CompressionType") != "Gzip":
            return body
        try:
            return gzip.decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            raise TransformFailure(
                f"ClientError: {stored.location.uri} is not compressed with gzip: {error}"
            ) from error

    def _payloads(self, body: bytes, settings: Settings, stored: StoredFile) -> Iterator[bytes]:
        """Yield the bodies of the requests for one object: the whole, each line, or as many lines as fit."""
        if self._job.request["TransformInput"].get("SplitType", "None") != "Line":
            yield self._fitting(body, settings, stored)
            return
        batch: list[bytes] = []
        size = 0
        for line in body.splitlines():
            if batch and (settings.single_record or (settings.max_payload and size + len(line) > settings.max_payload)):
                yield self._fitting(b"\n".join(batch), settings, stored)
                batch, size = [], 0
            batch.append(line)
            size += len(line) + 1
        if batch:
            yield self._fitting(b"\n".join(batch), settings, stored)

    @staticmethod
    def _fitting(payload: bytes, settings: Settings, stored: StoredFile) -> bytes:
        if settings.max_payload and len(payload) > settings.max_payload:
            raise TransformFailure(
                f"ClientError: {stored.location.uri} needs a payload of {len(payload)} bytes; MaxPayloadInMB allows "
                f"{settings.max_payload}."
            )
        return payload

    def _invoke(self, model: ServingModel, settings: Settings, stored: StoredFile, payload: bytes) -> bytes:
        request = self._job.request
        headers = {"Content-Type": request["TransformInput"].get("ContentType", "application/octet-stream")}
        if "Accept" in request["TransformOutput"]:
            headers["Accept"] = request["TransformOutput"]["Accept"]
        told = ""
        for _ in range(settings.retries + 1):
            if self._job.stopping.is_set():
                break
            try:
                answer = model.invoke(payload, headers, settings.timeout)
            except ContainerUnreachableError as error:
                told = f"AlgorithmError: no answer from the container for {stored.location.uri}: {error}"
                continue
            if 200 <= answer.status < 300:
                return answer.body
            side = "ClientError" if answer.status < 500 else "AlgorithmError"
            said = answer.body.decode(errors="replace")[:STATUS_TOLD]
            told = f"{side}: Bad HTTP status received from algorithm: {answer.status} for {stored.location.uri}: {said}"
            if answer.status < 500:
                break
        raise TransformFailure(told or "The job was stopped.")


def _execution_parameters(model: ServingModel) -> dict[str, object]:
    """Ask the container how it wants to be fed; containers need not say."""
    try:
        answer = model.first.get("/execution-parameters")
        wanted = json.loads(answer.body) if answer.status == 200 else {}
    except (ContainerUnreachableError, ValueError):
        return {}
    return wanted if isinstance(wanted, dict) else {}
