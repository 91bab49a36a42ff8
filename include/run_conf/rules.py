"""What fields of a run conf may not say together, as far as the conf alone can tell.

Sources: SageMaker developer guide, "Image Classification Hyperparameters", "Define Hyperparameter Ranges",
"Understand the hyperparameter tuning strategies"; API reference of CreateTrainingJob and CreateHyperParameterTuningJob.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from include.problems import Problem
from include.run_conf.hyperparameters import IMAGENET_LAYERS, SMALL_IMAGE_LAYERS, SMALL_IMAGE_SIDE, Hyperparameters
from include.run_conf.ranges import (
    CATEGORICAL_HYPERPARAMETERS,
    DOCUMENTED_CHOICES,
    DOCUMENTED_RANGES,
    TUNABLE,
    Choices,
    Range,
)

if TYPE_CHECKING:
    from include.run_conf.conf import RunConf

Rule = Callable[["RunConf"], Iterator[Problem]]
HYPERPARAMETERS = "training.hyperparameters"
TABLE_ENDINGS = (".csv", ".parquet", ".jsonl")


def contradictions(conf: RunConf, *, wrong: Collection[str] = ()) -> list[Problem]:
    """Every contradiction within a run conf; fields in `wrong` have a problem already and are not named again."""
    return [problem for rule in RULES for problem in rule(conf) if problem.field not in wrong]


def splits_add_up(conf: RunConf) -> Iterator[Problem]:
    """The three shares are one whole."""
    split = conf.dataset.split
    shares = (split.train, split.validation, split.test)
    if not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        yield Problem(
            field="dataset.split",
            value=" + ".join(f"{share:g}" for share in shares),
            remedy=f"train, validation and test must add up to 1, not {sum(shares):g}",
        )


def packing_is_one_thing(conf: RunConf) -> Iterator[Problem]:
    """An image that is packed as it is cannot be changed on the way."""
    packing = conf.dataset.packing
    changes = {"resize": packing.resize, "center_crop": packing.center_crop, "encoding": packing.encoding == "png"}
    if packing.pass_through:
        for name, asked in changes.items():
            if asked:
                yield Problem(
                    field=f"dataset.packing.{name}",
                    value=getattr(packing, name),
                    remedy="dataset.packing.pass_through packs images as they are: leave one of the two out",
                )


def source_says_one_thing(conf: RunConf) -> Iterator[Problem]:
    """Labels come from folders or from a table, and splits from the source or from the shares."""
    dataset, split = conf.dataset, conf.dataset.split
    table, folders = dataset.label_table, dataset.layout == "split_folders"
    if table and not table.endswith(TABLE_ENDINGS):
        remedy = f"must end in {', '.join(TABLE_ENDINGS[:-1])} or {TABLE_ENDINGS[-1]}"
        yield Problem(field="dataset.label_table", value=table, remedy=remedy)
    if table and folders:
        remedy = "dataset.label_table says labels and splits: leave it at class_folders"
        yield Problem(field="dataset.layout", value=dataset.layout, remedy=remedy)
    if split.test_as != "test" and not table and not folders:
        remedy = "only a source that is split already has test images: set dataset.layout or leave it at test"
        yield Problem(field="dataset.split.test_as", value=split.test_as, remedy=remedy)
    if split.train_per_class and folders:
        remedy = "the folders say which images train: leave it empty"
        yield Problem(field="dataset.split.train_per_class", value=split.train_per_class, remedy=remedy)
    if split.train_per_class and dataset.multi_label:
        remedy = "an image of several classes counts for none of them alone: leave it empty and use the shares"
        yield Problem(field="dataset.split.train_per_class", value=split.train_per_class, remedy=remedy)


def labels_differ(conf: RunConf) -> Iterator[Problem]:
    """A class name occurs once, and one class is none."""
    labels = conf.dataset.labels
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        yield Problem(field="dataset.labels", value=", ".join(twice), remedy="is listed twice: each class once")
    elif len(labels) == 1:
        yield Problem(
            field="dataset.labels", value=labels[0], remedy="name at least two classes, or none for all of them"
        )


def network_fits_image(conf: RunConf) -> Iterator[Problem]:
    """Small networks see small images, ImageNet networks larger ones."""
    network = conf.training.hyperparameters
    height = network.shape[1]
    small = height <= SMALL_IMAGE_SIDE
    layers = SMALL_IMAGE_LAYERS if small else IMAGENET_LAYERS
    if network.num_layers not in layers:
        limit = f"up to {SMALL_IMAGE_SIDE}" if small else f"above {SMALL_IMAGE_SIDE}"
        yield Problem(
            field=f"{HYPERPARAMETERS}.num_layers",
            value=network.num_layers,
            remedy=f"images {limit} pixels high (image_shape {network.image_shape}) take {_listed(layers)} layers",
        )
    if network.use_pretrained_model and network.num_layers not in IMAGENET_LAYERS:
        yield Problem(
            field=f"{HYPERPARAMETERS}.use_pretrained_model",
            value=network.use_pretrained_model,
            remedy=f"ImageNet weights exist for {_listed(IMAGENET_LAYERS)} layers; num_layers is {network.num_layers}",
        )


def epochs_cover_the_schedule(conf: RunConf) -> Iterator[Problem]:
    """Checkpoints and learning rate steps lie within the epochs of their job."""
    base = conf.training.hyperparameters
    yield from _within_epochs(HYPERPARAMETERS, base.epochs or 30, base.checkpoint_frequency, base.lr_scheduler_step)
    if conf.incremental.enabled:
        change = conf.incremental.hyperparameters
        epochs = change.epochs or base.epochs or 30
        frequency = change.checkpoint_frequency
        yield from _within_epochs("incremental.hyperparameters", epochs, frequency, change.lr_scheduler_step)


def several_machines_agree(conf: RunConf) -> Iterator[Problem]:
    """A key-value store needs several machines, and several machines need one."""
    count, store = conf.resources.instance_count, conf.training.hyperparameters.kv_store
    if store and count == 1:
        yield Problem(
            field=f"{HYPERPARAMETERS}.kv_store",
            value=store,
            remedy="is for several machines: raise resources.instance_count or leave it empty",
        )
    if count > 1 and not store:
        yield Problem(
            field="resources.instance_count",
            value=count,
            remedy=f"several machines need {HYPERPARAMETERS}.kv_store: dist_sync or dist_async",
        )


def weighted_loss_has_labels(conf: RunConf) -> Iterator[Problem]:
    """The weighted loss is defined for multi-label training only."""
    for section, parameters in (
        (HYPERPARAMETERS, conf.training.hyperparameters),
        ("incremental.hyperparameters", conf.incremental.hyperparameters),
    ):
        if parameters.use_weighted_loss and not conf.dataset.multi_label:
            yield Problem(
                field=f"{section}.use_weighted_loss",
                value=parameters.use_weighted_loss,
                remedy="is for multi-label datasets: set dataset.multi_label or leave it empty",
            )


def several_labels_have_no_top_k(conf: RunConf) -> Iterator[Problem]:
    """Where several classes can be right, nothing is among the k most probable."""
    for section, parameters in (
        (HYPERPARAMETERS, conf.training.hyperparameters),
        ("incremental.hyperparameters", conf.incremental.hyperparameters),
    ):
        if parameters.top_k and conf.dataset.multi_label:
            remedy = "is for one label per image: leave it empty or set dataset.multi_label off"
            yield Problem(field=f"{section}.top_k", value=parameters.top_k, remedy=remedy)


def spot_waits_long_enough(conf: RunConf) -> Iterator[Problem]:
    """The wait for a spot machine includes the run itself."""
    resources = conf.resources
    wait = resources.max_wait_seconds
    if not resources.spot and wait is not None:
        yield Problem(
            field="resources.max_wait_seconds", value=wait, remedy="is for spot: set resources.spot or leave it empty"
        )
    elif wait is not None and wait < resources.max_runtime_seconds:
        yield Problem(
            field="resources.max_wait_seconds",
            value=wait,
            remedy=f"must be at least resources.max_runtime_seconds ({resources.max_runtime_seconds})",
        )


def mode_makes_what_goes_on(conf: RunConf) -> Iterator[Problem]:
    """The model that goes on is one the run makes."""
    wanted, mode = conf.training.continue_with, conf.training.mode
    if wanted != "best" and mode not in (wanted, "both"):
        yield Problem(
            field="training.continue_with", value=wanted, remedy=f"training.mode is {mode}: say best or {mode}"
        )


def tuning_is_possible(conf: RunConf) -> Iterator[Problem]:
    """Strategy and ranges of a tuning job agree; more jobs at once than jobs are cut to the jobs."""
    if conf.training.mode == "train":
        return
    tuning = conf.tuning
    if tuning.strategy == "Hyperband" and tuning.early_stopping:
        yield Problem(field="tuning.early_stopping", value=True, remedy="Hyperband stops jobs itself: switch it off")
    yield from _grid(conf)
    for name, span in tuning.ranges.items():
        yield from _range(name, span)


def _grid(conf: RunConf) -> Iterator[Problem]:
    ranges = conf.tuning.ranges
    if conf.tuning.strategy != "Grid":
        return
    if not ranges:
        yield Problem(field="tuning.ranges", remedy="Grid needs lists of values to combine")
    for name, span in ranges.items():
        if isinstance(span, Range):
            yield Problem(field=f"tuning.ranges.{name}", value=_shown(span), remedy="Grid needs a list of values here")
    combinations = math.prod(len(span) for span in ranges.values() if not isinstance(span, Range))
    if combinations > 750:
        yield Problem(field="tuning.ranges", value=f"{combinations} combinations", remedy="Grid runs at most 750 jobs")


def _range(name: str, span: Range | Choices) -> Iterator[Problem]:
    field = f"tuning.ranges.{name}"
    if name not in TUNABLE:
        remedy = f"cannot be tuned; tunable are {_listed(sorted(TUNABLE))}"
        yield Problem(field=field, value=_shown(span), remedy=remedy)
    elif isinstance(span, Range):
        yield from _numeric_range(field, name, span)
    else:
        yield from _choices(field, name, span)


def _numeric_range(field: str, name: str, span: Range) -> Iterator[Problem]:
    if name in CATEGORICAL_HYPERPARAMETERS:
        yield Problem(
            field=field, value=_shown(span), remedy=f"is a choice: list some of {_listed(DOCUMENTED_CHOICES[name])}"
        )
        return
    limits = DOCUMENTED_RANGES[name]
    if span.min >= span.max:
        yield Problem(field=field, value=_shown(span), remedy="min must be below max")
    elif span.min < min(limits.min, 1e-8) or span.max > limits.max:
        yield Problem(field=field, value=_shown(span), remedy=f"must lie within {limits.min:g} to {limits.max:g}")
    if name == "mini_batch_size" and not (span.min.is_integer() and span.max.is_integer()):
        yield Problem(field=field, value=_shown(span), remedy="needs whole numbers")
    if span.scaling == "Logarithmic" and span.min <= 0:
        yield Problem(field=field, value=_shown(span), remedy="Logarithmic scaling needs a min above 0")
    if span.scaling == "ReverseLogarithmic" and (name == "mini_batch_size" or span.max >= 1):
        remedy = "ReverseLogarithmic scaling is for continuous values of at least 0 and below 1"
        yield Problem(field=field, value=_shown(span), remedy=remedy)


def _choices(field: str, name: str, span: Choices) -> Iterator[Problem]:
    if not 1 <= len(span) <= 30:
        yield Problem(field=field, value=_shown(span), remedy="list 1 to 30 values")
    if len(set(map(str, span))) < len(span):
        yield Problem(field=field, value=_shown(span), remedy="lists a value twice")
    for value in span:
        try:
            Hyperparameters.model_validate({name: value})
        except ValueError:
            yield Problem(field=field, value=value, remedy=f"is no valid {name}")


def _within_epochs(section: str, epochs: int, frequency: int | None, steps: str | None) -> Iterator[Problem]:
    if frequency and frequency > epochs:
        yield Problem(
            field=f"{section}.checkpoint_frequency", value=frequency, remedy=f"must be at most the epochs ({epochs})"
        )
    numbers = [int(step) for step in steps.split(",")] if steps else []
    if numbers != sorted(set(numbers)):
        yield Problem(field=f"{section}.lr_scheduler_step", value=steps, remedy="must rise, such as 10,20")


def _listed(values: Collection[object]) -> str:
    return ", ".join(str(value) for value in values)


def _shown(span: Range | Choices) -> str:
    return f"{span.min:g} to {span.max:g} ({span.scaling})" if isinstance(span, Range) else str(span)


RULES: tuple[Rule, ...] = (
    splits_add_up,
    packing_is_one_thing,
    source_says_one_thing,
    labels_differ,
    network_fits_image,
    epochs_cover_the_schedule,
    several_machines_agree,
    weighted_loss_has_labels,
    several_labels_have_no_top_k,
    spot_waits_long_enough,
    mode_makes_what_goes_on,
    tuning_is_possible,
)
