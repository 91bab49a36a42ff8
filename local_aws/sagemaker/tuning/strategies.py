"""What a tuning job tries next, by its search strategy, and which of its training jobs it ends early."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Literal, Protocol

from local_aws.sagemaker.tuning.search_space import CategoricalRange, SearchSpace

if TYPE_CHECKING:
    from optuna.trial import Trial

Goal = Literal["Maximize", "Minimize"]
StrategyName = Literal["Bayesian", "Random", "Grid", "Hyperband"]

# A median needs company: below this many other jobs at the same epoch nothing is stopped.
LEAST_COMPANY = 2

# Converged: this many jobs in a row brought less than this relative gain.
CONVERGENCE_JOBS = 10
CONVERGENCE_GAIN = 0.01


@dataclass(frozen=True)
class Resource:
    """The epochs a Hyperband job may use: from the first rung to the last."""

    minimum: int
    maximum: int


@dataclass(frozen=True)
class Plan:
    """What a tuning job asks of its strategy.

    `seed` makes the proposals reproducible for results that arrive in the same order; `max_jobs` is the budget the
    Bayesian search divides into exploring and refining; `resource` is Hyperband's.
    """

    strategy: StrategyName
    goal: Goal
    max_jobs: int
    seed: int | None = None
    resource: Resource | None = None


@dataclass
class Proposal:
    """A set of hyperparameters to train with, as the texts AWS sends."""

    number: int
    hyperparameters: dict[str, str]
    trial: Trial | None = field(default=None, repr=False)


class Search(Protocol):
    """A strategy in use: proposes, watches, learns."""

    def propose(self) -> Proposal | None:
        """The next set to try; None when nothing is left."""

    def observe(self, proposal: Proposal, epoch: int, value: float) -> bool:
        """Take note of an intermediate objective (epochs count from 1); True: stop this job."""

    def conclude(self, proposal: Proposal, value: float | None) -> None:
        """Take note of a job's final objective, None when it has none."""

    def learn(self, hyperparameters: Mapping[str, str], value: float) -> bool:
        """Learn from another tuning job's result; False when it does not fit this search."""


class GridSearch:
    """Every combination of categorical values, each once, the last range changing fastest."""

    def __init__(self, space: SearchSpace) -> None:
        self._names = space.names
        self._combinations = enumerate(
            itertools.product(*(r.values for r in space.ranges if isinstance(r, CategoricalRange)))
        )

    def propose(self) -> Proposal | None:
        """The next combination; None after the last."""
        following = next(self._combinations, None)
        if following is None:
            return None
        number, values = following
        return Proposal(number, dict(zip(self._names, values, strict=True)))

    def observe(self, proposal: Proposal, epoch: int, value: float) -> bool:
        """Never stop: a grid is trained whole."""
        del proposal, epoch, value
        return False

    def conclude(self, proposal: Proposal, value: float | None) -> None:
        """Nothing to learn: the order is fixed."""
        del proposal, value

    def learn(self, hyperparameters: Mapping[str, str], value: float) -> bool:
        """Nothing to learn: the order is fixed."""
        del hyperparameters, value
        return False


def shared_epochs(others: Iterable[Sequence[float]]) -> int:
    """The last epoch that enough other jobs have reached to judge one by them; 0 when none was."""
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
