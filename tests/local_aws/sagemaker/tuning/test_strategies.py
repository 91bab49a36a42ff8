from __future__ import annotations

import math

import pytest

from local_aws.sagemaker.tuning.api import search
from local_aws.sagemaker.tuning.sampled_search import SampledSearch, distributions
from local_aws.sagemaker.tuning.search_space import SearchSpace
from local_aws.sagemaker.tuning.strategies import (
    Plan,
    Resource,
    has_converged,
    is_worse_than_median,
    jobs_without_improvement,
    shared_epochs,
)

RANGES = {
    "IntegerParameterRanges": [
        {"Name": "mini_batch_size", "MinValue": "8", "MaxValue": "512", "ScalingType": "Linear"}
    ],
    "ContinuousParameterRanges": [
        {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.5", "ScalingType": "Logarithmic"},
        {"Name": "momentum", "MinValue": "0", "MaxValue": "0.999", "ScalingType": "ReverseLogarithmic"},
    ],
    "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["sgd", "adam"]}],
}


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace.from_request(RANGES)


def proposals(space: SearchSpace, plan: Plan, count: int) -> list[dict[str, str]]:
    running = search(space, plan)
    made = []
    for _ in range(count):
        proposal = running.propose()
        assert proposal is not None
        made.append(proposal.hyperparameters)
        running.conclude(proposal, float(proposal.hyperparameters["learning_rate"]))
    return made


@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Hyperband"])
def test_every_proposal_lies_in_its_ranges_as_text(space: SearchSpace, strategy: str) -> None:
    for hyperparameters in proposals(space, Plan(strategy, "Maximize", 12, 3, Resource(1, 9)), 12):  # type: ignore[arg-type]
        assert set(hyperparameters) == {"mini_batch_size", "learning_rate", "momentum", "optimizer"}
        assert all(isinstance(text, str) for text in hyperparameters.values())
        assert 8 <= int(hyperparameters["mini_batch_size"]) <= 512
        assert 0.0001 <= float(hyperparameters["learning_rate"]) <= 0.5
        assert 0 <= float(hyperparameters["momentum"]) <= 0.999
        assert hyperparameters["optimizer"] in ("sgd", "adam")


@pytest.mark.parametrize("strategy", ["Bayesian", "Random"])
def test_a_seed_repeats_the_proposals(space: SearchSpace, strategy: str) -> None:
    plan = Plan(strategy, "Maximize", 8, seed=11)  # type: ignore[arg-type]
    assert proposals(space, plan, 8) == proposals(space, plan, 8)
    assert proposals(space, plan, 8) != proposals(space, Plan(strategy, "Maximize", 8, seed=12), 8)  # type: ignore[arg-type]


def test_logarithmic_scaling_spreads_over_the_orders_of_magnitude(space: SearchSpace) -> None:
    rates = [float(h["learning_rate"]) for h in proposals(space, Plan("Random", "Maximize", 200, 1), 200)]
    below = sum(rate < math.sqrt(0.0001 * 0.5) for rate in rates)
    assert 60 < below < 140


def test_reverse_logarithmic_scaling_crowds_the_upper_end(space: SearchSpace) -> None:
    momenta = [float(h["momentum"]) for h in proposals(space, Plan("Random", "Maximize", 200, 1), 200)]
    assert sum(momentum > 0.9 for momentum in momenta) > 100


@pytest.mark.parametrize("goal", ["Maximize", "Minimize"])
def test_bayesian_search_comes_closer_than_chance(goal: str) -> None:
    space = SearchSpace.from_request(
        {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}]}
    )

    def late_distance(strategy: str, seed: int) -> float:
        running = search(space, Plan(strategy, goal, 30, seed))  # type: ignore[arg-type]
        distances = []
        for _ in range(30):
            proposal = running.propose()
            assert proposal is not None
            distance = abs(float(proposal.hyperparameters["x"]) - 0.8)
            distances.append(distance)
            running.conclude(proposal, -distance if goal == "Maximize" else distance)
        return sum(distances[15:])

    assert sum(late_distance("Bayesian", s) for s in range(3)) < 0.5 * sum(late_distance("Random", s) for s in range(3))


def test_a_grid_tries_every_combination_once() -> None:
    ranges = [{"Name": "a", "Values": ["1", "2"]}, {"Name": "b", "Values": ["x", "y", "z"]}]
    space = SearchSpace.from_request({"CategoricalParameterRanges": ranges})
    running = search(space, Plan("Grid", "Maximize", 6))
    made = [running.propose() for _ in range(7)]
    assert made[-1] is None
    assert len({tuple(p.hyperparameters.items()) for p in made if p}) == 6 == space.combinations


def test_a_small_space_is_not_sampled_twice_before_it_is_used_up() -> None:
    space = SearchSpace.from_request({"CategoricalParameterRanges": [{"Name": "a", "Values": ["1", "2", "3"]}]})
    running = search(space, Plan("Random", "Maximize", 3, seed=5))
    assert {running.propose().hyperparameters["a"] for _ in range(3)} == {"1", "2", "3"}  # type: ignore[union-attr]


def test_hyperband_stops_the_weak_at_a_rung_and_lets_the_strong_run() -> None:
    space = SearchSpace.from_request(
        {"CategoricalParameterRanges": [{"Name": "a", "Values": list("abcdefghijklmnopqrst")}]}
    )
    running = search(space, Plan("Hyperband", "Maximize", 20, 1, Resource(1, 9)))
    stopped: dict[int, int] = {}
    for _ in range(20):
        proposal = running.propose()
        assert proposal is not None
        quality = 1.0 if proposal.number % 5 == 0 else 0.1
        last = 0.0
        for epoch in range(1, 10):
            last = quality * epoch / 9
            if running.observe(proposal, epoch, last):
                stopped[proposal.number] = epoch
                break
        running.conclude(proposal, last)
    assert len(stopped) >= 5
    assert not [number for number in stopped if number % 5 == 0]


def test_a_parents_results_steer_the_first_proposals() -> None:
    space = SearchSpace.from_request(
        {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}]}
    )
    running = SampledSearch(space, Plan("Bayesian", "Maximize", 9, seed=2))
    for step in range(40):
        x = step / 40
        assert running.learn({"x": str(x)}, -abs(x - 0.3))
    assert not running.learn({"x": "1.5"}, 1.0)
    assert not running.learn({"y": "0.5"}, 1.0)
    first = sorted(abs(float(running.propose().hyperparameters["x"]) - 0.3) for _ in range(5))  # type: ignore[union-attr]
    assert first[2] < 0.2


def test_automatic_scaling_is_logarithmic_for_wide_ranges_only() -> None:
    def scaling(low: str, high: str) -> bool:
        document = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": low, "MaxValue": high}]}
        return bool(distributions(SearchSpace.from_request(document))["x"].log)  # type: ignore[attr-defined]

    assert scaling("0.0001", "0.5")
    assert not scaling("0.1", "0.9")
    assert not scaling("0", "0.9")


def test_a_job_below_the_median_running_average_is_stopped() -> None:
    others = [[0.5, 0.7, 0.8], [0.6, 0.8, 0.9], [0.4, 0.6, 0.7]]
    assert is_worse_than_median([0.1, 0.2], others, "Maximize")
    assert not is_worse_than_median([0.5, 0.7], others, "Maximize")


def test_minimising_stops_the_job_above_the_median() -> None:
    others = [[0.9, 0.5], [0.8, 0.4], [0.7, 0.3]]
    assert is_worse_than_median([0.95, 0.9], others, "Minimize")
    assert not is_worse_than_median([0.9, 0.4], others, "Minimize")


def test_nothing_is_stopped_without_company_at_the_same_epoch() -> None:
    assert not is_worse_than_median([0.1], [], "Maximize")
    assert not is_worse_than_median([0.1], [[0.9]], "Maximize")
    assert not is_worse_than_median([0.1, 0.1], [[0.9], [0.9]], "Maximize")
    assert not is_worse_than_median([], [[0.9], [0.9]], "Maximize")


def test_the_fastest_job_is_judged_where_the_others_are() -> None:
    assert shared_epochs([]) == shared_epochs([[0.5]]) == 0
    assert shared_epochs([[0.5, 0.6, 0.7], [0.5, 0.6], [0.5]]) == 2


def test_a_diverged_job_has_no_say() -> None:
    others = [[0.5, 0.7], [0.6, 0.8], [0.1, float("nan")]]
    assert is_worse_than_median([0.1, 0.2], others, "Maximize")
    assert not is_worse_than_median([0.5, 0.7], others, "Maximize")


def test_jobs_without_improvement_are_counted_since_the_best() -> None:
    assert jobs_without_improvement([], "Maximize") == 0
    assert jobs_without_improvement([0.5, 0.6, 0.6, 0.4], "Maximize") == 2
    assert jobs_without_improvement([0.5, 0.6, 0.4], "Minimize") == 0


def test_ten_jobs_of_hardly_any_gain_are_convergence() -> None:
    assert has_converged([0.9] + [0.901] * 10, "Maximize")
    assert not has_converged([0.9] + [0.901] * 9, "Maximize")
    assert not has_converged([0.9] + [0.901] * 5 + [0.95] + [0.951] * 5, "Maximize")
