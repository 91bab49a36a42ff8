"""Model artifacts: where a container definition points in S3, whether it is there, and its files on this machine."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from local_aws.aws_errors import validation_error
from local_aws.context import Aws
from local_aws.paths import OutsideError, inside
from local_aws.sagemaker.core.model_archive import UnusableArchiveError, unpack_archive


class ModelArtifactError(Exception):
    """An artifact that can't be brought to a container; the message is what the FailureReason says."""


@dataclass(frozen=True)
class ModelArtifact:
    """A model in S3: a gzipped tar archive (`is_archive`), one object, or every object under a prefix."""

    uri: str
    bucket: str
    key: str
    is_archive: bool = True
    is_prefix: bool = False

    @classmethod
    def of(cls, container: Mapping[str, Any]) -> ModelArtifact | None:
        """Return the artifact of a container definition; None when it has none."""
        source = (container.get("ModelDataSource") or {}).get("S3DataSource")
        if source is not None:
            uri = source["S3Uri"]
            is_archive, is_prefix = source["CompressionType"] == "Gzip", source["S3DataType"] == "S3Prefix"
            return cls(uri, *_bucket_and_key(uri), is_archive, is_prefix)
        uri = container.get("ModelDataUrl")
        return cls(uri, *_bucket_and_key(uri)) if uri else None

    def etag(self, aws: Aws) -> str | None:
        """Return the object's ETag; None for a prefix, and where nothing is there."""
        if self.is_prefix:
            return None
        try:
            return aws.s3.head_object(Bucket=self.bucket, Key=self.key)["ETag"].strip('"')
        except ClientError:
            return None

    def check(self, aws: Aws, role: str | None) -> None:
        """Raise ValidationException as AWS does when nothing is there."""
        try:
            if self.is_prefix:
                found = aws.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.key, MaxKeys=1).get("KeyCount", 0) > 0
            else:
                found = self.etag(aws) is not None
        except ClientError:
            found = False
        if found:
            return
        raise validation_error(
            f'Could not access model data at {self.uri}. Please make sure that the role "{role or "(none)"}" exists '
            'and that its trust relationship policy allows the action "sts:AssumeRole" for the service principal '
            '"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and that the object '
            f"is located in {aws.region}."
        )

    def install(self, aws: Aws, directory: Path) -> None:
        """Bring the model's files into a directory (/opt/ml/model); raises ModelArtifactError.

        No member of an archive is written outside the directory.
        """
        directory.mkdir(parents=True, exist_ok=True)
        try:
            if self.is_archive:
                self._extract(aws, directory)
            else:
                for key, relative in self._objects(aws):
                    target = _inside(directory, relative)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as file:
                        _copy(aws, self.bucket, key, file)
        except ClientError as error:
            raise ModelArtifactError(
                f'Failed to download model data from "{self.uri}": {error.response["Error"].get("Message", error)}'
            ) from error

    def _extract(self, aws: Aws, directory: Path) -> None:
        with tempfile.TemporaryFile(dir=directory.parent) as archive:
            _copy(aws, self.bucket, self.key, archive)
            packed = archive.tell()
            archive.seek(0)
            try:
                unpack_archive(archive, packed, directory)
            except UnusableArchiveError as error:
                raise ModelArtifactError(
                    f'Failed to extract model data archive from URL "{self.uri}". Please ensure that the object '
                    f"located at the URL is a valid tar.gz archive. ({error})"
                ) from error

    def _objects(self, aws: Aws) -> Iterator[tuple[str, str]]:
        if not self.is_prefix:
            yield self.key, PurePosixPath(self.key).name
            return
        for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key):
            for entry in page.get("Contents", ()):
                relative = entry["Key"][len(self.key) :].lstrip("/")
                if relative and not relative.endswith("/"):
                    yield entry["Key"], relative


def _bucket_and_key(uri: str) -> tuple[str, str]:
    """Split s3://bucket/key, or https://s3.region.amazonaws.com/bucket/key."""
    scheme, _, rest = uri.partition("://")
    if scheme == "https":
        rest = rest.partition("/")[2]
    bucket, _, key = rest.partition("/")
    return bucket, key


def _inside(directory: Path, relative: str) -> Path:
    try:
        return inside(directory, relative)
    except OutsideError as error:
        raise ModelArtifactError(f"An object would lie outside the model directory: {error}.") from error


def _copy(aws: Aws, bucket: str, key: str, file: Any) -> None:
    with contextlib.closing(aws.s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
        shutil.copyfileobj(body, file, 1024 * 1024)
