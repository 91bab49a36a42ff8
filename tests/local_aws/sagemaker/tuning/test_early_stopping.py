from __future__ import annotations

from local_aws.sagemaker.tuning.early_stopping import (
    has_converged,
    is_worse_than_median,
    jobs_without_improvement,
    shared_epochs,
)


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
