"""Data capture: what an endpoint was asked and what it answered, as JSON Lines in S3.

Source: docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html. An object holds what one
variant captured within a second, where AWS collects for about a minute.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.account import Aws
from local_aws.sagemaker.core.resource_table import now
from local_aws.storage import S3Location

BATCH_SECONDS = 1.0
MOST_WAITING_BYTES = 256 << 20
"""Bytes of bodies that wait to be written; what comes beyond them is not captured."""
ENCODINGS = (("CsvContentTypes", "CSV"), ("JsonContentTypes", "JSON"))

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Body:
    """One direction of an invocation."""

    content_type: str
    content: bytes


@dataclass(frozen=True)
class Captured:
    """One invocation of a variant; `place` is where its endpoint's and variant's objects lie."""

    place: S3Location
    input: Body | None
    output: Body | None
    encodings: Mapping[str, str]
    inference_id: str | None = None
    time: datetime = field(default_factory=now)

    @property
    def size(self) -> int:
        """The bytes of both bodies."""
        return sum(len(body.content) for body in (self.input, self.output) if body is not None)

    @property
    def folder(self) -> S3Location:
        """The folder of the hour."""
        return self.place.under(f"{self.time:%Y/%m/%d/%H}")

    def line(self) -> str:
        """The line of JSON that AWS writes."""
        bodies = (("endpointInput", "INPUT", self.input), ("endpointOutput", "OUTPUT", self.output))
        named = {} if self.inference_id is None else {"inferenceId": self.inference_id}
        document = {
            "captureData": {name: self._encoded(body, mode) for name, mode, body in bodies if body is not None},
            "eventMetadata": {
                "eventId": str(uuid.uuid4()),
                **named,
                "inferenceTime": f"{self.time:%Y-%m-%dT%H:%M:%SZ}",
            },
            "eventVersion": "0",
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)

    def _encoded(self, body: Body, mode: str) -> dict[str, str]:
        """A body as text if its content type is one of the configuration's, in base64 otherwise."""
        encoding = self.encodings.get(body.content_type.partition(";")[0].strip().lower(), "BASE64")
        is_text = encoding != "BASE64"
        data = body.content.decode(errors="replace") if is_text else base64.b64encode(body.content).decode()
        return {"observedContentType": body.content_type, "mode": mode, "data": data, "encoding": encoding}


class CaptureFeed:
    """Writes what the endpoints of one account and region captured; `put` never waits for S3.

    What S3 refuses does not disturb an endpoint: the loss is logged.
    """

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._waiting: queue.SimpleQueue[Captured] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._writer: threading.Thread | None = None

    def put(self, captured: Captured) -> None:
        """Queue an invocation, unless too much waits already."""
        with self._lock:
            if self._waiting_bytes + captured.size > MOST_WAITING_BYTES:
                log.warning("an invocation of %s is not captured: S3 is too slow", captured.place.uri)
                return
            self._waiting_bytes += captured.size
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="capture", daemon=True)
                self._writer.start()
        self._waiting.put(captured)

    def _write_all(self) -> None:
        while True:
            batch = self._next_batch()
            for _, group in itertools.groupby(sorted(batch, key=_folder), key=_folder):
                self._write(list(group))
            with self._lock:
                self._waiting_bytes -= sum(captured.size for captured in batch)

    def _next_batch(self) -> list[Captured]:
        """Collect for a moment after the first."""
        batch = [self._waiting.get()]
        deadline = time.monotonic() + BATCH_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                batch.append(self._waiting.get(timeout=left))
            except queue.Empty:
                break
        return batch

    def _write(self, group: list[Captured]) -> None:
        first = min(captured.time for captured in group)
        target = group[0].folder.under(f"{first:%M-%S}-{first.microsecond // 1000:03}-{uuid.uuid4()}.jsonl")
        body = "".join(f"{captured.line()}\n" for captured in group).encode()
        try:
            self._aws.s3.put_object(Bucket=target.bucket, Key=target.key, Body=body, ContentType="application/jsonl")
        except (ClientError, BotoCoreError) as error:
            log.warning("%d captured invocations are lost: %s: %s", len(group), target.uri, error)


def _folder(captured: Captured) -> str:
    return captured.folder.uri


@dataclass(frozen=True)
class Capture:
    """What a DataCaptureConfig asks for, for one variant of an endpoint."""

    percent: int
    modes: frozenset[str]
    encodings: Mapping[str, str]
    place: S3Location
    feed: CaptureFeed
    dice: Callable[[], float] = random.random

    @classmethod
    def of(cls, config: Mapping[str, Any] | None, feed: CaptureFeed, endpoint: str, variant: str) -> Capture | None:
        """The capture of a variant; None if nothing is to be captured."""
        if config is None or not config.get("EnableCapture", True):
            return None
        return cls(
            percent=config["InitialSamplingPercentage"],
            modes=frozenset(_modes(option["CaptureMode"] for option in config["CaptureOptions"])),
            encodings={
                content_type.lower(): encoding
                for member, encoding in ENCODINGS
                for content_type in (config.get("CaptureContentTypeHeader") or {}).get(member, ())
            },
            place=S3Location.parse(config["DestinationS3Uri"]).under(endpoint, variant),
            feed=feed,
        )

    def take(self, asked: Body, answered: Body, inference_id: str | None) -> None:
        """Capture an invocation, if it is one of the percentage."""
        if self.dice() * 100 >= self.percent:
            return
        self.feed.put(
            Captured(
                self.place,
                asked if "Input" in self.modes else None,
                answered if "Output" in self.modes else None,
                self.encodings,
                inference_id,
            )
        )


def _modes(modes: Iterable[str]) -> Iterable[str]:
    for mode in modes:
        yield from ("Input", "Output") if mode == "InputAndOutput" else (mode,)


def summary(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The DataCaptureConfigSummary of DescribeEndpoint."""
    if config is None:
        return None
    is_enabled = config.get("EnableCapture", True)
    return {
        "EnableCapture": is_enabled,
        "CaptureStatus": "Started" if is_enabled else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }
