"""What a training job spent its time on and used of its machine, and what to change: `profile.html`.

Three sources, of which a job may have none: the seconds of each step and the samples of the machine, which the PyTorch
scripts write, and CloudWatch's metrics of the instance, which every job has.

Sources of the names and thresholds: SageMaker developer guide, "List of Debugger built-in profiler rules"
(CPUBottleneck, LowGPUUtilization, BatchSize, StepOutlier). Those without such a source are this project's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from include.evaluation.job_traces import (
    INSTANCE_METRICS,
    Columns,
    Diagnosis,
    Finding,
    Floats,
    JobTraces,
    cards,
    judged,
)
from include.pages import Markup, joined, listed, note, page, section, table, verdict
from include.pages.charts import Line, line_chart, stacked_bar

PAGE = "profile.html"
PARTS = ("data", "forward", "backward", "update")
"""What a step does, one after the other; the data are waited for."""
WAIT = 0.2
"""DataWait: a share of the steps' time. Debugger's IOBottleneck needed half of all moments, and a GPU that idles."""
BUSY = 90.0
IDLE_GPU = 10.0
MOST_BLOCKED = 0.5
"""CPUBottleneck, `cpu_threshold`, `gpu_threshold` and `threshold` (50 percent of all moments)."""
LOW_P95 = 70.0
LOW_P5 = 10.0
"""LowGPUUtilization, `threshold_p95` and `threshold_p5`; BatchSize has the first of them for GPU, its memory, CPU."""
OUTLIER = 3.0
LEAST_OUTLIERS = 10
"""StepOutlier, `stddev` and `n_outliers`."""
MOST_OUTLIERS = 0.01
"""Of a long job ten slow steps are nothing: more than one of a hundred is worth a word."""
FULL = 90.0
"""Percent of a memory or a disk that is nearly full."""
LEAST_STEPS = 20
LEAST_SAMPLES = 10


class Profile(BaseModel):
    """Figures of a job, for machines: mean seconds of a step's parts, and percentages of the machine."""

    model_config = ConfigDict(frozen=True)

    steps: int
    step_seconds: dict[str, float]
    machine: dict[str, dict[str, float]]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Use:
    """How far something of the machine was used, in percent, moment by moment."""

    values: Floats

    def percentile(self, share: float) -> float:
        """The value that so many percent of the moments stay below."""
        return float(np.percentile(self.values, share))


def profile_of(traces: JobTraces) -> Profile:
    """The figures of a job's traces, and what to change."""
    steps, uses = counted_steps(traces.steps), machine_uses(traces)
    return Profile(
        steps=len(traces.steps["step"]) if traces.steps else 0,
        step_seconds={part: float(steps[part].mean()) for part in PARTS} if steps else {},
        machine={
            name: {"mean": float(use.values.mean()), "p5": use.percentile(5), "p95": use.percentile(95)}
            for name, use in uses.items()
        },
        findings=tuple(_findings(steps, uses)),
    )


def counted_steps(steps: Columns) -> Columns:
    """The steps without the first, and without the observed ones, which take longer; all if few are left."""
    if not steps:
        return {}
    plain = steps["observed"] == 0
    plain[:1] = False
    return {name: column[plain] for name, column in steps.items()} if plain.sum() >= LEAST_STEPS else steps


def machine_uses(traces: JobTraces) -> dict[str, Use]:
    """`cpu`, `memory`, `gpu`, `gpu_memory` and `disk` as far as they were measured; the job's own samples come first.

    CloudWatch adds up the cores, whose number it does not show: its figure of the processors does not count here.
    """
    uses = {}
    for name in ("cpu", "memory", "gpu", "gpu_memory"):
        values = traces.machine.get(name)
        if values is not None and np.isfinite(values).sum() >= 1:
            uses[name] = Use(values[np.isfinite(values)])
    named = {"memory": "MemoryUtilization", "gpu": "GPUUtilization", "gpu_memory": "GPUMemoryUtilization"}
    for name, metric in {**named, "disk": "DiskUtilization"}.items():
        if name not in uses and traces.instance.get(metric):
            values = np.array([value for _, value in traces.instance[metric]])
            uses[name] = Use(values / (traces.gpus if name.startswith("gpu") else 1))
    return uses


def _findings(steps: Columns, uses: Mapping[str, Use]) -> Iterator[Finding]:
    cpu, gpu = uses.get("cpu"), uses.get("gpu")
    if steps:
        yield _data_wait(steps, cpu)
        yield _step_outliers(steps)
    if gpu:
        if cpu and len(cpu.values) == len(gpu.values) >= LEAST_SAMPLES:
            yield _cpu_bottleneck(cpu, gpu)
        yield _low_gpu(gpu)
        if "gpu_memory" in uses:
            yield _batch_size(gpu, uses["gpu_memory"], cpu)
    for name, words in (("memory", "memory"), ("gpu_memory", "memory of the GPU"), ("disk", "disk")):
        if name in uses:
            yield _full(name, words, uses[name])


def _data_wait(steps: Columns, cpu: Use | None) -> Finding:
    """DataWait: a step waits for its images for more than a fifth of its time."""
    seconds = {part: float(steps[part].sum()) for part in PARTS}
    share = seconds["data"] / max(sum(seconds.values()), 1e-9)
    busy = cpu is not None and float(cpu.values.mean()) > BUSY
    remedy = (
        "the processors are busy: pack smaller images (dataset.packing), or take a machine with more cores"
        if busy
        else "raise loader_workers"
    )
    return judged(
        rule="DataWait",
        title="Waiting for data",
        found=share > WAIT,
        figure=share,
        threshold=WAIT,
        says=f"{share:.0%} of a step waits for data{f': {remedy}' if share > WAIT else ''}.",
    )


def _step_outliers(steps: Columns) -> Finding:
    """StepOutlier: steps that take longer than the mean by three standard deviations."""
    seconds: Floats = np.sum([steps[part] for part in PARTS], axis=0)
    limit = float(seconds.mean() + OUTLIER * seconds.std())
    slow = seconds > limit
    mean, share = float(seconds.mean()) * 1000, float(slow.mean())
    found = share > MOST_OUTLIERS and int(slow.sum()) >= LEAST_OUTLIERS
    return judged(
        rule="StepOutlier",
        title="Slow steps",
        found=found,
        figure=share,
        threshold=MOST_OUTLIERS,
        says=f"{share:.1%} of the steps take longer than {limit * 1000:,.0f} ms; the mean is {mean:,.0f} ms.",
        advice="The charts of the machine show what happens at these times.",
    )


def _cpu_bottleneck(cpu: Use, gpu: Use) -> Finding:
    """CPUBottleneck: the GPU idles while the processors are busy."""
    share = float(((cpu.values > BUSY) & (gpu.values < IDLE_GPU)).mean())
    return judged(
        rule="CPUBottleneck",
        title="GPU waits for the processors",
        found=share > MOST_BLOCKED,
        figure=share,
        threshold=MOST_BLOCKED,
        says=f"For {share:.0%} of the time the GPU idles while the processors are busy.",
        advice="Take a machine with more cores for each GPU, or less augmentation.",
    )


def _low_gpu(gpu: Use) -> Finding:
    """LowGPUUtilization: the GPU is rarely busy, or its use goes up and down."""
    high, low = gpu.percentile(95), gpu.percentile(5)
    says = f"The GPU is used {low:.0f} to {high:.0f}% (5th and 95th percentile)."
    advice = ""
    if high < LOW_P95:
        advice = "Raise batch_size, or take a smaller GPU: this one costs money and is not used."
    elif low < LOW_P5:
        advice = "The GPU pauses often: raise loader_workers, or validate less often."
    return judged(
        rule="LowGPUUtilization",
        title="GPU use",
        found=bool(advice),
        figure=high,
        threshold=LOW_P95,
        says=says,
        advice=advice,
    )


def _batch_size(gpu: Use, memory: Use, cpu: Use | None) -> Finding:
    """BatchSize: GPU, its memory and the processors are all far from their limits."""
    highest = max(use.percentile(95) for use in (gpu, memory, cpu) if use)
    return judged(
        rule="BatchSize",
        title="Size of batches",
        found=highest < LOW_P95,
        figure=highest,
        threshold=LOW_P95,
        says=f"What is used most, of GPU, its memory and the processors, is used {highest:.0f}% (95th percentile).",
        advice="Raise batch_size, and lr with it.",
    )


def _full(name: str, words: str, use: Use) -> Finding:
    """A memory or a disk that is nearly full: the next, larger job fails."""
    most = float(use.values.max())
    advice = {"disk": "Raise the volume's size.", "memory": "Lower loader_workers, or take a machine with more memory."}
    return judged(
        rule={"disk": "DiskFull", "memory": "MemoryFull", "gpu_memory": "GPUMemoryFull"}[name],
        title=f"{words.capitalize()} at most",
        found=most > FULL,
        figure=most,
        threshold=FULL,
        says=f"The {words} was used {most:.0f}% at most.",
        advice=advice.get(name, "Lower batch_size or image_size."),
    )


def profile_page(traces: JobTraces, *, job: str, machine: str) -> str:
    """The page of a job's profile; `machine` names its instances."""
    profile = profile_of(traces)
    found = [one for one in profile.findings if one.status == "found"]
    banner = None
    if profile.findings:
        said = " ".join(f"{one.says} {one.advice}".strip() for one in found)
        banner = verdict(said or "Nothing needs a change.", accepted=not found, words=("Well used", "To change"))
    return page(
        title=f"Profile of {job}",
        lead=f"What the training job spent its time on, and what it used of {machine}.",
        figures=_tiles(profile),
        banner=banner,
        sections=(
            section("Findings", cards(map(Diagnosis, profile.findings))),
            section("A step", *_step(traces, profile)),
            section("The machine", *_machine(traces)),
            section("The instance, by CloudWatch", *_instance(traces)),
            section("Not known", *_missing(traces)),
        ),
    )


def _tiles(profile: Profile) -> list[tuple[str, str]]:
    whole = sum(profile.step_seconds.values())
    tiles = []
    if whole:
        tiles += [
            (f"{whole * 1000:,.0f}\u00a0ms", f"a step, mean of {profile.steps:,}"),
            (f"{profile.step_seconds['data'] / whole:.0%}", "of it waits for data"),
        ]
    names = {"cpu": "of all cores", "gpu": "of the GPU", "memory": "of the memory", "disk": "of the disk"}
    tiles += [
        (_percent(profile.machine[name]["mean"]), words) for name, words in names.items() if name in profile.machine
    ]
    return tiles


def _step(traces: JobTraces, profile: Profile) -> list[Markup]:
    if not traces.steps:
        return []
    steps, whole = counted_steps(traces.steps), sum(profile.step_seconds.values()) or 1.0
    bar = stacked_bar([round(1_000_000 * profile.step_seconds[part] / whole) for part in PARTS], 1_000_000)
    keys = joined(Markup(f'<span class="key key{number}">{part}</span>') for number, part in enumerate(PARTS))
    rows = [
        (
            part,
            f"{profile.step_seconds[part] / whole:.1%}",
            f"{profile.step_seconds[part] * 1000:,.1f}",
            f"{np.percentile(steps[part], 95) * 1000:,.1f}",
        )
        for part in PARTS
    ]
    chart = line_chart(
        "Milliseconds of the parts, by step",
        [Line(part, list(zip(steps["step"].tolist(), (steps[part] * 1000).tolist(), strict=True))) for part in PARTS],
        across="step",
        unit=lambda value: f"{value:,.0f}",
        wide=True,
    )
    about = f"Mean of {len(steps['step']):,} steps; those with tensor statistics do not count if there are others."
    return [
        Markup(f'<figure>{bar}<figcaption class="legend">{keys}</figcaption></figure>'),
        table(("part", "share", "ms, mean", "ms, 95th percentile"), rows),
        note(about),
        chart,
    ]


def _machine(traces: JobTraces) -> list[Markup]:
    machine = traces.machine
    if not machine:
        return []
    seconds = machine["at"] - machine["at"][0]

    def lines(named: Mapping[str, str], scale: float = 1.0) -> list[Line]:
        return [
            Line(words, list(zip(seconds.tolist(), (machine[name] * scale).tolist(), strict=True)))
            for name, words in named.items()
            if np.isfinite(machine[name]).any()
        ]

    megabytes, whole = "{:,.3g}\u00a0MB/s".format, (0.0, 100.0)
    charts = (
        line_chart("Processors and memory", lines(PROCESSORS), across="seconds", unit=_percent, bounds=whole),
        line_chart("GPU", lines(GPUS), across="seconds", unit=_percent, bounds=whole),
        line_chart("Disk", lines(DISK, 1e-6), across="seconds", unit=megabytes),
        line_chart("Network", lines(NETWORK, 1e-6), across="seconds", unit=megabytes),
    )
    drawn = joined(charts)
    return [Markup(f'<div class="side">{drawn}</div>'), note("Sampled every half second, on the first machine.")]


PROCESSORS = {"cpu": "all cores", "busiest_core": "busiest core", "memory": "memory"}
GPUS = {"gpu": "busy", "gpu_memory": "memory"}
DISK = {"disk_read": "read", "disk_written": "written"}
NETWORK = {"network_in": "received", "network_out": "sent"}


def _instance(traces: JobTraces) -> list[Markup]:
    if not traces.instance:
        return []
    rows = []
    for metric in INSTANCE_METRICS:
        values = [value for _, value in traces.instance.get(metric, ())]
        if values:
            rows.append((metric, f"{np.mean(values):,.1f}%", f"{max(values):,.1f}%", f"{len(values):,}"))
    lines = [Line(metric, [(at / 60, value) for at, value in points]) for metric, points in traces.instance.items()]
    about = (
        "CPUUtilization adds up the cores: two busy cores are 200%. GPUUtilization adds up the GPUs in the same way."
    )
    return [
        table(("metric", "mean", "highest", "values"), rows),
        note(about),
        line_chart("Percent, by minute", lines, across="minutes", unit=_percent, wide=True),
    ]


def _percent(value: float) -> str:
    return f"{value:.0f}%"


def _missing(traces: JobTraces) -> list[Markup]:
    reasons = list(traces.missing)
    if not traces.steps:
        reasons.append("The job left no step times: the PyTorch scripts write them, other algorithms do not.")
    if not traces.instance:
        reasons.append("CloudWatch has no metrics of the job's machine.")
    return [listed(("", reason) for reason in reasons)] if reasons else []
