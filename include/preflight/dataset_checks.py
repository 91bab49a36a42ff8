"""Whether a dataset version, the run conf and a parent model fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from include.evaluation.prediction import LARGEST_BODY
from include.evaluation.transform import LARGEST_PAYLOAD, MEGABYTE
from include.preflight.algorithm_checks import own_code_problems
from include.preflight.conf_checks import channels_meet
from include.problems import Problem
from include.run_conf.fields import as_far_as_known
from include.run_conf.hyperparameters import Range, algorithm_default
from include.run_conf.rules import HYPERPARAMETERS
from include.training.best_model import label_set_fingerprint

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.training.best_model import BestModel


INCREMENTAL = "incremental.hyperparameters"
OTHER_ASPECT = 0.2
"""From this share on, the shape of an image differs from the network's so much that it is worth a word."""


def dataset_problems(conf: RunConf, dataset: DatasetVersion, *, parent: BestModel | None = None) -> list[Problem]:
    """What a dataset version and a run conf, or a parent model, do not agree on."""
    problems = [*_content_problems(dataset), *_payload_problems(dataset)]
    if conf.training.algorithm.is_builtin:
        problems += _network_problems(conf, dataset, parent)
    elif parent:
        problems += _class_order_problems(dataset, parent)
    problems += own_code_problems(conf, dataset, parent)
    return problems


def _network_problems(conf: RunConf, dataset: DatasetVersion, parent: BestModel | None) -> Iterator[Problem]:
    """What the built-in algorithm's hyperparameters and the images do not agree on."""
    network = parent.hyperparameters if parent else conf.training.hyperparameters.as_strings()
    yield from _image_problems(dataset, network, parent)
    yield from _channel_problems(dataset, network, parent)
    yield from as_far_as_known(_label_problems(conf, dataset))
    if parent:
        yield from _parent_problems(dataset, parent)
    yield from as_far_as_known(_batch_problems(conf, dataset, parent))


def dataset_notes(conf: RunConf, dataset: DatasetVersion) -> Iterator[str]:
    """What is worth knowing of a dataset version that can be trained on."""
    mean = dataset.mean_image
    _, height, width = conf.training.hyperparameters.shape
    if mean and mean.height and abs((mean.width / mean.height) / (width / height) - 1) > OTHER_ASPECT:
        yield (
            f"the endpoint resizes every image to {width} x {height}, and the packed ones are {mean.width:.0f} x "
            f"{mean.height:.0f} on average: its accuracy may be below the training's; evaluate_endpoint measures it"
        )
    largest = dataset.largest_test_image
    if largest and LARGEST_BODY < largest <= LARGEST_PAYLOAD * MEGABYTE:
        yield (
            f"the largest packed test image has {largest} bytes, and a request to an endpoint may have {LARGEST_BODY}: "
            "the batch transform takes it, deployment.predict and evaluate_endpoint leave it out"
        )


def _content_problems(dataset: DatasetVersion) -> Iterator[Problem]:
    version = f"{dataset.name}/{dataset.version}"
    if dataset.num_classes < 2:
        yield Problem(field="dataset.labels", value=dataset.labels, remedy=f"{version} needs at least two classes")
    empty = [split for split in ("train", "validation", "test") if getattr(dataset.counts, split) == 0]
    for split in empty:
        yield Problem(
            field=f"dataset.split.{split}", value=0, remedy=f"no image of {version} is in this split: add images"
        )
    if "train" not in empty:
        yield from _class_problems(dataset)


def _class_problems(dataset: DatasetVersion) -> Iterator[Problem]:
    unseen = [label for label, counts in dataset.class_counts.items() if counts.train == 0]
    seen = [label for label in dataset.class_counts if label not in unseen]
    if unseen and len(seen) < 2:
        shown = f"the label {seen[0]} (index {dataset.labels.index(seen[0])})" if seen else "no label at all"
        remedy = f"every training image has {shown}: correct dataset.label_tables, or the folders of the source"
        yield Problem(field="dataset.labels", value=", ".join(dataset.labels), remedy=remedy)
    elif unseen:
        yield Problem(
            field="dataset.labels",
            value=", ".join(unseen),
            remedy="no training image shows this: add images or leave the class out",
        )


def _image_problems(dataset: DatasetVersion, network: Mapping[str, str], parent: BestModel | None) -> Iterator[Problem]:
    shape = network.get("image_shape", algorithm_default("image_shape"))
    _, height, width = (int(part) for part in shape.split(","))
    small = list(_sides_below(dataset, height, width))
    if small:
        whose = f" of {parent.job}" if parent else ""
        yield Problem(
            field=f"{HYPERPARAMETERS}.image_shape",
            value=f"{shape}{whose}",
            remedy=f"{', '.join(small)}: {_larger_images(dataset, height, width)} a smaller image_shape",
        )


def _sides_below(dataset: DatasetVersion, height: int, width: int) -> Iterator[str]:
    """The sides of packed images that a network of this input cannot take."""
    if dataset.smallest_height is None or dataset.smallest_width is None:
        # An old document has one side only, and not which: below both numbers it is too small for certain.
        if 0 < dataset.smallest_side < min(height, width):
            yield f"the smallest side of a packed image is {dataset.smallest_side} pixels"
        return
    for name, smallest, needed in (
        ("height", dataset.smallest_height, height),
        ("width", dataset.smallest_width, width),
    ):
        if smallest < needed:
            yield f"the smallest {name} of a packed image is {smallest} pixels, below {needed}"


def _larger_images(dataset: DatasetVersion, height: int, width: int) -> str:
    if dataset.packing.pass_through:
        return f"leave images below {width} x {height} (width x height) out of the source, or set"
    return f"set dataset.packing.resize to at least {_resize_that_fits(dataset, height, width)}, or"


def _resize_that_fits(dataset: DatasetVersion, height: int, width: int) -> int:
    """The shorter side from which on every image covers the network's input.

    Images that were resized all grow alike. Of others it is not known how their sides relate.
    """
    now, low, narrow = dataset.packing.resize, dataset.smallest_height, dataset.smallest_width
    if not now or not low or not narrow:
        return max(height, width)
    return min(max(height, width), max(-(-now * height // low), -(-now * width // narrow)))


def _channel_problems(
    dataset: DatasetVersion, network: Mapping[str, str], parent: BestModel | None
) -> Iterator[Problem]:
    shape, color = network.get("image_shape", algorithm_default("image_shape")), dataset.packing.color
    if dataset.packing.pass_through or (parent and color):
        return  # a reader makes one channel of three: what learned from such images is trained further on them
    whose = f" of {parent.job}" if parent else ""
    yield from channels_meet(f"{HYPERPARAMETERS}.image_shape", shape, color, whose=whose)


def _payload_problems(dataset: DatasetVersion) -> Iterator[Problem]:
    largest = dataset.largest_test_image
    if largest and largest > LARGEST_PAYLOAD * MEGABYTE:
        yield Problem(
            field="dataset.packing",
            value=dataset.packing.in_words,
            remedy=f"the largest packed test image has {largest} bytes, and the batch transform that measures the "
            f"model sends at most {LARGEST_PAYLOAD} MB: set dataset.packing.resize, or dataset.packing.encoding to jpg",
        )


def _label_problems(conf: RunConf, dataset: DatasetVersion) -> Iterator[Problem]:
    sections = ((HYPERPARAMETERS, conf.training.hyperparameters), (INCREMENTAL, conf.incremental.hyperparameters))
    for section, parameters in sections:
        if parameters.top_k and (dataset.multi_label or parameters.top_k > dataset.num_classes):
            remedy = (
                "the dataset version is multi-label, where several classes are right: leave it empty"
                if dataset.multi_label
                else f"must be at most the {dataset.num_classes} classes"
            )
            yield Problem(field=f"{section}.top_k", value=parameters.top_k, remedy=remedy)
        if parameters.use_weighted_loss and not dataset.multi_label:
            yield Problem(
                field=f"{section}.use_weighted_loss",
                value=parameters.use_weighted_loss,
                remedy="is for multi-label datasets, and this version has one label per image: leave it empty",
            )


def _batch_problems(conf: RunConf, dataset: DatasetVersion, parent: BestModel | None) -> Iterator[Problem]:
    smallest = min(dataset.counts.train, dataset.counts.validation)
    for field, batch in _batches(conf, parent):
        if batch > smallest > 0:
            yield Problem(
                field=field,
                value=batch,
                remedy=f"the train channel has {dataset.counts.train} images, the validation channel "
                f"{dataset.counts.validation}: use at most {smallest}",
            )


def _batches(conf: RunConf, parent: BestModel | None) -> Iterator[tuple[str, int]]:
    default = algorithm_default("mini_batch_size")
    base = int(parent.hyperparameters.get("mini_batch_size", default)) if parent else None
    mode = conf.training.mode
    span: Any = conf.tuning.ranges.get("mini_batch_size") if conf.training.tunes else None
    if parent is None and not (span and mode in ("tune", "tune_then_train")):
        base = conf.training.hyperparameters.mini_batch_size or int(default)
        yield f"{HYPERPARAMETERS}.mini_batch_size", base
    if parent is None and span:
        largest = span.max if isinstance(span, Range) else max(float(value) for value in span)
        yield "tuning.ranges.mini_batch_size", int(largest)
    if conf.incremental.enabled:
        change = conf.incremental.hyperparameters.mini_batch_size
        if change or parent:
            yield f"{INCREMENTAL}.mini_batch_size", change or base or int(default)


def _parent_problems(dataset: DatasetVersion, parent: BestModel) -> Iterator[Problem]:
    """What stands against training on from `parent`: other classes, labels of another kind, an unknown network."""
    classes = parent.hyperparameters.get("num_classes")
    if classes != str(dataset.num_classes):
        yield Problem(
            field="dataset.labels",
            value=f"{dataset.num_classes} classes",
            remedy=f"the parent model {parent.job} knows {classes}; classes cannot be added: run a full training",
        )
    elif parent.hyperparameters.get("multi_label", "0") != ("1" if dataset.multi_label else "0"):
        yield Problem(
            field="dataset.multi_label",
            value=dataset.multi_label,
            remedy=f"the parent model {parent.job} was trained otherwise: run a full training",
        )
    else:
        yield from _class_order_problems(dataset, parent)
    absent = [name for name in ("num_layers", "image_shape") if name not in parent.hyperparameters]
    if absent:
        yield Problem(field="incremental", value=parent.job, remedy=f"has no {', '.join(absent)}: run a full training")


def _class_order_problems(dataset: DatasetVersion, parent: BestModel) -> Iterator[Problem]:
    """Other classes than those of `parent`, or in another order."""
    if parent.label_set and parent.label_set != label_set_fingerprint(dataset.labels):
        yield Problem(
            field="dataset.labels",
            value=", ".join(dataset.labels),
            remedy=f"the parent model {parent.job} knows other classes, or in another order: run a full training",
        )
