"""Checkpoints of a running job, kept in S3 while it runs and laid down again before it starts."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws.storage import DataError, S3Location, download, files_in, files_under, upload_file

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SYNC_SECONDS = 5.0

log = logging.getLogger(__name__)


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
