"""Data of jobs in S3: channels copied in, artifacts and checkpoints copied out, as any client of S3 does it."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from local_aws.safe_paths import OutsideError, inside

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COPIES_AT_ONCE = 4
TRANSFER = TransferConfig(multipart_threshold=256 << 20, multipart_chunksize=64 << 20, use_threads=False)
GZIP_LEVEL = 1


class DataError(Exception):
    """Data that a job's request names but S3 does not hold, or that cannot be laid down as files."""


@dataclass(frozen=True)
class S3Location:
    """A bucket and a key, or the beginning of keys."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> S3Location:
        """Read s3://bucket/key; raises DataError."""
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise DataError(f"{uri!r} is not an S3 URI: s3://bucket/prefix is expected")
        return cls(bucket, key)

    def under(self, *parts: str) -> S3Location:
        """The location of a key below this one."""
        return S3Location(self.bucket, "/".join([*filter(None, [self.key.rstrip("/")]), *parts]))

    @property
    def uri(self) -> str:
        """The location as s3://bucket/key."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class StoredFile:
    """One object of S3 and the path it takes in a folder."""

    location: S3Location
    path: str
    size: int


def files_under(s3: S3Client, prefix: S3Location) -> list[StoredFile]:
    """List every object whose key begins with the prefix; a folder's name is cut off, what follows it is kept.

    `train`, `train/` and the exact key of one object all mean what they do in a training job: `train/a/b.rec` becomes
    `a/b.rec`, and `train` finds `train_more/c.rec` too, as `train_more/c.rec`. Raises DataError for an unknown bucket.
    """
    found = []
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key):
            for entry in page.get("Contents", []):
                if not entry["Key"].endswith("/"):
                    path = _path_below(prefix.key, entry["Key"])
                    found.append(StoredFile(S3Location(prefix.bucket, entry["Key"]), path, entry["Size"]))
    except ClientError as error:
        raise DataError(f"{prefix.uri}: {error.response['Error']['Message']}") from error
    return found


def _path_below(prefix: str, key: str) -> str:
    rest = key[len(prefix) :]
    if rest and (not prefix or prefix.endswith("/") or rest.startswith("/")):
        return rest.removeprefix("/")
    return key[prefix.rfind("/") + 1 :]


def files_of_manifest(s3: S3Client, manifest: S3Location) -> list[StoredFile]:
    """List the objects of a manifest: `[{"prefix": "s3://bucket/folder/"}, "a.rec", "b/c.rec"]`.

    Raises DataError for a manifest that is absent, no such list, or that names an object S3 does not hold.
    """
    try:
        entries = json.loads(s3.get_object(Bucket=manifest.bucket, Key=manifest.key)["Body"].read())
    except ClientError as error:
        raise DataError(f"manifest {manifest.uri}: {error.response['Error']['Message']}") from error
    except ValueError as error:
        raise DataError(f"manifest {manifest.uri} is not JSON: {error}") from error
    if not (isinstance(entries, list) and entries and isinstance(entries[0], dict) and "prefix" in entries[0]):
        raise DataError(f'manifest {manifest.uri} does not begin with [{{"prefix": "s3://..."}}, ...]')
    prefix = str(entries[0]["prefix"])
    return [_manifest_entry(s3, manifest, prefix, entry) for entry in entries[1:]]


def _manifest_entry(s3: S3Client, manifest: S3Location, prefix: str, entry: Any) -> StoredFile:
    if not isinstance(entry, str):
        raise DataError(f"manifest {manifest.uri}: entry {entry!r} is not a key")
    location = S3Location.parse(prefix + entry)
    try:
        head = s3.head_object(Bucket=location.bucket, Key=location.key)
    except ClientError as error:
        raise DataError(f"manifest {manifest.uri} names {location.uri}, which S3 does not hold") from error
    return StoredFile(location, entry, head["ContentLength"])


def download(
    s3: S3Client, files: Sequence[StoredFile], folder: Path, *, gunzip: bool = False, cancelled: Callable[[], bool]
) -> None:
    """Copy objects into a folder, a few at once, until done or cancelled.

    Raises DataError for a path that would leave the folder or that two objects claim, and for bytes that are not gzip
    if `gunzip` asks for it; OSError for a disk that is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets = {file: _target(folder, file) for file in files}
    for target in targets.values():
        _make_parent(target, folder)

    def copy(file: StoredFile, target: Path) -> None:
        if cancelled():
            return
        try:
            s3.download_file(file.location.bucket, file.location.key, str(target), Config=TRANSFER)
        except ClientError as error:
            raise DataError(f"{file.location.uri}: {error.response['Error']['Message']}") from error
        except (IsADirectoryError, NotADirectoryError) as error:
            raise DataError(f"{file.location.uri} is a file and a folder at once") from error
        if gunzip:
            _unpack(target, file, folder)

    with ThreadPoolExecutor(COPIES_AT_ONCE, thread_name_prefix="download") as pool:
        copies = [pool.submit(copy, file, target) for file, target in targets.items()]
        ended, _ = wait(copies, return_when=FIRST_EXCEPTION)
        pool.shutdown(wait=True, cancel_futures=True)
    for copied in ended:
        copied.result()


def _target(folder: Path, file: StoredFile) -> Path:
    """Where a file goes; a key is text of a stranger and never trusted to stay in the folder."""
    try:
        return inside(folder, file.path)
    except OutsideError as error:
        raise DataError(f"the key of {file.location.uri} cannot be a file of the channel: {error}") from error


def _make_parent(target: Path, folder: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{target.parent.relative_to(folder)} is a file and a folder at once") from error


def _unpack(target: Path, file: StoredFile, folder: Path) -> None:
    unpacked = target.with_name(f"{target.name}.unpacked")
    try:
        with gzip.open(target, "rb") as packed, unpacked.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{file.location.uri} is not compressed with gzip, as CompressionType says: {error}") from error
    target.unlink()
    plain_path = file.path.removesuffix(".gz") or file.path
    unpacked.rename(_target(folder, replace(file, path=plain_path)))


def files_in(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, in order; links are not followed out of it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            yield path


def upload_archive(s3: S3Client, folder: Path, target: S3Location) -> None:
    """Pack a folder as tar.gz and put it in S3; raises DataError when S3 refuses it, OSError for a full disk."""
    archive = folder.with_name(f"{folder.name}.{PurePosixPath(target.key).name}")
    try:
        with tarfile.open(archive, "w:gz", compresslevel=GZIP_LEVEL) as packed:
            for path in files_in(folder):
                packed.add(path, arcname=str(path.relative_to(folder)), recursive=False)
        upload_file(s3, archive, target)
    finally:
        with contextlib.suppress(OSError):
            archive.unlink(missing_ok=True)


def upload_folder(s3: S3Client, folder: Path, target: S3Location) -> None:
    """Put every file of a folder in S3 below a prefix; raises DataError when S3 refuses one."""
    for path in files_in(folder):
        upload_file(s3, path, target.under(*path.relative_to(folder).parts))


def upload_file(s3: S3Client, path: Path, target: S3Location) -> None:
    """Put one file in S3; raises DataError when S3 refuses it."""
    try:
        s3.upload_file(str(path), target.bucket, target.key, Config=TRANSFER)
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise DataError(f"{target.uri}: {error}") from error
