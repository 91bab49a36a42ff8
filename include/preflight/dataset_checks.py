"""The data of a run: what lies in S3 for it, and whether dataset version, run conf and parent model fit together.

In S3 lie images and labels of a new dataset version, finished versions, and their records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.datasets.errors import LIST, DatasetError, explained
from include.datasets.layout import Split, UnpackedLayout, VersionLayout, parse_s3_uri
from include.datasets.unpacking.addresses import SourcePolicy, open_remote, packed_addresses
from include.datasets.unpacking.byte_stream import look_at
from include.datasets.version import DatasetVersion, find, latest
from include.evaluation.prediction import LARGEST_BODY, LARGEST_PAYLOAD, MEGABYTE
from include.preflight import Findings
from include.preflight.algorithm_checks import own_code_problems
from include.preflight.conf_checks import channels_meet
from include.problems import Problem, ProblemsError, shown_address
from include.recordio.format import RecordError, decode_image_record, read_records
from include.run_conf.fields import as_far_as_known
from include.run_conf.hyperparameters import Range, algorithm_default
from include.run_conf.rules import HYPERPARAMETERS
from include.training.best_model import label_set_fingerprint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf, RunConf
    from include.settings import Settings
    from include.training.best_model import BestModel

CHANNELS: tuple[Split, ...] = ("train", "validation")
FIRST_BYTES = 1 << 20
REBUILD = "build a new version"
INCREMENTAL = "incremental.hyperparameters"
OTHER_ASPECT = 0.2
"""From this share on, the shape of an image differs from the network's so much that it is worth a word."""


class NoVersionError(ProblemsError):
    """There is no finished dataset version of this name."""

    title = "The dataset version is not there"


def source_problems(s3: S3Client, conf: RunConf, settings: Settings) -> Iterator[Problem]:
    """Prefixes without objects, tables and lists that are not there, archives that cannot be read."""
    tables = conf.dataset.label_tables
    if conf.dataset.multi_label and not tables and conf.dataset.source_kind != "records":
        yield Problem(
            field="dataset.multi_label",
            value=True,
            remedy="folders give an image one label: name dataset.label_tables",
        )
    documents = {
        "dataset.label_tables": tables,
        "dataset.image_list": [conf.dataset.image_list],
        "dataset.inventory": [conf.dataset.inventory],
        "dataset.labels_file": [conf.dataset.labels_file],
    }
    for field, addresses in documents.items():
        for address in filter(None, addresses):
            yield from _unlisted_problems(s3, field, address, "is not there: upload it or correct it")
    if not any((tables, conf.dataset.image_list, conf.dataset.inventory)):
        yield from _image_source_problems(s3, conf.dataset, settings)


def finished_version(s3: S3Client, data_bucket: str, *, name: str, version: str, field: str) -> DatasetVersion:
    """The named version, the newest if `version` is empty.

    Raises NoVersionError, which names `field`, if it was not published or cannot be read.
    """
    layout = VersionLayout(data_bucket, name, version)
    try:
        found = find(s3, layout) if version else latest(s3, data_bucket, name)
    except DatasetError as error:
        raise NoVersionError([Problem(field=field, value=version or name, remedy=str(error))]) from None
    if found is None:
        remedy = (
            f"s3://{data_bucket}/{layout.document} does not exist: name a finished version or leave it empty"
            if version
            else f"s3://{data_bucket}/datasets/{name}/ has no finished version: build one first, or correct the name"
        )
        raise NoVersionError([Problem(field=field, value=version or name, remedy=remedy)])
    return found


def record_findings(s3: S3Client, dataset: DatasetVersion) -> Findings:
    """Whether each channel holds one `.rec` with records, and these are labelled as `num_classes` has it.

    Raises botocore's errors if S3 gives no answer.
    """
    return Findings.of(
        problem for split in CHANNELS if dataset.count(split) for problem in _record_file_problems(s3, dataset, split)
    )


def _image_source_problems(s3: S3Client, dataset: DatasetConf, settings: Settings) -> Iterator[Problem]:
    folders = "train/CLASS/" if dataset.layout == "split_folders" else "one folder for each class"
    for address in dataset.addresses(settings.data_bucket):
        if address in packed_addresses(dataset):
            place = UnpackedLayout(settings.data_bucket, dataset.name, address)
            yield from _unreadable_problems(s3, place, SourcePolicy.of(settings))
        else:
            yield from _unlisted_problems(s3, "dataset.source", address, f"has no objects: upload {folders}")


def _unreadable_problems(s3: S3Client, place: UnpackedLayout, policy: SourcePolicy) -> Iterator[Problem]:
    shown = shown_address(place.address)
    try:
        look_at(open_remote(s3, place, policy))
    except DatasetError as error:
        remedy = str(error).removeprefix(f"dataset.source = {shown}: ").removeprefix("dataset.source ")
        yield Problem(field="dataset.source", value=shown, remedy=remedy)


def _unlisted_problems(s3: S3Client, field: str, uri: str, absent: str) -> Iterator[Problem]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        if not s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount", 0):
            yield Problem(field=field, value=uri, remedy=absent)
    except (ClientError, BotoCoreError) as error:
        yield Problem(field=field, value=uri, remedy=explained(error, uri, LIST) or f"cannot be listed: {error}")


def _record_file_problems(s3: S3Client, dataset: DatasetVersion, split: Split) -> Iterator[Problem]:
    uri = dataset.channel_uri(split)
    bucket, prefix = parse_s3_uri(uri)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=10).get("Contents", [])
    if not listed:
        yield Problem(field="dataset.version", value=uri, remedy=f"has no S3 objects: {REBUILD}, or correct the name")
        return
    names = [entry["Key"].removeprefix(prefix) for entry in listed]
    if len(names) > 1 or not names[0].endswith(".rec"):
        remedy = f"has {', '.join(names)}, and the {split} channel is one .rec file: remove the others"
        yield Problem(field="dataset.version", value=uri, remedy=remedy)
    elif not listed[0]["Size"]:
        yield Problem(field="dataset.version", value=f"{uri}{names[0]}", remedy=f"is empty, without records: {REBUILD}")
    else:
        yield from _first_record_problems(s3, dataset, bucket, listed[0]["Key"])


def _first_record_problems(s3: S3Client, dataset: DatasetVersion, bucket: str, key: str) -> Iterator[Problem]:
    uri = f"s3://{bucket}/{key}"
    head = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{FIRST_BYTES - 1}")["Body"].read()
    try:
        record = decode_image_record(next(read_records(head)).payload)
    except (RecordError, StopIteration) as error:
        if len(head) < FIRST_BYTES:
            remedy = f"is not RecordIO ({error or 'no record in it'}): {REBUILD}"
            yield Problem(field="dataset.version", value=uri, remedy=remedy)
        return
    width, wanted = len(record.labels), dataset.num_classes if dataset.multi_label else 1
    if width != wanted:
        remedy = f"has {width} labels a record, and num_classes of this version asks for {wanted}: {REBUILD}"
        yield Problem(field="dataset.version", value=uri, remedy=remedy)


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
    yield from _color_problems(dataset, network, parent)
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


def _color_problems(dataset: DatasetVersion, network: Mapping[str, str], parent: BestModel | None) -> Iterator[Problem]:
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
