"""Upload a local folder to S3: `python -m include.datasets.upload FOLDER s3://bucket/prefix/`.

Only what is missing or differs is sent, so the same command continues where an earlier one was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from obstore.exceptions import BaseError

from include.datasets.errors import LIST, DatasetError, explained
from include.datasets.layout import parse_s3_uri
from include.datasets.objects import MD5, ObjectWriter, StoredObjects, unwritable
from include.datasets.source_image import system_name

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DONE, INCOMPLETE, MISTAKE, INTERRUPTED = 0, 1, 2, 130
_ABOUT = """Upload a local folder to S3. Only what is missing or differs is sent, so the same command continues where it
was stopped; nothing is deleted. Exit status: 0 everything is there, 1 something is not, 2 wrong use, no such bucket."""
LARGE = 32 << 20
"""Bytes beyond which a file is sent in parts."""
PART = 16 << 20
MOST_PARTS = 10_000
OTHER_PARTS = (5 << 20, 8 << 20, 10 << 20, 15 << 20, 32 << 20, 50 << 20, 64 << 20, 100 << 20, 128 << 20)
"""Parts in which other tools upload: their ETags are understood too."""
CHUNK = 1 << 20
LIVE_SECONDS, LINE_SECONDS = 0.5, 10.0
HIDDEN = "hidden or system"
SHOWN = 20


def main(arguments: Sequence[str] | None = None, stream: TextIO | None = None) -> int:
    """Run the command; returns its exit code: 0 only when everything is in S3."""
    out = stream or sys.stderr
    asked = _parser().parse_args(arguments)
    try:
        bucket, prefix = parse_s3_uri(asked.target)
        if not asked.folder.is_dir():
            raise DatasetError(f"FOLDER = {asked.folder}: there is no such folder")
        prefix = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        s3 = open_bucket(bucket, asked.endpoint_url)
        return FolderUpload(s3, bucket, prefix, LocalFolder(asked.folder), dry_run=asked.dry_run, out=out).run()
    except KeyboardInterrupt:
        out.write("\nstopped: what was uploaded stays; run the same command to continue\n")
        return INTERRUPTED
    except (DatasetError, BotoCoreError, Boto3Error, ClientError, BaseError, OSError) as error:
        out.write(f"{_one_line(error)}\n")
        return MISTAKE


def open_bucket(bucket: str, endpoint_url: str | None = None) -> S3Client:
    """Make a client for the bucket's own region. Raises DatasetError if the bucket cannot be used."""
    config = Config(max_pool_connections=32, retries={"mode": "standard", "total_max_attempts": 8})
    try:
        s3 = boto3.client("s3", endpoint_url=endpoint_url, config=config)
        s3.head_bucket(Bucket=bucket)
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise DatasetError(
            f"no AWS credentials ({error}): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret"
        ) from error
    except ClientError as error:
        answer = error.response["ResponseMetadata"]
        region = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region")
        if answer["HTTPStatusCode"] in (301, 400) and region:
            return boto3.client("s3", endpoint_url=endpoint_url, config=config, region_name=region)
        remedies = {
            404: "there is no such bucket: create it, or correct the address",
        }
        refusal = explained(_said(s3, bucket, error), f"s3://{bucket}", LIST)
        what = remedies.get(answer["HTTPStatusCode"]) or refusal or f"S3 answers {error}"
        raise DatasetError(f"bucket {bucket}: {what}") from error
    return s3


def _said(s3: S3Client, bucket: str, error: ClientError) -> ClientError:
    """The same refusal with its reason: an answer to a HEAD has no body, and so no code."""
    try:
        s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as said:
        return said
    return error


class FolderUpload:
    """One run of the command."""

    def __init__(
        self, s3: S3Client, bucket: str, prefix: str, folder: LocalFolder, *, dry_run: bool, out: TextIO
    ) -> None:
        self._s3 = s3
        self._stored = StoredObjects(s3, bucket, prefix)
        self._folder = folder
        self._dry_run = dry_run
        self._out = out
        self._sent = self._there = 0

    def run(self) -> int:
        """Send what is missing or differs; returns the exit code."""
        files = bytes_ = 0
        for found in self._folder.files():
            files, bytes_ = files + 1, bytes_ + found.size
        self._out.write(f"{files} files, {bytes_ / 1e6:.1f} MB in {self._folder.root}\n")
        self._stored.list_all()
        progress = _Progress(self._out, files, bytes_)
        if self._dry_run:
            for found in self._folder.files():
                self._compare(found)
                progress.step(found.size)
        else:
            with ObjectWriter(self._s3, self._stored) as writer:
                for found in self._folder.files():
                    self._send(writer, found)
                    progress.step(found.size)
            self._sent, self._there = self._sent + writer.written, self._there + writer.kept
        progress.end()
        return self._summary()

    def _send(self, writer: ObjectWriter, found: LocalFile) -> None:
        try:
            if found.size > LARGE:
                self._send_large(found)
            else:
                writer.put(self._key(found), found.path.read_bytes())
        except OSError as error:
            self._folder.refuse(found.name, error.strerror or str(error))

    def _send_large(self, found: LocalFile) -> None:
        md5 = md5_of(found.path)
        if self._holds_large(found, md5):
            self._there += 1
            return
        part = max(PART, -(-found.size // MOST_PARTS))
        config = TransferConfig(multipart_threshold=LARGE, multipart_chunksize=part, max_concurrency=4)
        try:
            self._s3.upload_file(
                str(found.path),
                self._stored.bucket,
                self._key(found),
                ExtraArgs={"Metadata": {MD5: md5}},
                Config=config,
            )
        except ClientError as error:
            raise unwritable(self._stored.bucket, self._stored.prefix, error) from error
        self._sent += 1

    def _compare(self, found: LocalFile) -> None:
        try:
            md5 = md5_of(found.path)
            holds = self._holds_large(found, md5) if found.size > LARGE else self._stored.holds(self._key(found), md5)
        except OSError as error:
            self._folder.refuse(found.name, error.strerror or str(error))
            return
        self._there += holds
        self._sent += not holds

    def _holds_large(self, found: LocalFile, md5: str) -> bool:
        key = self._key(found)
        etag = self._stored.etag(key)
        if etag is None or self._stored.holds(key, md5):
            return etag is not None
        count = int(etag.rpartition("-")[2]) if "-" in etag else 0
        sizes = [size for size in (PART, *OTHER_PARTS) if count and -(-found.size // size) == count]
        return any(etag == etag_in_parts(found.path, size) for size in sizes)

    def _key(self, found: LocalFile) -> str:
        return f"{self._stored.prefix}{found.name}"

    def _summary(self) -> int:
        sent = "would be sent" if self._dry_run else "sent"
        hidden = self._folder.left_out[HIDDEN]
        self._out.write(
            f"{self._sent} {sent}, {self._there} there already, {hidden} {HIDDEN} files and folders left out\n"
        )
        problems = self._folder.problems
        for problem in problems[:SHOWN]:
            self._out.write(f"not uploaded: {problem}\n")
        if len(problems) > SHOWN:
            self._out.write(f"not uploaded: {len(problems) - SHOWN} more\n")
        return INCOMPLETE if problems or (self._dry_run and self._sent) else DONE


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A readable file; `name` is its path below the folder, parted by slashes."""

    path: Path
    name: str
    size: int


@dataclass
class LocalFolder:
    """A folder that is walked in the order of its names; symbolic links are followed, once into each folder.

    What could not be taken is counted in `left_out` by its reason; `problems` names it, except for hidden and
    system files and folders, which nobody misses.
    """

    root: Path
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def files(self) -> Iterator[LocalFile]:
        """Walk the folder; every walk counts again what is left out."""
        self.left_out.clear()
        self.problems.clear()
        yield from self._walk(self.root, "", ())

    def refuse(self, name: str, reason: str) -> None:
        """Note a file that is not taken."""
        self.left_out[reason] += 1
        self.problems.append(f"{_shown(name)}: {reason}")

    def _walk(self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[LocalFile]:
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self.refuse(prefix or str(folder), _reason(error))
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            self.refuse(prefix, "a symbolic link to a folder above it")
            return
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if system_name(entry.name):
                self.left_out[HIDDEN] += 1
            elif not _is_text(entry.name):
                self.refuse(name, "its name is not UTF-8")
            else:
                yield from self._entry(entry, name, (*above, identity))

    def _entry(self, entry: os.DirEntry[str], name: str, above: tuple[tuple[int, int], ...]) -> Iterator[LocalFile]:
        try:
            status = entry.stat()
        except OSError as error:
            self.refuse(name, _reason(error))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._walk(Path(entry.path), f"{name}/", above)
        elif stat.S_ISREG(status.st_mode):
            yield LocalFile(Path(entry.path), name, status.st_size)
        else:
            self.refuse(name, "not a file but a device, pipe or socket")


def md5_of(path: Path) -> str:
    """A file's MD5 in hexadecimal digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def etag_in_parts(path: Path, part: int) -> str:
    """The ETag that S3 gives a file uploaded in parts of this many bytes: the MD5 of their MD5s, and their number."""
    digests: list[bytes] = []
    with path.open("rb") as file:
        while True:
            digest, left = hashlib.md5(usedforsecurity=False), part
            while left and (data := file.read(min(left, CHUNK))):
                digest.update(data)
                left -= len(data)
            if left == part:
                break
            digests.append(digest.digest())
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


class _Progress:
    """One line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, out: TextIO, files: int, bytes_: int) -> None:
        self._out = out
        self._files, self._bytes = files, bytes_
        self._done = self._done_bytes = 0
        self._live = out.isatty()
        self._started = self._told = time.monotonic()

    def step(self, size: int) -> None:
        self._done += 1
        self._done_bytes += size
        if time.monotonic() - self._told >= (LIVE_SECONDS if self._live else LINE_SECONDS):
            self._tell()

    def end(self) -> None:
        self._tell()
        if self._live:
            self._out.write("\n")

    def _tell(self) -> None:
        self._told = time.monotonic()
        seconds = max(self._told - self._started, 1e-6)
        rate = self._done_bytes / seconds
        left = (self._bytes - self._done_bytes) / rate if rate else 0.0
        line = (
            f"{self._done} of {self._files} files, {self._done / seconds:.0f} images/s, {rate / 1e6:.1f} MB/s, "
            f"{left:.0f} s left"
        )
        self._out.write(f"\r{line:<78}" if self._live else f"{line}\n")
        self._out.flush()


def _one_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.datasets.upload", description=_ABOUT)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="class folders of images, on this machine")
    parser.add_argument("target", metavar="s3://bucket/prefix/", help="where to upload: dataset.source of the run conf")
    parser.add_argument("--dry-run", action="store_true", help="only compare; exit code 1 if something is missing")
    parser.add_argument("--endpoint-url", metavar="URL", help="an S3 other than AWS's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
