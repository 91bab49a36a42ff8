"""What a job uses of its machine, every half second: processor, memory, GPU, disk and network, in `machine.jsonl`."""

from __future__ import annotations

import importlib
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

MACHINE_FILE = "machine.jsonl"
INTERVAL = 0.5
COUNTERS = {
    "disk_read": ("disk_io_counters", "read_bytes"),
    "disk_written": ("disk_io_counters", "write_bytes"),
    "network_in": ("net_io_counters", "bytes_recv"),
    "network_out": ("net_io_counters", "bytes_sent"),
}
"""Figures in bytes per second, and the counters of psutil that they come from."""


class MachineUse:
    """Samples the machine in a thread while its context lasts. The first row is about the machine itself."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MACHINE_FILE
        self._psutil = installed("psutil")
        if self._psutil is None:
            log.info("Package psutil is not installed: the use of the machine is not sampled")
        self._gpus = gpu_handles()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="machine-use", daemon=True)

    def __enter__(self) -> MachineUse:
        if self._psutil:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._psutil:
            self._thread.join()

    def _sample(self) -> None:
        try:
            self._sample_until_ended()
        except Exception as error:  # noqa: BLE001  (a full disk, a lost GPU: the training meets them itself)
            log.warning("The use of the machine is not sampled any further: %s", error)

    def _sample_until_ended(self) -> None:
        began = at = time.perf_counter()
        self._psutil.cpu_percent(percpu=True)
        before = self._counters()
        machine = {"cores": self._psutil.cpu_count(), "memory_bytes": self._psutil.virtual_memory().total}
        self._append(machine | {"gpus": len(self._gpus), "interval": INTERVAL})
        while not self._ended.wait(max(0.0, began + INTERVAL - at)):
            now, counters = time.perf_counter(), self._counters()
            cores = self._psutil.cpu_percent(percpu=True)
            row = {
                "at": round(time.time(), 3),
                "cpu": round(sum(cores) / len(cores), 1),
                "busiest_core": max(cores),
                "memory": self._psutil.virtual_memory().percent,
                **{name: round((counters[name] - before[name]) / (now - began)) for name in counters},
                **self._gpu_figures(),
            }
            self._append(row)
            began, before, at = now, counters, time.perf_counter()

    def _append(self, row: dict[str, Any]) -> None:
        with self._path.open("a") as stream:
            stream.write(f"{json.dumps(row)}\n")

    def _counters(self) -> dict[str, int]:
        """The machine's counters; a container may not see its disks."""
        read = {name: getattr(self._psutil, name)() for name in ("disk_io_counters", "net_io_counters")}
        return {name: getattr(read[of], field) for name, (of, field) in COUNTERS.items() if read[of] is not None}

    def _gpu_figures(self) -> dict[str, float]:
        """Percent of time in which the GPUs worked, and of their memory, on average and of the least busy one."""
        if not self._gpus:
            return {}
        nvml = self._gpus[0][0]
        busy = [nvml.nvmlDeviceGetUtilizationRates(handle).gpu for _, handle in self._gpus]
        memory = [nvml.nvmlDeviceGetMemoryInfo(handle) for _, handle in self._gpus]
        return {
            "gpu": round(sum(busy) / len(busy), 1),
            "idlest_gpu": min(busy),
            "gpu_memory": round(100 * sum(one.used for one in memory) / sum(one.total for one in memory), 1),
        }


def gpu_handles() -> list[tuple[Any, Any]]:
    """NVIDIA's library and its handle of each GPU; none without a GPU, or if the library cannot be used."""
    if not torch.cuda.is_available():
        return []
    nvml = installed("pynvml")
    if nvml is None:
        log.info("Package nvidia-ml-py is not installed: the use of the GPU is not sampled")
        return []
    try:
        nvml.nvmlInit()
        return [(nvml, nvml.nvmlDeviceGetHandleByIndex(number)) for number in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        log.warning("The use of the GPU is not sampled: %s", error)
        return []


def installed(package: str) -> Any:
    """A package that may be there; None if it is not."""
    try:
        return importlib.import_module(package)
    except ImportError:
        return None
