"""A local AWS on a disk of its own, small enough to be filled."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.local_aws import RunningLocalAws, start_local_aws

DISK_BYTES = 24 << 20
NAMESPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])
"""What lets a process mount something only itself can see: for root, and for everybody else."""
MOUNT = 'mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"'
EVERY_OBJECT_ON_DISK = {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "1"}


@dataclass(frozen=True)
class SmallDisk:
    """The disk behind a local AWS: a tmpfs where one may be mounted, else a limit on the size of every file."""

    aws: RunningLocalAws
    folder: Path
    is_mounted: bool

    def fill(self, leave: int) -> None:
        """Leave room for so many bytes."""
        self.clear()
        if not self.is_mounted:
            resource.prlimit(self.aws.process.pid, resource.RLIMIT_FSIZE, (leave, resource.RLIM_INFINITY))
            return
        free = os.statvfs(self._seen_from_here)
        self._filler.write_bytes(bytes(free.f_bavail * free.f_frsize - leave))

    def clear(self) -> None:
        """Make room again."""
        if self.is_mounted:
            self._filler.unlink(missing_ok=True)
        else:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(self.aws.process.pid, resource.RLIMIT_FSIZE, unlimited)

    @property
    def _filler(self) -> Path:
        return self._seen_from_here / "filler"

    @property
    def _seen_from_here(self) -> Path:
        return Path(f"/proc/{self.aws.process.pid}/root{self.folder}")


@contextmanager
def local_aws_on_small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Start a local AWS whose state, temporary files and objects lie on a small disk; both go at the end."""
    folder.mkdir()
    prefix = mounting(folder)
    aws = start_local_aws(folder / "state", environment=EVERY_OBJECT_ON_DISK, prefix=prefix)
    try:
        yield SmallDisk(aws, folder, is_mounted=bool(prefix))
    finally:
        aws.end()


def mounting(folder: Path) -> Sequence[str]:
    """The command that mounts a small disk at a folder and becomes another one; empty where that is forbidden.

    Only the command's own processes see the disk, which is gone with them.
    """
    for namespace in NAMESPACES:
        prefix = [*namespace, "sh", "-c", MOUNT, str(DISK_BYTES), str(folder)]
        if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:
            return prefix
    return ()
