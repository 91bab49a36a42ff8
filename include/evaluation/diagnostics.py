"""What went wrong in a training, found in what its job left: the rules that SageMaker Debugger had, for any algorithm.

A rule has the name and the thresholds of Debugger's built-in rule, unless its docstring gives another one and says why.
Debugger compared single steps while a job ran; here the whole training is known, and most rules compare epochs.

Source: SageMaker developer guide, "List of Debugger built-in rules" (names, parameters, default values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from include.evaluation.diagnosis import (
    NO_LOSS,
    Diagnosis,
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
from include.evaluation.tensor_rules import (
    dead_relu,
    exploding_tensor,
    poor_weight_initialization,
    vanishing_gradient,
)
from include.pages.charts import Line, line_chart, stacked_columns
from include.pages.elements import Markup, joined, note

LOSS_EPOCHS = 10
LEAST_FALL = 0.01
"""LossNotDecreasing, `num_steps`, in epochs, and `diff_percent`, which has no default there: 1 percent is real."""
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
