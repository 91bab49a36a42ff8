"""Which training jobs a tuning job ends early, and when it has seen enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median

from local_aws.sagemaker.tuning.strategies import Goal

# A median needs company: below this many other jobs at the same epoch nothing is stopped.
LEAST_COMPANY = 2

# Converged: this many jobs in a row brought less than this relative gain.
CONVERGENCE_JOBS = 10
CONVERGENCE_GAIN = 0.01


def shared_epochs(others: Iterable[Sequence[float]]) -> int:
    """Return the last epoch that enough other jobs have reached to judge one by them; 0 when none was."""
    reached = sorted((len(curve) for curve in others), reverse=True)
    return reached[LEAST_COMPANY - 1] if len(reached) >= LEAST_COMPANY else 0


def is_worse_than_median(current: Sequence[float], others: Iterable[Sequence[float]], goal: Goal) -> bool:
    """Whether a job's objective after its latest epoch is worse than the others' median running average.

    `current` and `others` are objective values epoch by epoch. Only jobs that reached the same epoch count.
    Source: docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-early-stopping.html.
    """
    epochs = len(current)
    reached = (curve[:epochs] for curve in others if epochs and len(curve) >= epochs)
    averages = [fmean(curve) for curve in reached if all(map(math.isfinite, curve))]
    if len(averages) < LEAST_COMPANY:
        return False
    return is_better(median(averages), current[-1], goal)


def is_better(value: float, than: float, goal: Goal) -> bool:
    """Whether `value` is strictly the better objective."""
    return value > than if goal == "Maximize" else value < than


def reaches(value: float, target: float, goal: Goal) -> bool:
    """Whether an objective is at least as good as the target."""
    return value >= target if goal == "Maximize" else value <= target


def jobs_without_improvement(objectives: Sequence[float], goal: Goal, gain: float = 0.0) -> int:
    """How many of the latest jobs did not beat the best before them by more than `gain` of its size.

    `objectives` are final values in the order the jobs ended.
    """
    best: float | None = None
    waiting = 0
    for value in objectives:
        margin = abs(best) * gain if best is not None else 0.0
        if best is None or is_better(value, best + (margin if goal == "Maximize" else -margin), goal):
            best, waiting = value, 0
        else:
            waiting += 1
    return waiting


def has_converged(objectives: Sequence[float], goal: Goal) -> bool:
    """Whether the last ten jobs together brought less than one percent."""
    return jobs_without_improvement(objectives, goal, CONVERGENCE_GAIN) >= CONVERGENCE_JOBS
