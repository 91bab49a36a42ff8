from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from include.evaluation.job_profile import profile_of, profile_page
from include.evaluation.job_traces import JobTraces, MachineRow
from tests.unit.pages.reading import ReadPage

STEPS = 40


def steps(**seconds: Any) -> dict[str, Any]:
    usual = {"data": 0.01, "forward": 0.04, "backward": 0.04, "update": 0.01}
    columns = {part: np.full(STEPS, value, dtype=np.float64) for part, value in {**usual, **seconds}.items()}
    numbers = np.arange(STEPS, dtype=np.float64)
    return {"step": numbers, "epoch": numbers // 20, "observed": np.zeros(STEPS), "loss": numbers, **columns}


def machine(**percent: Any) -> dict[str, Any]:
    usual = dict.fromkeys(MachineRow.model_fields, np.nan) | {"cpu": 50.0, "memory": 30.0}
    return {name: np.full(30, value) for name, value in {**usual, **percent}.items()} | {"at": np.arange(30.0)}


def found(traces: JobTraces) -> dict[str, str]:
    """What is to be changed, by rule."""
    return {
        one.rule: f"{one.says} {one.advice}".strip() for one in profile_of(traces).findings if one.status == "found"
    }


def test_a_well_used_machine_gives_nothing_to_change() -> None:
    used = JobTraces(steps=steps(), machine=machine(gpu=95.0, gpu_memory=80.0))

    assert found(used) == {}
    assert {one.rule for one in profile_of(used).findings} >= {"DataWait", "LowGPUUtilization", "BatchSize"}
    assert profile_of(used).step_seconds == pytest.approx(
        {"data": 0.01, "forward": 0.04, "backward": 0.04, "update": 0.01}
    )


def test_a_step_that_waits_says_what_to_raise() -> None:
    waiting = JobTraces(steps=steps(data=0.147))

    assert found(waiting) == {"DataWait": "62% of a step waits for data: raise loader_workers."}


def test_more_workers_do_not_help_where_the_processors_are_busy() -> None:
    busy = JobTraces(steps=steps(data=0.5), machine=machine(cpu=97.0))

    assert "the processors are busy" in found(busy)["DataWait"]


def test_steps_that_gathered_statistics_do_not_count_in_the_times() -> None:
    columns = steps()
    columns["observed"] = (np.arange(STEPS) % 4 == 0).astype(np.float64)
    columns["forward"] = np.where(columns["observed"], 9.0, 0.04)

    assert profile_of(JobTraces(steps=columns)).step_seconds["forward"] == pytest.approx(0.04)


def test_slow_steps_are_found_if_there_are_many_of_them() -> None:
    def with_slow(number: int) -> JobTraces:
        columns = {name: np.resize(column, 400) for name, column in steps().items()}
        columns["update"][1 : 40 * number : 40] = 3.0
        return JobTraces(steps=columns)

    assert "StepOutlier" not in found(with_slow(9))
    assert "StepOutlier" in found(with_slow(10))


@pytest.mark.parametrize(
    ("use", "rules"),
    [
        ({"gpu": 5.0, "cpu": 99.0, "gpu_memory": 50.0}, {"CPUBottleneck", "LowGPUUtilization"}),
        ({"gpu": 40.0, "gpu_memory": 30.0}, {"LowGPUUtilization", "BatchSize"}),
        ({"gpu": [0.0, 95.0] * 15, "gpu_memory": 80.0}, {"LowGPUUtilization"}),
        ({"gpu": 90.0, "gpu_memory": 97.0}, {"GPUMemoryFull"}),
        ({"memory": 95.0}, {"MemoryFull"}),
    ],
)
def test_what_the_machine_shows_is_found(use: dict[str, Any], rules: set[str]) -> None:
    assert set(found(JobTraces(machine=machine(**use)))) == rules


def test_a_job_of_any_algorithm_has_the_metrics_of_its_instance() -> None:
    minutes = [(60.0 * minute, value) for minute, value in enumerate((150.0, 160.0))]
    built_in = JobTraces(instance={"GPUUtilization": minutes, "DiskUtilization": [(0.0, 96.0)]}, gpus=4)

    assert set(found(built_in)) == {"LowGPUUtilization", "DiskFull"}
    assert profile_of(built_in).machine["gpu"]["mean"] == pytest.approx(38.75)
    page = ReadPage(profile_page(built_in, job="a-job", machine="1 ml.p3.8xlarge"))
    assert "The job left no step times" in page.text
    assert "GPUUtilization" in page.text


def test_the_page_shows_steps_machine_and_what_to_change_and_stands_alone() -> None:
    used = machine(disk_read=5e6, disk_written=1e6, network_in=0.0, network_out=0.0, busiest_core=100.0, gpu=95.0)
    drawn = profile_page(JobTraces(steps=steps(data=0.147), machine=used), job="<job>", machine="1 ml.g5.xlarge")
    page = ReadPage(drawn)

    assert "62% of a step waits for data: raise loader_workers." in page.text
    assert page.addresses == [] and "script" not in page.tags
    assert drawn.count("<svg") == 5  # steps, processors, GPU, disk, network
    assert "<job>" not in drawn


def test_a_job_that_left_nothing_has_a_page_that_says_so() -> None:
    page = ReadPage(profile_page(JobTraces(missing=("the archive is cut off",)), job="a-job", machine="1 ml.m5.large"))

    assert "the archive is cut off" in page.text
    assert "CloudWatch has no metrics" in page.text
