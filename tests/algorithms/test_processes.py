from __future__ import annotations

import json
import socket

import pytest
import torch

import train
from hyperparameters import Hyperparameters
from job_folders import JobError, JobFolders
from model_files import WEIGHTS_FILE
from processes import Processes, torchrun_command
from tests.algorithms.job import Job
from training_loop import StopRequest


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def test_a_single_process_is_not_started_again() -> None:
    assert torchrun_command("train.py", [], 0, {}) is None
    assert torchrun_command("train.py", [], 1, {"SM_HOSTS": '["algo-1"]', "SM_CURRENT_HOST": "algo-1"}) is None
    assert torchrun_command("train.py", [], 8, {"RANK": "0"}) is None


def test_every_gpu_of_a_machine_gets_a_process() -> None:
    command = torchrun_command("train.py", ["--lr", "1"], 4, {})

    assert command is not None
    assert command[1:] == ["-m", "torch.distributed.run", "--nproc_per_node=4", "--standalone", "train.py", "--lr", "1"]


def test_several_machines_meet_at_the_first() -> None:
    machines = {"SM_HOSTS": '["algo-1", "algo-2"]', "SM_CURRENT_HOST": "algo-2"}
    command = torchrun_command("train.py", [], 0, machines)

    assert command is not None
    assert command[3:-1] == [
        "--nproc_per_node=1",
        "--nnodes=2",
        "--node_rank=1",
        "--master_addr=algo-1",
        "--master_port=7777",
    ]


def test_two_machines_train_one_model_together(job: Job) -> None:
    """Each begins as SageMaker starts it; the first one logs and saves."""
    hosts = ["127.0.0.1", "localhost"]
    port, other = free_port(), Job(job.base / "second")
    (job.base / "second").mkdir()
    (job.base / "second" / "input").symlink_to(job.base / "input")
    processes = [
        machine.start(
            environment={
                "SM_HOSTS": json.dumps(hosts),
                "SM_CURRENT_HOST": host,
                "MASTER_PORT": port,
                "SM_NUM_GPUS": "0",
            },
        )
        for machine, host in zip((job, other), hosts, strict=True)
    ]
    (first, first_error), (second, second_error) = [process.communicate(timeout=200) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], first_error + second_error
    assert "2 training processes" in first
    assert "Epoch[0] Validation-accuracy=" in first
    assert "Epoch[" not in second
    assert (job.model / WEIGHTS_FILE).is_file()
    assert not other.model.exists()


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    shared = Processes(rank=0, count=4, here=4, device=torch.device("cpu"))

    with pytest.raises(JobError, match=r"batch_size=6 must be a multiple of the 4 processes"):
        train.train(Hyperparameters(batch_size=6), JobFolders.from_environment(), shared, StopRequest())
