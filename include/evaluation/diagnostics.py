"""What went wrong in a training, found in what its job left: the rules that SageMaker Debugger had, for any algorithm.

A rule has the name and the thresholds of Debugger's built-in rule, unless its docstring gives another one and says why.
Debugger compared single steps while a job ran; here the whole training is known, and most rules compare epochs. Rules
about what happens inside the network (its gradients, weights and units) read the steps that the job observed.

Source: SageMaker developer guide, "List of Debugger built-in rules" (names, parameters, default values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from include.evaluation.job_traces import (
    NO_LOSS,
    Columns,
    Diagnosis,
    Floats,
    Trained,
    counted,
    fell,
    few,
    judged,
    percent,
    share_of,
    short,
    unknown,
)
from include.pages import Markup, joined, note
from include.pages.charts import Line, line_chart, stacked_columns

LOSS_EPOCHS = 10
LEAST_FALL = 0.01
"""LossNotDecreasing, `num_steps`, in epochs, and `diff_percent`, which has no default there: 1 percent is real.

Of PoorWeightInitialization too: a loss that falls by a smaller share within the first epochs has stayed.
"""
LEARNED = 0.99
"""Training accuracy from which there is nothing left to learn."""
GAP = 0.1
"""Overfit, `ratio_threshold`."""
LOST_EPOCHS = 5
"""Overtraining, `patience_train`. Debugger waited 10 steps for validation; an epoch is many steps."""
LEAST_GAIN = 0.001
"""A validation accuracy that is better by less than this is the same. Debugger's `delta` is in units of the loss."""
IMBALANCE = 10.0
MISPREDICTED = 0.7
"""ClassImbalance, `threshold_imbalance` and `threshold_misprediction`."""
VANISHING = 1e-7
"""VanishingGradient, `threshold`: the mean of the gradient's absolute values."""
LEARNING = 100 * VANISHING
"""A gradient somewhere in the network that shows that there is still something to learn."""
LARGEST_UPDATE = 10.0
"""WeightUpdateRatio, `large_threshold`: the length of an update to that of the weights."""
LEAST_NORM = 1e-6
"""Weights shorter than this are zero: any update is far longer than they."""
VARIANCE_RATIO = 10.0
FIRST_STEPS = 10
PATIENCE = 5
"""PoorWeightInitialization, `threshold`, `steps` and `patience`; the latter in epochs."""
ALIKE = 1e-6
"""Weights that differ by less than this share of their size are all the same."""
NO_SPREAD = 1e-20
"""Variance of an input that is the same everywhere: it is compared with none."""
DEAD_SHARE = 0.5
"""DeadRelu, `threshold_layer` (50 percent). Its `threshold_inactivity` (1 percent) is in the scripts' figures."""
NO_TENSORS = (
    "The job left no tensor statistics. The PyTorch scripts write them (algorithms/pytorch/README.md); the built-in "
    "algorithm does not."
)


def diagnose(trained: Trained) -> list[Diagnosis]:
    """What every rule reports about a training, in their order."""
    return [rule(trained) for rule in RULES]


def loss_not_decreasing(trained: Trained) -> Diagnosis:
    """LossNotDecreasing: over the last epochs the training loss does not fall.

    The share of training images with a wrong answer stands in for the loss of algorithms that print none.
    """
    losses, name = trained.metric("train:loss"), "training loss"
    if not losses:
        losses = {epoch: 1 - accuracy for epoch, accuracy in trained.metric("train:accuracy").items()}
        name = "share of wrong answers in training"
    title = "Loss does not decrease"
    if len(losses) < 2:
        return unknown(
            "LossNotDecreasing", title, LEAST_FALL, "The log shows the training loss of fewer than two epochs."
        )
    epochs = sorted(losses)
    start = epochs[max(0, len(epochs) - 1 - LOSS_EPOCHS)]
    lowest = min(losses[epoch] for epoch in epochs if epoch > start)
    fall = share_of(losses[start], losses[start] - lowest)
    reached = trained.metric("train:accuracy").get(start, 0.0)
    learned = reached >= LEARNED or losses[start] <= NO_LOSS
    says = f"From epoch {start} to {epochs[-1]} the {name} {fell(fall)}, to {lowest:.4g}."
    if learned and fall < LEAST_FALL:
        says += " Nothing was left to learn."
    plots = [
        _epochs_line("training", trained.metric("train:loss")),
        _epochs_line("validation", trained.metric("validation:loss")),
    ]
    return Diagnosis(
        judged(
            rule="LossNotDecreasing",
            title=title,
            found=fall < LEAST_FALL and not learned,
            figure=fall,
            threshold=LEAST_FALL,
            says=says,
            advice="Try another learning rate: search it with a tuning job. If it stalls late in training, lower the "
            "rate (schedule=cosine); if from the start, raise it.",
        ),
        line_chart("Loss by epoch", plots, across="epoch", unit=short)
        or line_chart(name.capitalize(), [Line("training", sorted(losses.items()))], across="epoch", unit=percent),
    )


def overfit(trained: Trained) -> Diagnosis:
    """Overfit: validation is worse than training in the epoch of the model.

    Debugger compares losses, of which the smallest differences are many times a training loss near zero. Where there
    are accuracies, they are compared with the same threshold: ten points.
    """
    training, validation = trained.metric("train:accuracy"), trained.metric("validation:accuracy")
    both = sorted(training.keys() & validation.keys())
    if both:
        epoch = trained.kept_epoch if trained.kept_epoch in both else both[-1]
        gap = training[epoch] - validation[epoch]
        says = (
            f"In epoch {epoch} accuracy is {training[epoch]:.1%} in training and {validation[epoch]:.1%} in validation."
        )
    else:
        training, validation = trained.metric("train:loss"), trained.metric("validation:loss")
        both = sorted(training.keys() & validation.keys())
        if not both:
            return unknown("Overfit", "Overfitting", GAP, "The log shows no epoch with both training and validation.")
        epoch = trained.kept_epoch if trained.kept_epoch in both else both[-1]
        gap = share_of(training[epoch], validation[epoch] - training[epoch])
        says = (
            f"In epoch {epoch} the loss is {training[epoch]:.4g} in training and {validation[epoch]:.4g} in validation."
        )
    return Diagnosis(
        judged(
            rule="Overfit",
            title="Overfitting",
            found=gap > GAP,
            figure=gap,
            threshold=GAP,
            says=says,
            advice="Use more training images, stronger augmentation, more weight decay, or a smaller network; begin "
            "with the weights of a trained network.",
        ),
        line_chart(
            "Training and validation by epoch",
            [_epochs_line("training", training), _epochs_line("validation", validation)],
            across="epoch",
            unit=short,
        ),
    )


def overtraining(trained: Trained) -> Diagnosis:
    """Overtraining: training continued for more epochs than this after validation was at its best.

    If there are accuracies of training too, the chart of Overfit shows the same line.
    """
    validation = trained.metric("validation:accuracy")
    if len(validation) < 2:
        return unknown("Overtraining", "Overtraining", LOST_EPOCHS, "The log shows fewer than two validations.")
    best, last = -1.0, max(validation)
    best_epoch = last
    for epoch, accuracy in sorted(validation.items()):
        if accuracy > best + LEAST_GAIN:
            best, best_epoch = accuracy, epoch
    lost = last - best_epoch
    return Diagnosis(
        judged(
            rule="Overtraining",
            title="Overtraining",
            found=lost > LOST_EPOCHS,
            figure=lost,
            threshold=LOST_EPOCHS,
            says=f"Validation accuracy was at its best, {best:.1%}, after epoch {best_epoch}; "
            + (f"the {counted(lost, 'epoch')} after it brought no improvement." if lost else "that was the last one."),
            advice=f"Set epochs to about {best_epoch + 1}, or use early stopping: the later epochs cost as much as the "
            "others.",
        ),
        Markup()
        if trained.metric("train:accuracy")
        else line_chart(
            "Validation accuracy by epoch", [_epochs_line("validation", validation)], across="epoch", unit=percent
        ),
    )


def class_imbalance(trained: Trained) -> Diagnosis:
    """ClassImbalance: the largest class has many times the images of the smallest, or a rare class is answered wrongly.

    Debugger counts wrong answers of any class; here those of classes with fewer images than the mean.
    """
    counts = trained.training_images
    if len(counts) < 2 or not any(counts.values()):
        return unknown("ClassImbalance", "Class imbalance", IMBALANCE, "The dataset version has no counts of classes.")
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    ratio = counts[largest] / max(counts[smallest], 0.5)
    mean = sum(counts.values()) / len(counts)
    missed = {label: 1 - recall for label, recall in trained.recalls.items() if counts.get(label, 0) < mean}
    failed = [label for label, share in missed.items() if share > MISPREDICTED]
    of_largest = counted(counts[largest], "training image")
    says = f"The largest class, {largest}, has {of_largest}, {ratio:.1f} times as many as the smallest, {smallest}."
    if counts[largest] == counts[smallest]:
        says = f"Every class has {of_largest}."
    if failed:
        says += f" More than {MISPREDICTED:.0%} of the test images of rare classes are answered wrongly: {few(failed)}."
    elif ratio > IMBALANCE and missed:
        says += f" Of the rare classes at most {max(missed.values()):.0%} of the test images are answered wrongly."
    remedy = "" if trained.weighted else " Let rare classes count as much as frequent ones (weighted_loss=1)."
    ordered = sorted(counts, key=counts.__getitem__, reverse=True)
    return Diagnosis(
        judged(
            rule="ClassImbalance",
            title="Class imbalance",
            found=ratio > IMBALANCE or bool(failed),
            figure=ratio,
            threshold=IMBALANCE,
            says=says,
            advice=f"Collect images of the smallest classes.{remedy}",
        ),
        joined(
            (stacked_columns([(label, [counts[label]]) for label in ordered]), note("Training images of each class."))
        ),
    )


def vanishing_gradient(trained: Trained) -> Diagnosis:
    """VanishingGradient: the mean of a gradient's absolute values drops below a threshold.

    Counted are steps in which any layer still learns, for a network that has learned everything has small gradients
    everywhere; the median of these steps counts, not the smallest.
    """
    gradients = trained.layers("gradient")
    if not gradients:
        return unknown("VanishingGradient", "Vanishing gradients", VANISHING, NO_TENSORS)
    sizes = _by_step(gradients, "abs_mean")
    learns = np.nanmax(np.nan_to_num(sizes), axis=0) >= LEARNING
    looked_at = sizes[:, learns] if learns.any() else sizes[:, :FIRST_STEPS]
    medians = {layer: _median(row) for layer, row in zip(gradients, looked_at, strict=True)}
    layer = min(medians, key=medians.__getitem__)
    lost = [name for name, size in medians.items() if size < VANISHING]
    last = list(gradients)[-1]
    says = f"The gradient of {layer} is the smallest: {short(medians[layer])} in the mean of its values."
    if lost:
        says += f" {len(lost):,} of {counted(len(medians), 'layer')} are below {short(VANISHING)} and learn little."
    return Diagnosis(
        judged(
            rule="VanishingGradient",
            title="Vanishing gradients",
            found=bool(lost),
            figure=medians[layer],
            threshold=VANISHING,
            says=says,
            advice="Begin with the weights of a trained network (channel weights), or take a network of fewer layers. "
            "If these layers get weights, check that none is zero.",
        ),
        line_chart(
            "Size of gradients by step",
            [
                _line_of(name, gradients[name], "abs_mean")
                for name in dict.fromkeys([layer, next(iter(gradients)), last])
            ],
            across="step",
            unit=short,
            threshold=VANISHING,
            logarithmic=True,
        ),
    )


def exploding_tensor(trained: Trained) -> Diagnosis:
    """ExplodingTensor, and WeightUpdateRatio's upper threshold: values that are not finite, or a far too long update.

    An infinite gradient in a step that changed no weight does not count: with float16 the script skips such steps, as
    it should, and scales the loss again.
    """
    weights = trained.layers("weight")
    if not weights:
        return unknown("ExplodingTensor", "Exploding gradients", LARGEST_UPDATE, NO_TENSORS)
    broken = _broken_layers(trained, weights)
    ratios = {
        layer: float(np.nanmax(np.where(columns["norm"] > LEAST_NORM, columns["update"], 0), initial=0))
        for layer, columns in weights.items()
    }
    layer = max(ratios, key=ratios.__getitem__)
    if broken:
        says = f"{_named(broken, 'layer')} had values that are infinite or not a number."
    else:
        says = f"The longest update is {short(ratios[layer])} times as long as the weights, in {layer}."
    return Diagnosis(
        judged(
            rule="ExplodingTensor",
            title="Exploding gradients",
            found=bool(broken) or ratios[layer] > LARGEST_UPDATE,
            figure=ratios[layer],
            threshold=LARGEST_UPDATE,
            says=says,
            advice="Lower the learning rate, let it rise from zero (warmup_epochs=1), or bound the gradient "
            "(clip_gradient_norm=1).",
        ),
        line_chart(
            "Update to weights by step",
            [_line_of(layer, weights[layer], "update")],
            across="step",
            unit=short,
            threshold=LARGEST_UPDATE,
            logarithmic=True,
        ),
    )


def _broken_layers(trained: Trained, weights: Mapping[str, Columns]) -> list[str]:
    """Layers with values that are not finite, apart from those of skipped steps."""
    broken = []
    for (layer, _), columns in trained.traces.tensors.items():
        steps = columns["step"][columns["nonfinite"] > 0]
        weight = weights.get(layer)
        skipped = weight["step"][weight["update"] == 0] if weight is not None else np.empty(0)
        if np.setdiff1d(steps, skipped).size:
            broken.append(layer)
    return list(dict.fromkeys(broken))


def poor_weight_initialization(trained: Trained) -> Diagnosis:
    """PoorWeightInitialization: what layers pass on differs too much, or weights do not differ, and the loss stays.

    Debugger's third sign, gradients that spread over less than 0.001, is left out: those of a batch-normalised network
    of millions of weights do so when all is well. The first step counts, which shows the weights as they were given;
    the loss has to stay through the first epochs, since that of single steps is mostly chance.
    """
    outputs, weights = trained.layers("output"), trained.layers("weight")
    if not weights:
        return unknown("PoorWeightInitialization", "Poor weight initialisation", VARIANCE_RATIO, NO_TENSORS)
    alike = [
        layer
        for layer, columns in list(weights.items())[:-1]  # a head may begin with zeros
        if columns["step"][0] == 0 and columns["std"][0] <= ALIKE * max(columns["abs_mean"][0], LEAST_NORM)
    ]
    spreads = {layer: _median(columns["input_std"][:1] ** 2) for layer, columns in outputs.items()}
    positive = [spread for spread in spreads.values() if spread > NO_SPREAD]
    ratio = max(positive) / min(positive) if positive else 1.0
    fall = _first_fall(trained)
    stays = fall is not None and fall < LEAST_FALL
    says = f"At the start, the input of the ReLUs varies {short(ratio)} times as much in one layer as in another"
    says += "." if fall is None else f"; the loss {fell(fall)} within the first epochs."
    if alike:
        says = f"At the start all weights are equal in {_named(alike, 'layer')}, so their units learn the same thing."
    return Diagnosis(
        judged(
            rule="PoorWeightInitialization",
            title="Poor weight initialisation",
            found=bool(alike) or (ratio > VARIANCE_RATIO and stays),
            figure=ratio,
            threshold=VARIANCE_RATIO,
            says=says,
            advice="Begin with random weights (without channel weights), or with those of a trained network.",
        ),
        line_chart(
            "Variance of the input of each ReLU, at the start",
            [Line("variance", list(enumerate(spreads.values(), start=1)))],
            across="ReLU, from the image to the answer",
            unit=short,
            logarithmic=True,
        ),
    )


def _first_fall(trained: Trained) -> float | None:
    """By which share the loss fell from the first steps to the best of the first epochs; None of too few steps."""
    steps = trained.traces.steps
    if not steps or np.isfinite(steps["loss"]).sum() < 2 * PATIENCE or not np.isfinite(steps["loss"][:PATIENCE]).any():
        return None
    first = _mean(steps["loss"][:PATIENCE])
    epochs = [steps["loss"][steps["epoch"] == epoch] for epoch in np.unique(steps["epoch"])[:PATIENCE]]
    return share_of(first, first - min(_mean(losses) for losses in epochs if np.isfinite(losses).any()))


def dead_relu(trained: Trained) -> Diagnosis:
    """DeadRelu: in a layer more than half of the units are active in less than one of a hundred cases.

    The last observed steps count: a unit may die during training.
    """
    outputs = trained.layers("output")
    if not outputs:
        return unknown("DeadRelu", "Dead units", DEAD_SHARE, NO_TENSORS)
    dead = {layer: _mean(columns["dead"][-PATIENCE:]) for layer, columns in outputs.items()}
    worst = sorted(dead, key=dead.__getitem__, reverse=True)
    many = [layer for layer in worst if dead[layer] > DEAD_SHARE]
    if dead[worst[0]] == 0:
        says = "No layer has dead units."
    else:
        says = f"At the end {dead[worst[0]]:.0%} of the units of {worst[0]} are dead, the most of {len(dead)} layers."
    if len(many) > 1:
        says += f" In {counted(len(many), 'layer')} more than half of them are."
    return Diagnosis(
        judged(
            rule="DeadRelu",
            title="Dead units",
            found=bool(many),
            figure=dead[worst[0]],
            threshold=DEAD_SHARE,
            says=says,
            advice="Lower the learning rate or let it rise from zero (warmup_epochs=1): a long update pushes units "
            "below zero, and they never return. A smaller network may be as good.",
        ),
        line_chart(
            "Dead units by step",
            [_line_of(layer, outputs[layer], "dead") for layer in worst[:3]],
            across="step",
            unit=percent,
            threshold=DEAD_SHARE,
            bounds=(0, 1),
        ),
    )


RULES: tuple[Callable[[Trained], Diagnosis], ...] = (
    vanishing_gradient,
    exploding_tensor,
    poor_weight_initialization,
    dead_relu,
    loss_not_decreasing,
    overfit,
    overtraining,
    class_imbalance,
)


def _epochs_line(name: str, values: Mapping[int, float]) -> Line:
    return Line(name, sorted(values.items()))


def _by_step(layers: Mapping[str, Columns], figure: str) -> Floats:
    """A figure as rows of layers and columns of steps; nan where a layer has no row."""
    steps = np.unique(np.concatenate([columns["step"] for columns in layers.values()]))
    table = np.full((len(layers), len(steps)), np.nan)
    for row, columns in zip(table, layers.values(), strict=True):
        row[np.searchsorted(steps, columns["step"])] = columns[figure]
    return table


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else 0.0


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else 0.0


def _line_of(layer: str, columns: Columns, figure: str) -> Line:
    return Line(layer, list(zip(columns["step"].tolist(), columns[figure].tolist(), strict=True)))


def _named(names: Sequence[str], noun: str) -> str:
    return f"{noun} {names[0]}" if len(names) == 1 else f"{counted(len(names), noun)} ({few(names)})"
