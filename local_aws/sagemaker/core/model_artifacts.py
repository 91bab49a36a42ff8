"""Model artifacts: where a container definition points in S3, whether it is there, and its files on this machine.

A model.tar.gz is unpacked whoever made it: within a folder, and within bounds of size.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from botocore.exceptions import ClientError

from local_aws.account import Aws
from local_aws.aws_errors import validation_error
from local_aws.safe_paths import OutsideError, inside

MOST_UNPACKED = 16 << 30
"""Bytes of a model's files."""
MOST_TIMES = 100
"""How many times as large as the archive its files may be, from ALWAYS_UNPACKED on: weights hardly shrink at all."""
ALWAYS_UNPACKED = 64 << 20
MOST_MEMBERS = 10_000
LONGEST_READ = 1 << 20
LONGEST_HEADERS = 2 << 20
"""Bytes of all headers before one member."""


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
        """The artifact of a container definition; None when it has none."""
        source = (container.get("ModelDataSource") or {}).get("S3DataSource")
        if source is not None:
            uri = source["S3Uri"]
            is_archive, is_prefix = source["CompressionType"] == "Gzip", source["S3DataType"] == "S3Prefix"
            return cls(uri, *_bucket_and_key(uri), is_archive, is_prefix)
        uri = container.get("ModelDataUrl")
        return cls(uri, *_bucket_and_key(uri)) if uri else None

    def etag(self, aws: Aws) -> str | None:
        """The object's ETag; None for a prefix, and where nothing is there."""
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


class UnusableArchiveError(ValueError):
    """An archive that is not unpacked; the sentence says why."""


class BoundedReads(gzip.GzipFile):
    """A gzip file of which little is read at once.

    tarfile reads a member's extended header whole, and two megabytes of gzip can hold one of two gigabytes. The map
    of a sparse file is read in small pieces, for as long as it continues.
    """

    headers: int | None = 0
    """Bytes read for a member, None once more than headers is read."""

    def read(self, size: int | None = -1) -> bytes:
        """Read on; raises tarfile.ReadError for more than a header or a piece of a file needs."""
        if size is None or not 0 <= size <= LONGEST_READ:
            raise tarfile.ReadError(f"it has a header of {size} bytes")
        if self.headers is not None:
            self.headers += size
            if self.headers > LONGEST_HEADERS:
                raise UnusableArchiveError(f"it has a member with headers of more than {LONGEST_HEADERS} bytes")
        return super().read(size)


def unpack_archive(archive: IO[bytes], packed: int, target: Path) -> None:
    """Unpack a gzipped tar of `packed` bytes into a folder; raises UnusableArchiveError, and OSError of a full disk.

    Nothing is written before the sizes of all members are known, and nothing outside the folder.
    """
    try:
        with BoundedReads(fileobj=archive) as plain, tarfile.open(fileobj=plain, mode="r:") as members:
            listed = listed_members(plain, members, packed)
            plain.headers = None
            members.extractall(target, [plain_member(member, target) for member in listed])  # noqa: S202
    except UnusableArchiveError:
        raise
    except Exception as broken:
        if isinstance(broken, OSError) and broken.errno is not None:
            raise  # the disk's fault, not the archive's
        raise UnusableArchiveError(" ".join(str(broken).split()) or type(broken).__name__) from broken


def listed_members(reads: BoundedReads, members: tarfile.TarFile, packed: int) -> list[tarfile.TarInfo]:
    """The members of an archive of `packed` bytes; raises UnusableArchiveError for more than the bounds allow."""
    most = min(MOST_UNPACKED, max(MOST_TIMES * packed, ALWAYS_UNPACKED))
    unpacked = 0
    listed: list[tarfile.TarInfo] = []
    for member in members:
        reads.headers = 0
        if member.size < 0:
            raise UnusableArchiveError(f"{member.name} claims {member.size} bytes")
        unpacked += member.size
        if len(listed) == MOST_MEMBERS:
            raise UnusableArchiveError(f"it has more than {MOST_MEMBERS} members")
        if unpacked > most:
            raise UnusableArchiveError(
                f"its files take more than {most} bytes unpacked, the archive has {packed}: no model shrinks so much"
            )
        listed.append(member)
    return listed


def plain_member(member: tarfile.TarInfo, target: Path) -> tarfile.TarInfo:
    """Let files and folders inside the target pass (tarfile's own filters came with Python 3.11.4)."""
    if not (member.isfile() or member.isdir()):
        raise UnusableArchiveError(f"{member.name} is neither a file nor a folder")
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    try:
        if member.name.startswith("/"):
            raise OutsideError(f"{member.name!r} is not a path inside a folder")
        if parts:
            inside(target, *parts)
    except OutsideError as error:
        raise UnusableArchiveError(f"a member would lie outside the model directory: {error}") from error
    member.mode = 0o700 if member.isdir() else 0o600
    return member
