from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from include.evaluation.diagnostics import RULES, diagnose
from include.evaluation.job_traces import Finding, JobTraces, Trained, traces_of
from include.sagemaker.epochs import EpochMetrics
from tests.unit.pages.reading import ReadPage

Row = Mapping[str, Any]


def traces(tensors: Iterable[Row] = (), steps: Iterable[Row] = ()) -> JobTraces:
    def lines(rows: Iterable[Row]) -> bytes:
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode()

    return traces_of({"tensors.jsonl": lines(tensors), "steps.jsonl": lines(steps)})


def gradients(sizes: Mapping[str, Iterable[float]]) -> JobTraces:
    return traces(
        {"step": step, "layer": layer, "tensor": "gradient", "abs_mean": size}
        for layer, of_steps in sizes.items()
        for step, size in enumerate(of_steps)
    )


def weight(layer: str, step: int = 0, **figures: float | None) -> Row:
    usual = {"abs_mean": 0.1, "std": 0.1, "norm": 1.0, "update": 0.01}
    return {"step": step, "layer": layer, "tensor": "weight", **usual, **figures}


def epochs(**values: list[float]) -> list[EpochMetrics]:
    """Epochs of metrics that are given as `train_accuracy=[...]`."""
    length = max(map(len, values.values()))
    names = {name: name.replace("_", ":", 1) for name in values}
    return [
        EpochMetrics(epoch=number, metrics={names[name]: of[number] for name, of in values.items() if number < len(of)})
        for number in range(length)
    ]


def finding(rule: str, trained: Trained) -> Finding:
    (found,) = (one.finding for one in diagnose(trained) if one.finding.rule == rule)
    return found


def test_a_job_without_traces_and_epochs_says_of_each_rule_what_is_missing() -> None:
    findings = [one.finding for one in diagnose(Trained())]

    assert {one.status for one in findings} == {"unknown"}
    assert all(one.says and one.figure is None and not one.advice for one in findings)
    assert len(findings) == len(RULES) == 8


def test_small_gradients_of_a_network_that_has_learned_everything_do_not_vanish() -> None:
    learning = [1e-3, 1e-4]
    well = Trained(traces=gradients({"conv1": [*learning, 1e-9, 1e-9, 1e-9], "fc": [*learning, 1e-8, 1e-8, 1e-8]}))
    ill = Trained(traces=gradients({"conv1": [1e-9, 1e-9], "fc": learning}))

    assert finding("VanishingGradient", well).status == "fine"
    assert finding("VanishingGradient", ill).status == "found"


def test_gradients_that_are_small_everywhere_from_the_start_vanish() -> None:
    assert finding("VanishingGradient", Trained(traces=gradients({"conv1": [0.0], "fc": [0.0]}))).status == "found"


def test_values_that_are_not_finite_explode_but_not_in_a_step_that_the_scaler_skipped() -> None:
    broken = {"step": 0, "layer": "conv1", "tensor": "gradient", "abs_mean": None, "nonfinite": 0.5}
    exploding = Trained(traces=traces([weight("conv1", update=0.01), broken]))
    skipped = Trained(traces=traces([weight("conv1", update=0.0), broken]))

    assert finding("ExplodingTensor", exploding).status == "found"
    assert "conv1" in finding("ExplodingTensor", exploding).says
    assert finding("ExplodingTensor", skipped).status == "fine"


def test_the_first_update_of_weights_that_begin_with_zero_is_no_explosion() -> None:
    zero = Trained(traces=traces([weight("conv1"), weight("fc", norm=0.0, update=1e9)]))
    far = Trained(traces=traces([weight("conv1", update=11.0), weight("fc")]))

    assert finding("ExplodingTensor", zero).status == "fine"
    assert finding("ExplodingTensor", far).status == "found"


def losses(*values: float) -> list[Row]:
    parts = {"data": 0.0, "forward": 0.1, "backward": 0.1, "update": 0.1}
    return [{"epoch": place // 5, "step": place, "loss": loss, **parts} for place, loss in enumerate(values)]


@pytest.mark.parametrize(("end", "status"), [(2.0, "found"), (1.0, "fine")])
def test_uneven_layers_are_poor_only_if_the_loss_stays(end: float, status: str) -> None:
    rows = [weight("conv1"), weight("fc")]
    rows += [
        {"step": 0, "layer": layer, "tensor": "output", "input_std": spread, "dead": 0}
        for layer, spread in (("relu", 1.0), ("layer1.0.relu", 0.1))
    ]

    found = finding("PoorWeightInitialization", Trained(traces=traces(rows, losses(*[2.0] * 5, *[end] * 5))))

    assert (found.status, found.figure) == (status, pytest.approx(100))


def test_weights_that_are_all_alike_are_poor_but_in_the_head() -> None:
    alike = Trained(traces=traces([weight("conv1", std=0.0), weight("fc")]))
    zero_head = Trained(traces=traces([weight("conv1"), weight("fc", abs_mean=0.0, std=0.0)]))

    assert finding("PoorWeightInitialization", alike).status == "found"
    assert finding("PoorWeightInitialization", zero_head).status == "fine"


def test_units_count_as_dead_by_the_last_steps() -> None:
    def rows(dead: list[float]) -> JobTraces:
        output = {"layer": "relu", "tensor": "output", "input_std": 1}
        return traces({"step": step, "dead": share, **output} for step, share in enumerate(dead))

    assert finding("DeadRelu", Trained(traces=rows([0.9] * 5 + [0.1] * 5))).status == "fine"
    died = finding("DeadRelu", Trained(traces=rows([0.1] * 5 + [0.6] * 5)))
    assert (died.status, died.figure, died.threshold) == ("found", pytest.approx(0.6), 0.5)
    assert finding("DeadRelu", Trained(traces=rows([0.0]))).says == "No layer has dead units."


@pytest.mark.parametrize(
    ("metrics", "status"),
    [
        ({"train_loss": [2.3, 2.3, 2.29]}, "found"),
        ({"train_loss": [2.3, 2.0, 1.0]}, "fine"),
        ({"train_accuracy": [0.1, 0.1, 0.1]}, "found"),
        ({"train_accuracy": [0.1, 0.5, 0.6]}, "fine"),
        ({"train_accuracy": [1.0, 1.0, 1.0]}, "fine"),
        ({"train_loss": [9, *[1.0] * 12]}, "found"),
        ({"train_loss": [9, *[0.01] * 12], "train_accuracy": [0.5, *[0.995] * 12]}, "fine"),
        ({"train_loss": [2.3]}, "unknown"),
    ],
)
def test_a_loss_that_stays_is_found_unless_all_is_learned(metrics: dict[str, list[float]], status: str) -> None:
    assert finding("LossNotDecreasing", Trained(epochs(**metrics))).status == status


def test_overfitting_is_that_of_the_epoch_that_was_kept() -> None:
    found = epochs(train_accuracy=[0.7, 0.99], validation_accuracy=[0.68, 0.6])

    assert finding("Overfit", Trained(found, kept_epoch=1)).status == "fine"
    assert finding("Overfit", Trained(found, kept_epoch=2)).status == "found"
    assert finding("Overfit", Trained(found)).figure == pytest.approx(0.39)


def test_overfitting_is_found_in_losses_if_there_are_no_accuracies() -> None:
    assert finding("Overfit", Trained(epochs(train_loss=[0.5], validation_loss=[0.6]))).status == "found"
    assert finding("Overfit", Trained(epochs(train_loss=[0.5], validation_loss=[0.54]))).status == "fine"


def test_epochs_behind_the_best_are_lost() -> None:
    best_is_third = [0.5, 0.6, 0.7, 0.7005, 0.6, 0.7, 0.69, 0.7]

    assert finding("Overtraining", Trained(epochs(validation_accuracy=best_is_third))).figure == 5
    longer = finding("Overtraining", Trained(epochs(validation_accuracy=[*best_is_third, 0.7])))
    assert (longer.status, longer.figure) == ("found", 6)
    assert "after epoch 3" in longer.says


def test_classes_of_very_different_size_are_found_with_their_mistakes() -> None:
    counts = {"cat": 1000, "dog": 90, "<b>newt": 20}
    found = finding(
        "ClassImbalance", Trained(training_images=counts, recalls={"cat": 0.99, "dog": 0.8, "<b>newt": 0.1})
    )

    assert (found.status, found.figure) == ("found", 50)
    assert "answered wrongly: <b>newt" in found.says
    assert "weighted_loss" in found.advice
    weighted = Trained(training_images=counts, weighted=True)
    assert "weighted_loss" not in finding("ClassImbalance", weighted).advice


def test_a_rare_class_that_is_answered_wrongly_is_found_though_the_classes_are_of_like_size() -> None:
    trained = Trained(training_images={"cat": 100, "dog": 60}, recalls={"cat": 0.9, "dog": 0.2})

    assert finding("ClassImbalance", trained).status == "found"
    assert finding("ClassImbalance", Trained(training_images={"cat": 100, "dog": 60})).status == "fine"


figures = st.none() | st.floats(0, 1e30) | st.sampled_from([0.0, 1e-9, 1e-7, 10.0])
shares = st.floats(0, 1)
tensor_rows = st.fixed_dictionaries(
    {
        "step": st.integers(0, 30),
        "layer": st.sampled_from(["conv1", "layer1.0.relu", "fc"]),
        "tensor": st.sampled_from(["weight", "gradient", "output"]),
        "abs_mean": figures,
        "std": figures,
        "norm": figures,
        "update": figures,
        "input_std": figures,
        "nonfinite": shares,
        "dead": st.none() | shares,
    }
)
LOSSES = st.floats(0, 1e30) | st.sampled_from([0.0, 5e-324, 2.2e-308, 1e-9, math.inf, math.nan])
metric_values = st.fixed_dictionaries(
    {},
    optional={"train:loss": LOSSES, "train:accuracy": shares, "validation:loss": LOSSES, "validation:accuracy": shares},
)


@settings(max_examples=60, deadline=None)
@example(tensors=[], loss=[], metrics=[{"train:loss": 2.2e-313}, {"train:loss": 1.0}], counts={})
@given(
    tensors=st.lists(tensor_rows, max_size=12),
    loss=st.lists(LOSSES, max_size=12),
    metrics=st.lists(metric_values, max_size=15),
    counts=st.dictionaries(st.text(max_size=5), st.integers(0, 10**7), max_size=5),
)
def test_every_rule_answers_whatever_a_job_left(
    tensors: list[Row], loss: list[float], metrics: list[dict[str, float]], counts: dict[str, int]
) -> None:
    found = epochs_of(metrics)
    for one in diagnose(Trained(found, None, traces(tensors, losses(*loss)), training_images=counts)):
        result = one.finding
        assert (result.figure is None) == (result.status == "unknown")
        assert result.figure is None or math.isfinite(result.figure)
        assert bool(result.advice) == (result.status == "found")
        assert "nan" not in result.says
        ReadPage(one.plot)


def test_no_curve_is_drawn_by_two_rules() -> None:
    both = epochs(train_accuracy=[0.5, 0.7, 0.8], validation_accuracy=[0.4, 0.6, 0.7])
    alone = epochs(validation_accuracy=[0.4, 0.6, 0.7])

    for known in (both, alone):
        drawn = [one.plot.count("<title>validation: ") for one in diagnose(Trained(known))]
        assert sum(drawn) == 1


def epochs_of(metrics: list[dict[str, float]]) -> list[EpochMetrics]:
    return [EpochMetrics(epoch=number, metrics=values) for number, values in enumerate(metrics)]


@given(
    counts=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 1000), min_size=2, max_size=6),
    times=st.integers(2, 9),
)
def test_more_images_of_every_class_alike_change_no_imbalance(counts: dict[str, int], times: int) -> None:
    once = finding("ClassImbalance", Trained(training_images=counts))
    often = finding(
        "ClassImbalance", Trained(training_images={label: times * count for label, count in counts.items()})
    )

    assert (often.status, often.figure) == (once.status, pytest.approx(once.figure))


@given(accuracies=st.lists(shares, min_size=2, max_size=20), lost=st.integers(1, 20))
def test_each_epoch_without_gain_is_one_more_lost(accuracies: list[float], lost: int) -> None:
    before = finding("Overtraining", Trained(epochs(validation_accuracy=accuracies))).figure
    after = finding("Overtraining", Trained(epochs(validation_accuracy=[*accuracies, *[0.0] * lost]))).figure

    assert before is not None
    assert after == before + lost


@given(sizes=st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=8), times=st.floats(1, 1e6))
def test_larger_gradients_vanish_no_more_than_smaller_ones(sizes: list[float], times: float) -> None:
    steady = [1.0] * len(sizes)
    small = finding("VanishingGradient", Trained(traces=gradients({"conv1": sizes, "fc": steady})))
    large = finding("VanishingGradient", Trained(traces=gradients({"conv1": [times * s for s in sizes], "fc": steady})))

    assert not (small.status == "fine" and large.status == "found")
