"""What the processes of a container use of this machine, as the instance metrics that SageMaker sends to CloudWatch.

Source: docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html, jobs and endpoint metrics. CPUUtilization is
the sum over the cores, so that two busy cores are 200 percent.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from local_aws.metric_feed import MetricDatum, MetricFeed

FIRST_PAUSES = (0.2, 1.0, 5.0, 15.0)
PAUSE_SECONDS = 60.0
"""AWS sends a value a minute; the first ones come sooner, because jobs on this machine may take seconds."""


class Utilisation:
    """Measures processes and all they started, in a thread, from `start` to `close`.

    `folder` is what the container has of the disk, `pids` the processes that are up now.
    """

    def __init__(
        self,
        feed: MetricFeed,
        namespace: str,
        dimensions: Mapping[str, str],
        folder: Path,
        pids: Callable[[], Iterable[int]],
    ) -> None:
        self._feed = feed
        self._namespace = namespace
        self._dimensions = dimensions
        self._folder = folder
        self._pids = pids
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._measure_until_closed, name="utilisation", daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def close(self) -> None:
        """Measure no more."""
        self._closed.set()

    def _measure_until_closed(self) -> None:
        measured, seconds = time.monotonic(), _processor_seconds(self._processes())
        for pause in itertools.chain(FIRST_PAUSES, itertools.repeat(PAUSE_SECONDS)):
            if self._closed.wait(pause):
                return
            processes = self._processes()
            now, used = time.monotonic(), _processor_seconds(processes)
            busy = sum(used[key] - seconds.get(key, 0.0) for key in used)
            if processes:
                self._put(100 * busy / (now - measured), _memory_percent(processes), _disk_percent(self._folder))
            measured, seconds = now, used

    def _processes(self) -> list[psutil.Process]:
        found = []
        for pid in self._pids():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                found += [process, *process.children(recursive=True)]
        return found

    def _put(self, cpu: float, memory: float, disk: float) -> None:
        values = {"CPUUtilization": cpu, "MemoryUtilization": memory, "DiskUtilization": disk}
        self._feed.put(
            *(
                MetricDatum(self._namespace, name, value, self._dimensions, unit="Percent")
                for name, value in values.items()
            )
        )


def _processor_seconds(processes: Iterable[psutil.Process]) -> dict[psutil.Process, float]:
    """The seconds of processor time that each process has used since it began."""
    seconds = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds[process] = times.user + times.system
    return seconds


def _memory_percent(processes: Iterable[psutil.Process]) -> float:
    """The resident memory of the processes in percent of this machine's."""
    percent = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            percent += process.memory_percent("rss")
    return percent


def _disk_percent(folder: Path) -> float:
    """What the files of a folder take in percent of its disk; files that vanish meanwhile do not count."""
    used = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                used += Path(parent, name).lstat().st_blocks * 512
    try:
        return 100 * used / shutil.disk_usage(folder).total
    except OSError:
        return 0.0
