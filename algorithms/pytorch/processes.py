"""One training process for each GPU of each machine, started by torchrun, and what they tell each other.

SageMaker starts the script once on every machine. Where there are several GPUs or machines, it starts itself again
under torchrun; a job whose distribution is already torchrun is taken as it is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

PORT = "7777"
"""Where the processes of several machines meet, as in SageMaker's own toolkit."""

T = TypeVar("T")


def torchrun_command(
    script: str, arguments: Sequence[str], gpus: int, environment: Mapping[str, str] = os.environ
) -> list[str] | None:
    """How this machine starts its training processes; None if this process is the only one, or torchrun started it."""
    hosts = json.loads(environment.get("SM_HOSTS") or '["localhost"]')
    if "RANK" in environment or len(hosts) * max(1, gpus) == 1:
        return None
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={max(1, gpus)}"]
    if len(hosts) > 1:
        command += [f"--nnodes={len(hosts)}", f"--node_rank={hosts.index(environment['SM_CURRENT_HOST'])}"]
        command += [f"--master_addr={hosts[0]}", f"--master_port={environment.get('MASTER_PORT') or PORT}"]
    else:
        command += ["--standalone"]
    return [*command, script, *arguments]


def number_of_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """The GPUs of this machine."""
    return int(environment.get("SM_NUM_GPUS") or torch.cuda.device_count())


@dataclass(frozen=True)
class Processes:
    """This process among all that train: its place from 0, how many there are, here and in all, and its device."""

    rank: int
    count: int
    here: int
    device: Any

    @property
    def is_first(self) -> bool:
        """Whether this process logs and saves."""
        return self.rank == 0

    def part_of(self, numbers: Sequence[int]) -> Sequence[int]:
        """Every so-manieth number, beginning with this process's place."""
        return numbers[self.rank :: self.count]

    def wrap(self, network: Any) -> Any:
        """The network, so that the gradients of a step are the same in every process."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def sum(self, values: Any) -> Any:
        """The sum of a tensor over all processes."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def any(self, here: bool) -> bool:
        """Whether it is so in one of the processes."""
        if self.count == 1:
            return here
        return bool(self.sum(torch.tensor(float(here), device=self.device)).item())

    def share(self, value: T) -> T:
        """The first process's value."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, device=self.device)
        return values[0]

    def share_tensors(self, tensors: Sequence[Any]) -> None:
        """Give every process the first one's tensors, in place."""
        for tensor in tensors if self.count > 1 else ():
            distributed.broadcast(tensor, 0)


@contextmanager
def joined_processes(environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """The processes that torchrun started, in touch with each other; a single one if it started none."""
    local = int(environment.get("LOCAL_RANK") or 0)
    device = torch.device(f"cuda:{local}" if torch.cuda.is_available() else "cpu")
    count = int(environment.get("WORLD_SIZE") or 1)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(int(environment["RANK"]), count, int(environment["LOCAL_WORLD_SIZE"]), device)
    finally:
        distributed.destroy_process_group()
