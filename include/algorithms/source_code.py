"""The source of a script as SageMaker's toolkit takes it: `sourcedir.tar.gz` in S3, packed once for each content.

Source: github.com/aws/sagemaker-training-toolkit, `files.py` (`download_and_extract`: a gzipped tar in S3).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from include.sagemaker.api import existing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parent.parent.parent
"""The folder in which `dags`, `plugins` and `include` lie."""
ARCHIVE = "sourcedir.tar.gz"
REQUIREMENTS = "requirements.txt"
MOST_BYTES = 100 << 20
"""A source of more is data: it belongs into a channel."""


class SourceCodeError(ValueError):
    """The source of a script cannot be read or packed; the message says why and what to do."""


def is_archive(source: str) -> bool:
    """Whether a source is packed already."""
    return source.startswith("s3://") and source.endswith(".tar.gz")


def pack_source(s3: S3Client, source: str, *, bucket: str) -> str:
    """The address of the archive of a source, which is written to the bucket unless it is there.

    Its key holds the hash of names and contents. Raises SourceCodeError, and botocore's errors for an S3 source.
    """
    if is_archive(source):
        return source
    files = read_source(s3, source)
    key = f"code/{content_hash(files)}/{ARCHIVE}"
    address = f"s3://{bucket}/{key}"
    if existing(s3.head_object, Bucket=bucket, Key=key) is None:
        s3.put_object(Bucket=bucket, Key=key, Body=archive(files), ContentType="application/gzip")
        log.info("Packed %d files of %s: %s", len(files), source, address)
    else:
        log.info("%s is packed already: %s", source, address)
    return address


def read_source(s3: S3Client, source: str) -> dict[str, bytes]:
    """The files of a source by their path in it. Raises SourceCodeError if there are none, or too much."""
    files: dict[str, bytes] = {}
    size = 0
    for name, content in _in_s3(s3, source) if source.startswith("s3://") else _in_project(source):
        files[name] = content
        size += len(content)
        if size > MOST_BYTES:
            raise SourceCodeError(
                f"The source {source} has more than {MOST_BYTES >> 20} MB: leave data out of it, and give them to "
                "the job by training.algorithm.further_channels."
            )
    if not files:
        raise SourceCodeError(f"The source {source} has no file: give the folder of the script.")
    return dict(sorted(files.items()))


def content_hash(files: Mapping[str, bytes]) -> str:
    """A hash of the names and contents of files."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def archive(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar of the files, without what differs from one packing to the next: times, owners, order."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def is_of_source(name: str) -> bool:
    """Whether a file belongs to a source: neither hidden nor compiled."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") or part == "__pycache__" for part in parts) and not name.endswith(".pyc")


def _in_project(source: str) -> Iterator[tuple[str, bytes]]:
    folder = PROJECT / source
    if not folder.is_dir():
        raise SourceCodeError(f"The source {source} is not a folder of this project ({PROJECT}): correct it.")
    if not folder.resolve().is_relative_to(PROJECT):
        raise SourceCodeError(
            f"The source {source} is a link to a folder outside this project ({folder.resolve()}): copy it into it."
        )
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise SourceCodeError(f"{source}/{name} is a link: put the file itself there.")
        if path.is_file() and is_of_source(name):
            yield name, path.read_bytes()


def _in_s3(s3: S3Client, source: str) -> Iterator[tuple[str, bytes]]:
    bucket, _, key = source.removeprefix("s3://").partition("/")
    prefix = f"{key.rstrip('/')}/"
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            name = entry["Key"].removeprefix(prefix)
            if name and not name.endswith("/") and is_of_source(name):
                yield name, s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
