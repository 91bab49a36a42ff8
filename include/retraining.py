"""What a retraining has to do: which dataset has grown, and the run conf that grows it as it was built."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.datasets.planning.plan import NewImages, find_new_images
from include.datasets.sources.inventory import newest_report
from include.datasets.sources.label_table import are_numbers
from include.datasets.unpacking.addresses import DEFAULT_POLICY, SourcePolicy
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import DatasetVersion, latest, load
from include.problems import Problem
from include.run_conf import DatasetConf, PackingConf, RunConf, RunConfError, SplitConf

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


class Retraining(BaseModel):
    """A dataset with images that its newest version does not know, and the run that takes them in."""

    model_config = ConfigDict(frozen=True)

    conf: RunConf
    parent: str
    """Address of the newest version."""
    new_images: int


def check_retraining_conf(conf: RunConf) -> None:
    """Raise RunConfError if a conf asks for what no retraining does."""
    if not conf.incremental.enabled:
        remedy = "a retraining trains on from the last approved model: leave it on, or start image_classification"
        raise RunConfError([Problem(field="incremental.enabled", value=False, remedy=remedy)])


def find_retraining(
    s3: S3Client,
    conf: RunConf,
    *,
    data_bucket: str,
    dataset: str | None = None,
    has_champion: Callable[[str], bool] = lambda _: True,
    policy: SourcePolicy = DEFAULT_POLICY,
) -> Retraining | None:
    """The dataset that gained most images since its newest version, or the named `dataset`; None if nothing is new.

    Only a dataset of which `has_champion` is true can be trained on; the others hold it up no more than a source that
    cannot be read.
    Source, labels, split and packing are the newest version's, so that they need not be repeated; all else is `conf`'s.
    Classes without a label are left out and named in the log: a new class is a full training, started by a person.
    Where none has grown the DatasetError of such a source is raised.
    """
    grown = []
    errors: list[DatasetError] = []
    for name in [dataset] if dataset else dataset_names(s3, data_bucket):
        try:
            version = latest(s3, data_bucket, name)
            if version is not None and (new := _new_images(s3, conf, version, policy)).count:
                grown.append((new, version))
        except DatasetError as error:
            log.warning("Whether %s has grown cannot be told: %s", name, error)
            errors.append(error)
    if not grown and errors:
        raise errors[0]
    if not grown:
        return None
    grown.sort(key=lambda pair: pair[0].count, reverse=True)
    chosen = next((pair for pair in grown if has_champion(pair[1].name)), None)
    if chosen is None:
        return None
    new, version = chosen
    for other_new, other in grown:
        if other is not version:
            log.info("%s has %d new images too: the next run takes them.", other.name, other_new.count)
    return Retraining(
        conf=conf.model_copy(update={"dataset": _grown_conf(s3, conf, version)}),
        parent=version.uri,
        new_images=new.count,
    )


def gained_images(s3: S3Client, version: DatasetVersion) -> int:
    """How many images a version has packed that its parent had not packed so; of broken ones, none."""
    if version.newly_packed is not None:
        return version.newly_packed
    return version.counts.total - (load(s3, version.parent).counts.total if version.parent else 0)


def dataset_names(s3: S3Client, data_bucket: str) -> Iterator[str]:
    """The names under which dataset versions lie in the bucket."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=data_bucket, Prefix="datasets/", Delimiter="/")
    for page in pages:
        for folder in page.get("CommonPrefixes", []):
            yield folder["Prefix"].removeprefix("datasets/").rstrip("/")


def dataset_conf(conf: DatasetConf, version: DatasetVersion) -> DatasetConf:
    """The conf that grows a version as it was built; the size of shards and what is tolerated stay `conf`'s."""
    return DatasetConf(
        name=version.name,
        **version.source.as_conf(),
        labels=version.labels,
        multi_label=version.multi_label,
        negatives=version.negatives,
        split=SplitConf(**version.split.model_dump()),
        packing=PackingConf.of(version.packing, shard_images=conf.packing.shard_images),
        max_bad_fraction=conf.max_bad_fraction,
    )


def _grown_conf(s3: S3Client, conf: RunConf, version: DatasetVersion) -> DatasetConf:
    """The conf that grows a version now: of an inventory the newest report, as an older one lists nothing new."""
    dataset = dataset_conf(conf.dataset, version)
    if not dataset.inventory:
        return dataset
    return dataset.model_copy(update={"inventory": newest_report(s3, dataset.inventory)})


def _new_images(s3: S3Client, conf: RunConf, version: DatasetVersion, policy: SourcePolicy) -> NewImages:
    dataset = _grown_conf(s3, conf, version)
    if not _names_are_needed(version):
        dataset = dataset.model_copy(update={"labels": []})
    unpack_sources(s3, dataset, version.layout.bucket, policy)
    new = find_new_images(s3, dataset, version)
    if new.new_labels:
        log.warning(
            "%s has classes without a label: %s. Start image_classification to train with them.",
            version.source,
            ", ".join(new.new_labels),
        )
    return new


def _names_are_needed(version: DatasetVersion) -> bool:
    """Whether the source's classes are known only by the version's labels: a file chooses them, or they are numbers."""
    source = version.source
    numbered = any(address.lower().endswith((".lst", ".rec")) for address in (*source.label_tables, *source.addresses))
    return bool(source.labels_file) or (numbered and not are_numbers(version.labels))
