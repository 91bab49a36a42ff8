"""Everything that can be known before anything is paid, asked at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.datasets.byte_stream import look_at
from include.datasets.errors import DatasetError
from include.datasets.packed_addresses import open_remote, packed_addresses
from include.datasets.web_source import shown_address
from include.problems import Problem, ProblemsError
from include.run_conf.ranges import Range
from include.run_conf.rules import contradictions
from include.training.algorithm_image import registry_accounts
from include.training.instance_types import Purpose, instance_types
from include.training.label_sets import label_set_fingerprint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion
    from include.run_conf import DatasetConf, RunConf
    from include.settings import Settings
    from include.training.selection import BestModel

BASE = "training.hyperparameters"
INCREMENTAL = "incremental.hyperparameters"


class PreflightError(ProblemsError):
    """The run would fail or make something useless; nothing was started."""

    title = "This run cannot work and was not started"


def check(
    conf: RunConf,
    settings: Settings,
    *,
    s3: S3Client,
    dataset: DatasetVersion | None = None,
    parent: BestModel | None = None,
) -> None:
    """Look at conf, buckets, source, dataset version and parent model; takes seconds, starts nothing.

    Without `dataset` what depends on the images is left out: call again when the version is there. `parent` is the
    model an incremental training starts from, where it is known before. Raises PreflightError with all problems.
    """
    problems = [
        *contradictions(conf),
        *_machine_problems(conf),
        *_region_problems(settings),
        *_bucket_problems(s3, settings),
    ]
    reachable = not any(problem.field.endswith("_bucket") for problem in problems)
    if dataset is None and reachable:
        problems += _dataset_source_problems(s3, conf, settings)
    if dataset is not None:
        problems += dataset_problems(conf, dataset, parent=parent)
    if problems:
        raise PreflightError(problems)


def dataset_problems(conf: RunConf, dataset: DatasetVersion, *, parent: BestModel | None = None) -> list[Problem]:
    """What a dataset version and a run conf, or a parent model, do not agree on."""
    network = parent.hyperparameters if parent else conf.training.hyperparameters.as_strings()
    problems = [
        *_content_problems(dataset),
        *_image_problems(dataset, network, parent),
        *_label_problems(conf, dataset),
    ]
    if parent:
        problems += _parent_problems(dataset, parent)
    return [*problems, *_batch_problems(conf, dataset, parent)]


def _machine_problems(conf: RunConf) -> Iterator[Problem]:
    chosen: tuple[tuple[str, str, Purpose], ...] = (
        ("resources", conf.resources.instance_type, "TrainingInstanceType"),
        ("endpoint", conf.endpoint.instance_type, "ProductionVariantInstanceType"),
    )
    for section, machine, purpose in chosen:
        offered = instance_types(purpose)
        if machine not in offered:
            nearest = difflib.get_close_matches(machine, offered, n=1, cutoff=0.0)[0]
            remedy = f"SageMaker offers no such machine for this; did you mean {nearest}?"
            yield Problem(field=f"{section}.instance_type", value=machine, remedy=remedy)


def _region_problems(settings: Settings) -> Iterator[Problem]:
    if not settings.image_uri and settings.region not in registry_accounts():
        yield Problem(
            field="settings.region",
            value=settings.region,
            remedy="AWS offers no image classification here: correct it, or name a container of your own as image_uri",
        )


def _bucket_problems(s3: S3Client, settings: Settings) -> Iterator[Problem]:
    for field in ("data_bucket", "output_bucket"):
        bucket = getattr(settings, field)
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            yield Problem(field=f"settings.{field}", value=bucket, remedy=_bucket_remedy(error, settings.region))
        except BotoCoreError as error:
            yield Problem(field=f"settings.{field}", value=bucket, remedy=f"S3 does not answer: {error}")


def _bucket_remedy(error: ClientError, region: str) -> str:
    code = error.response["ResponseMetadata"]["HTTPStatusCode"]
    remedies = {
        301: f"lies in another region than {region}: use a bucket of that region",
        403: "may not be read: allow s3:ListBucket to the connection's role",
        404: "does not exist: create it or correct the setting",
    }
    return remedies.get(code, f"S3 answers {code}: {error}")


def _dataset_source_problems(s3: S3Client, conf: RunConf, settings: Settings) -> Iterator[Problem]:
    if conf.dataset.version:
        key = f"datasets/{conf.dataset.name}/{conf.dataset.version}/dataset.json"
        if not _has_objects(s3, settings.data_bucket, key):
            yield Problem(
                field="dataset.version",
                value=conf.dataset.version,
                remedy=f"s3://{settings.data_bucket}/{key} does not exist: name a finished version or leave it empty",
            )
        return
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
        yield from _source_problems(s3, conf.dataset, settings.data_bucket)


def _source_problems(s3: S3Client, dataset: DatasetConf, data_bucket: str) -> Iterator[Problem]:
    folders = "train/CLASS/" if dataset.layout == "split_folders" else "one folder for each class"
    for address in dataset.addresses(data_bucket):
        if address in packed_addresses(dataset):
            yield from _unreadable_problems(s3, address)
        else:
            yield from _unlisted_problems(s3, "dataset.source", address, f"holds no objects: upload {folders}")


def _unreadable_problems(s3: S3Client, address: str) -> Iterator[Problem]:
    shown = shown_address(address)
    try:
        look_at(open_remote(s3, address))
    except DatasetError as error:
        remedy = str(error).removeprefix(f"dataset.source = {shown}: ")
        yield Problem(field="dataset.source", value=shown, remedy=remedy)


def _unlisted_problems(s3: S3Client, field: str, uri: str, absent: str) -> Iterator[Problem]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        if not _has_objects(s3, bucket, prefix):
            yield Problem(field=field, value=uri, remedy=absent)
    except (ClientError, BotoCoreError) as error:
        yield Problem(field=field, value=uri, remedy=f"cannot be listed: {error}")


def _has_objects(s3: S3Client, bucket: str, prefix: str) -> bool:
    return s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount", 0) > 0


def _content_problems(dataset: DatasetVersion) -> Iterator[Problem]:
    version = f"{dataset.name}/{dataset.version}"
    if dataset.num_classes < 2:
        yield Problem(field="dataset.labels", value=dataset.labels, remedy=f"{version} needs at least two classes")
    empty = [split for split in ("train", "validation", "test") if getattr(dataset.counts, split) == 0]
    for split in empty:
        yield Problem(
            field=f"dataset.split.{split}", value=0, remedy=f"no image of {version} is in this split: add images"
        )
    unseen = [label for label, counts in dataset.class_counts.items() if counts.train == 0]
    if unseen and "train" not in empty:
        yield Problem(
            field="dataset.labels",
            value=", ".join(unseen),
            remedy="no training image shows this: add images or leave the class out",
        )


def _image_problems(dataset: DatasetVersion, network: Mapping[str, str], parent: BestModel | None) -> Iterator[Problem]:
    shape = network.get("image_shape", "3,224,224")
    side = max(int(part) for part in shape.split(",")[1:])
    if 0 < dataset.smallest_side < side:
        whose = f" of {parent.job}" if parent else ""
        yield Problem(
            field=f"{BASE}.image_shape",
            value=f"{shape}{whose}",
            remedy=f"the smallest packed image has a side of {dataset.smallest_side}: "
            f"set dataset.packing.resize to at least {side}, or a smaller image_shape",
        )


def _label_problems(conf: RunConf, dataset: DatasetVersion) -> Iterator[Problem]:
    sections = ((BASE, conf.training.hyperparameters), (INCREMENTAL, conf.incremental.hyperparameters))
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


def _parent_problems(dataset: DatasetVersion, parent: BestModel) -> Iterator[Problem]:
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
    elif parent.label_set and parent.label_set != label_set_fingerprint(dataset.labels):
        yield Problem(
            field="dataset.labels",
            value=", ".join(dataset.labels),
            remedy=f"the parent model {parent.job} knows other classes, or in another order: run a full training",
        )
    absent = [name for name in ("num_layers", "image_shape") if name not in parent.hyperparameters]
    if absent:
        yield Problem(
            field="incremental", value=parent.job, remedy=f"tells no {', '.join(absent)}: run a full training"
        )


def _batch_problems(conf: RunConf, dataset: DatasetVersion, parent: BestModel | None) -> Iterator[Problem]:
    smallest = min(dataset.counts.train, dataset.counts.validation)
    for field, batch in _batches(conf, parent):
        if batch > smallest > 0:
            yield Problem(
                field=field,
                value=batch,
                remedy=f"the train channel holds {dataset.counts.train} images, the validation channel "
                f"{dataset.counts.validation}: use at most {smallest}",
            )


def _batches(conf: RunConf, parent: BestModel | None) -> Iterator[tuple[str, int]]:
    base = int(parent.hyperparameters.get("mini_batch_size", 32)) if parent else None
    mode = conf.training.mode
    span: Any = conf.tuning.ranges.get("mini_batch_size") if mode != "train" else None
    if parent is None and not (span and mode == "tune"):
        base = conf.training.hyperparameters.mini_batch_size or 32
        yield f"{BASE}.mini_batch_size", base
    if parent is None and span:
        largest = span.max if isinstance(span, Range) else max(float(value) for value in span)
        yield "tuning.ranges.mini_batch_size", int(largest)
    if conf.incremental.enabled:
        change = conf.incremental.hyperparameters.mini_batch_size
        if change or parent:
            yield f"{INCREMENTAL}.mini_batch_size", change or base or 32
