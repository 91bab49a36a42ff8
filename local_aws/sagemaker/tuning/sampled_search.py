"""The search strategies that draw their sets, on Optuna: Bayesian, Random and Hyperband."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState, create_trial

from local_aws.sagemaker.tuning.search_space import CategoricalRange, IntegerRange, Range, Scaling, SearchSpace
from local_aws.sagemaker.tuning.strategies import Plan, Proposal

# How often a sampler may propose a set that was tried already before the repetition is accepted.
REPETITIONS = 30

# Auto turns logarithmic when a range spans at least this factor; AWS does not publish its own line.
AUTO_LOGARITHMIC_FACTOR = 100.0

optuna.logging.set_verbosity(optuna.logging.WARNING)


class SampledSearch:
    """Bayesian (tree-structured Parzen estimator), random, and Hyperband (random sets, rungs of epochs).

    Sources: https://optuna.readthedocs.io (TPESampler, HyperbandPruner); docs.aws.amazon.com/sagemaker/latest/dg/
    automatic-model-tuning-how-it-works.html.
    """

    def __init__(self, space: SearchSpace, plan: Plan) -> None:
        self._space = space
        self._resource = plan.resource
        self._distributions = distributions(space)
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


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every range."""
    return {r.name: _distribution(r) for r in space.ranges}


def _distribution(r: Range) -> BaseDistribution:
    """Optuna's distribution for a range; ReverseLogarithmic searches 1 - x on a logarithmic scale."""
    if isinstance(r, CategoricalRange):
        return CategoricalDistribution(r.values)
    if isinstance(r, IntegerRange):
        return IntDistribution(r.low, r.high, log=_is_logarithmic(r.scaling, r.low, r.high))
    if r.scaling == "ReverseLogarithmic":
        return FloatDistribution(1.0 - r.high, 1.0 - r.low, log=True)
    return FloatDistribution(r.low, r.high, log=_is_logarithmic(r.scaling, r.low, r.high))


def _is_logarithmic(scaling: Scaling, low: float, high: float) -> bool:
    if scaling == "Auto":
        return low > 0 and high / low >= AUTO_LOGARITHMIC_FACTOR
    return scaling == "Logarithmic"
