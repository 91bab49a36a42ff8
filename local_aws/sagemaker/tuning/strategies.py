"""What a tuning job tries next, by its search strategy on Optuna, and which of its training jobs it ends early."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal, Protocol

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState, create_trial

from local_aws.sagemaker.tuning.search_space import CategoricalRange, SearchSpace

Goal = Literal["Maximize", "Minimize"]
StrategyName = Literal["Bayesian", "Random", "Grid", "Hyperband"]

# How often a sampler may propose a set that was tried already before the repetition is accepted.
REPETITIONS = 30

# A median needs company: below this many other jobs at the same epoch nothing is stopped.
LEAST_COMPANY = 2

# Converged: this many jobs in a row brought less than this relative gain.
CONVERGENCE_JOBS = 10
CONVERGENCE_GAIN = 0.01

optuna.logging.set_verbosity(optuna.logging.WARNING)


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


def search(space: SearchSpace, plan: Plan) -> Search:
    """The strategy a tuning job names, at its start."""
    if plan.strategy == "Grid":
        return GridSearch(space)
    return SampledSearch(space, plan)


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


class SampledSearch:
    """Bayesian (tree-structured Parzen estimator), random, and Hyperband (random sets, rungs of epochs).

    Sources: https://optuna.readthedocs.io (TPESampler, HyperbandPruner); docs.aws.amazon.com/sagemaker/latest/dg/
    automatic-model-tuning-how-it-works.html.
    """

    def __init__(self, space: SearchSpace, plan: Plan) -> None:
        self._space = space
        self._resource = plan.resource
        self._distributions = space.distributions()
        self._seen: set[tuple[tuple[str, str], ...]] = set()
        self._number = itertools.count()
        self._study = optuna.create_study(
            study_name="tuning",  # Hyperband's brackets derive from the name: fixed, so that a seed repeats them
            direction="maximize" if plan.goal == "Maximize" else "minimize",
            sampler=_sampler(plan),
            pruner=_pruner(plan),
        )

    def propose(self) -> Proposal | None:
        """A set not tried before, as long as the space has one."""
        trial, hyperparameters = self._ask()
        for _ in range(REPETITIONS):
            if _key(hyperparameters) not in self._seen or len(self._seen) >= self._space.combinations:
                break
            self._study.tell(trial, state=TrialState.FAIL)
            trial, hyperparameters = self._ask()
        self._seen.add(_key(hyperparameters))
        return Proposal(next(self._number), hyperparameters, trial)

    def observe(self, proposal: Proposal, epoch: int, value: float) -> bool:
        """Report an epoch's objective to the pruner; True when Hyperband ends the job at this rung."""
        if proposal.trial is None or not math.isfinite(value):
            return False
        proposal.trial.report(value, epoch)
        if self._resource is not None and epoch > self._resource.maximum:
            return True
        return proposal.trial.should_prune()

    def conclude(self, proposal: Proposal, value: float | None) -> None:
        """Tell the study how the job ended."""
        if proposal.trial is None:
            return
        if value is None or not math.isfinite(value):
            self._study.tell(proposal.trial, state=TrialState.FAIL)
        else:
            self._study.tell(proposal.trial, value)

    def learn(self, hyperparameters: Mapping[str, str], value: float) -> bool:
        """Add a parent's result to the study when its point lies in this search space."""
        try:
            coordinates = self._space.to_coordinates(hyperparameters)
        except ValueError:
            return False
        if not math.isfinite(value):
            return False
        self._study.add_trial(create_trial(params=coordinates, distributions=self._distributions, value=value))
        return True

    def _ask(self) -> tuple[Trial, dict[str, str]]:
        trial = self._study.ask(self._distributions)
        return trial, self._space.to_hyperparameters(trial.params)


def _sampler(plan: Plan) -> BaseSampler:
    if plan.strategy == "Bayesian":
        # A third of the budget explores, at least two jobs: with Optuna's default of ten, a small tuning job
        # would be a random search.
        exploring = max(2, min(10, plan.max_jobs // 3))
        return TPESampler(seed=plan.seed, n_startup_trials=exploring, multivariate=True, constant_liar=True)
    return RandomSampler(seed=plan.seed)


def _pruner(plan: Plan) -> optuna.pruners.BasePruner:
    if plan.strategy != "Hyperband" or plan.resource is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.HyperbandPruner(
        min_resource=plan.resource.minimum, max_resource=plan.resource.maximum, reduction_factor=3
    )


def _key(hyperparameters: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(hyperparameters.items()))


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
