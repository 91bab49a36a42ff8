"""Images in S3 -> a dataset version: archives unpacked, planned once, packed by shards, published last."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, task, task_group

from image_classification.context import RunningTask
from image_classification.links import WrittenLink, s3_page, with_links

if TYPE_CHECKING:
    from include.datasets.packing import ShardProgress

log = logging.getLogger(__name__)

# A URI with a scheme would make every DAG file that names the asset load all of Airflow's providers, 0.3 s of CPU.
DATASET_VERSION = Asset(name="image-dataset-version", group="image-classification")
"""A published dataset version; the event's extra holds `name`, `version`, `uri` and `counts`."""

PLAN = "plan"
VERSION_LINKS = (
    WrittenLink("Dataset page", lambda version: f"{version['uri']}report.html"),
    WrittenLink("Dataset version in S3", lambda version: version["uri"]),
)


@task
def list_archives(conf: dict[str, Any]) -> list[dict[str, str]]:
    """The archives and record files of the source whose content was not unpacked yet, or has changed since.

    None if the source is a prefix, or `dataset.version` names a finished version.
    """
    from include.datasets.unpacking.unpack import addresses_to_unpack
    from include.problems import shown_address
    from include.run_conf import RunConf

    running, wanted = RunningTask.current(), RunConf.from_conf(conf).dataset
    if wanted.version:
        return []
    bucket = running.settings.data_bucket
    addresses = addresses_to_unpack(running.client("s3"), wanted, bucket, running.source_policy)
    log.info("%d archives or record files to unpack.", len(addresses))
    return [{"address": address, "shown": shown_address(address)} for address in addresses]


@task(
    map_index_template="{{ task.op_kwargs['archive']['shown'] }}",
    show_return_value_in_logs=False,
    multiple_outputs=False,
)
def unpack(conf: dict[str, Any], archive: dict[str, str]) -> dict[str, Any]:
    """Unpack an archive or a record file to objects; a retry writes only what is missing."""
    from include.datasets.unpacking.unpack import unpack_address
    from include.run_conf import RunConf

    running = RunningTask.current()
    unpacked = unpack_address(
        running.client("s3"),
        RunConf.from_conf(conf).dataset,
        archive["address"],
        running.settings.data_bucket,
        running.source_policy,
    )
    return unpacked.model_dump(mode="json", exclude={"records"})


@task(trigger_rule="none_failed")
def plan(conf: dict[str, Any], parent: str | None = None) -> list[dict[str, Any]]:
    """List the images and decide splits and shards; passes on the shards to map over, and the plan beside them.

    If `dataset.version` names a finished version, there is nothing to plan.
    """
    from include.datasets.plan import plan_version
    from include.run_conf import RunConf

    running, wanted = RunningTask.current(), RunConf.from_conf(conf).dataset
    if wanted.version:
        log.info("Using version %s of %s.", wanted.version, wanted.name)
        running.hand_on(PLAN, {})  # a document that is None counts as missing
        return []
    version_plan = plan_version(
        running.client("s3"),
        wanted,
        data_bucket=running.settings.data_bucket,
        run_id=f"{running.run.dag_id}/{running.run.run_id}",
        run_after=running.airflow["dag_run"].run_after,
        parent=parent,
    )
    running.hand_on(PLAN, version_plan.model_dump(mode="json"))
    log.info("%s %s: %d shards to pack.", version_plan.name, version_plan.version, len(version_plan.shards))
    return [shard.model_dump(mode="json") for shard in version_plan.shards]


@task(
    map_index_template="{{ task.op_kwargs['shard']['split'] }} {{ task.op_kwargs['shard']['index'] }}",
    show_return_value_in_logs=False,
    multiple_outputs=False,
)
def pack_shard(plan: dict[str, Any], shard: dict[str, Any]) -> dict[str, Any]:
    """Pack one shard; a retry returns the shard that an earlier try finished."""
    from include.datasets.packing import pack_shard as pack
    from include.datasets.version import ShardTask, VersionPlan

    result = pack(
        RunningTask.current().client("s3"),
        VersionPlan.model_validate(plan),
        ShardTask.model_validate(shard),
        report=_report,
    )
    return result.model_dump(mode="json")


@task(trigger_rule="none_failed", outlets=[DATASET_VERSION], multiple_outputs=False)
def publish(conf: dict[str, Any], plan: dict[str, Any], shards: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Compose the shards into one record file a channel and publish the version, `dataset.json` last."""
    from include.datasets.packing import ShardResult
    from include.datasets.publishing import publish_version
    from include.datasets.version import VersionPlan

    running = RunningTask.current()
    if not plan:
        return finished_version(running, conf)
    version = publish_version(
        running.client("s3"),
        VersionPlan.model_validate(plan),
        [ShardResult.model_validate(shard) for shard in shards or ()],
    )
    document = version.model_dump(mode="json")
    running.airflow["outlet_events"][DATASET_VERSION].extra = {
        name: document[name] for name in ("name", "version", "uri", "counts")
    }
    log.info("Published %s %s with %d images.", version.name, version.version, version.counts.total)
    log.info("Dataset page: %s", s3_page(running.settings, f"{version.uri}report.html"))
    return document


@task_group(group_id="dataset", tooltip="Images in S3 -> a dataset version")
def dataset(conf: Any, parent: Any = None) -> Any:
    """The dataset stage: returns the published version's document; `parent` is the version it grows from."""
    unpacked = unpack.partial(conf=conf).expand(archive=list_archives(conf))
    shards = plan(conf, parent)
    unpacked >> shards
    packing = shards[PLAN]  # type: ignore[index]
    published = publish(conf, packing, pack_shard.partial(plan=packing).expand(shard=shards))  # type: ignore[arg-type]
    return with_links(published, *VERSION_LINKS)


def use_version(conf: Any) -> Any:
    """A task that returns the document of the version that `dataset.version` names, of the newest if it is empty."""
    return with_links(find_version(conf), *VERSION_LINKS)


@task(task_id="use_version", multiple_outputs=False)
def find_version(conf: Any) -> dict[str, Any]:
    """The published version that `dataset.version` names, the newest if it is empty."""
    return finished_version(RunningTask.current(), conf)


def finished_version(running: RunningTask, conf: dict[str, Any]) -> dict[str, Any]:
    """The document of the version that `dataset.version` names, of the newest one if it is empty.

    Raises DatasetError if there is none.
    """
    from include.datasets.errors import DatasetError
    from include.datasets.layout import VersionLayout
    from include.datasets.version import latest, load
    from include.run_conf import RunConf

    wanted, s3, bucket = RunConf.from_conf(conf).dataset, running.client("s3"), running.settings.data_bucket
    if wanted.version:
        return load(s3, VersionLayout(bucket, wanted.name, wanted.version).uri).model_dump(mode="json")
    version = latest(s3, bucket, wanted.name)
    if version is None:
        raise DatasetError(f"dataset.name = {wanted.name}: no version in s3://{bucket}/datasets/: build one first")
    return version.model_dump(mode="json")


def _report(progress: ShardProgress) -> None:
    log.info("%s", progress)
