"""Images in S3 -> a dataset version: planned once, packed by shards, published last."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task, task_group

from image_classification.assets import DATASET_VERSION
from image_classification.aws import AwsAccess
from image_classification.deployment_settings import load_settings

if TYPE_CHECKING:
    from include.datasets.shard import ShardProgress

log = logging.getLogger(__name__)

PLAN = "plan"


@task
def plan(conf: dict[str, Any], parent: str | None = None) -> list[dict[str, Any]]:
    """List the images and decide splits and shards; hands on the shards to map over, and the plan beside them."""
    from include.datasets.plan import plan_version
    from include.run_conf import RunConf

    settings, context = load_settings(), get_current_context()
    version_plan = plan_version(
        AwsAccess.of(settings).client("s3"),
        RunConf.from_conf(conf).dataset,
        data_bucket=settings.data_bucket,
        run_id=f"{context['dag'].dag_id}/{context['run_id']}",
        run_after=context["dag_run"].run_after,
        parent=parent,
    )
    context["ti"].xcom_push(key=PLAN, value=version_plan.model_dump(mode="json"))
    log.info("%s %s: %d shards to pack.", version_plan.name, version_plan.version, len(version_plan.shards))
    return [shard.model_dump(mode="json") for shard in version_plan.shards]


@task(map_index_template="{{ task.op_kwargs['shard']['split'] }} {{ task.op_kwargs['shard']['index'] }}")
def pack_shard(plan: dict[str, Any], shard: dict[str, Any]) -> dict[str, Any]:
    """Pack one shard; a retry returns the shard that an earlier try finished."""
    from include.datasets.plan import ShardTask, VersionPlan
    from include.datasets.shard import pack_shard as pack

    result = pack(
        AwsAccess.of(load_settings()).client("s3"),
        VersionPlan.model_validate(plan),
        ShardTask.model_validate(shard),
        report=_report,
    )
    return result.model_dump(mode="json")


@task(trigger_rule="none_failed", outlets=[DATASET_VERSION])
def publish(plan: dict[str, Any], shards: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Compose the shards into one record file a channel and publish the version, `dataset.json` last."""
    from include.datasets.plan import VersionPlan
    from include.datasets.publish import publish_version
    from include.datasets.shard import ShardResult

    version = publish_version(
        AwsAccess.of(load_settings()).client("s3"),
        VersionPlan.model_validate(plan),
        [ShardResult.model_validate(shard) for shard in shards or ()],
    )
    document = version.model_dump(mode="json")
    get_current_context()["outlet_events"][DATASET_VERSION].extra = {
        name: document[name] for name in ("name", "version", "uri", "counts")
    }
    log.info("Published %s %s with %d images.", version.name, version.version, version.counts.total)
    return document


@task_group(group_id="dataset", tooltip="Images in S3 -> a dataset version")
def dataset(conf: Any, parent: Any = None) -> Any:
    """The dataset stage: returns the published version's document; `parent` is the version it grows from."""
    shards = plan(conf, parent)
    packing = shards[PLAN]  # type: ignore[index]
    return publish(packing, pack_shard.partial(plan=packing).expand(shard=shards))  # type: ignore[arg-type]


def _report(progress: ShardProgress) -> None:
    log.info(
        "%d of %d images, %d of them bad, %.0f a second.",
        progress.done,
        progress.total,
        progress.bad,
        progress.images_per_second,
    )
