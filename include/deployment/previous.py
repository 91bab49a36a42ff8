"""The configurations that an endpoint served before: the last ones are kept for a rollback, with their models.

Artifacts and the registry are never touched, so a configuration that was removed can be made again from its version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.sagemaker.answers import existing
from include.sagemaker.naming import HASH_LENGTH, LONGEST_NAME, is_named_by_content, pages_of, tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

SERVED_BY_TAG = "served-by"
SERVED_UNTIL_TAG = "served-until"
"""Tags of a configuration: the endpoint that served it, and when another one took its place."""
PREVIOUS_TAG = "previous-config"
"""Tag of an endpoint: what it served before the last deployment; empty: it was created with that."""
KEEP_PREVIOUS_TAG = "keep-previous"
"""Tag of an endpoint: how many of these are kept, `endpoint.keep_previous` of the run that deployed to it last."""
KEPT_AT_LEAST = 1


def target_of(endpoint: Mapping[str, Any]) -> str:
    """The configuration that a described endpoint serves, or is changing to."""
    pending = endpoint.get("PendingDeploymentSummary") or {}
    return str(pending.get("EndpointConfigName") or endpoint["EndpointConfigName"])


def note_replaced(sagemaker: SageMakerClient, endpoint: str, config: str) -> None:
    """Note on a configuration that the endpoint serves another one from now on."""
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config)
    if described is not None:
        noted = {SERVED_BY_TAG: endpoint, SERVED_UNTIL_TAG: datetime.now(UTC).isoformat(timespec="milliseconds")}
        tags = [{"Key": key, "Value": value} for key, value in noted.items()]
        sagemaker.add_tags(ResourceArn=described["EndpointConfigArn"], Tags=tags)  # type: ignore[arg-type]


def remove_previous(sagemaker: SageMakerClient, endpoint: str, *, keep: int) -> list[str]:
    """Delete all but the last `keep` configurations that the endpoint served before, and their models.

    What an endpoint still serves stays, and so does a model that another configuration or a running transform job
    names. Returns the names of what was deleted.
    """
    served = [config for name, config, _ in _served_before(sagemaker, endpoint) if name == endpoint]
    surplus = served[keep:]
    return list(_removed(sagemaker, surplus)) if surplus else []


def kept_for_rollback(sagemaker: SageMakerClient) -> set[str]:
    """The configurations to which the endpoints that there are may go back."""
    depth: dict[str, int] = {}
    kept: set[str] = set()
    for summary in pages_of(sagemaker, "list_endpoints", "Endpoints"):
        tags = tags_of(sagemaker, summary["EndpointArn"])
        depth[summary["EndpointName"]] = int(tags.get(KEEP_PREVIOUS_TAG) or KEPT_AT_LEAST)
        kept.add(tags.get(PREVIOUS_TAG, ""))
    for name, config, _ in _served_before(sagemaker):
        if depth.get(name, 0) > 0:
            depth[name] -= 1
            kept.add(config)
    return kept


def configs_in_use(sagemaker: SageMakerClient) -> set[str]:
    """The configurations that endpoints serve, or are changing to or from."""
    used = set()
    for summary in pages_of(sagemaker, "list_endpoints", "Endpoints"):
        endpoint = existing(sagemaker.describe_endpoint, EndpointName=summary["EndpointName"])
        if endpoint is not None:
            used |= {str(endpoint["EndpointConfigName"]), target_of(endpoint)}
    return used


def models_of_transform_jobs(sagemaker: SageMakerClient) -> set[str]:
    """The models of running transform jobs."""
    running = pages_of(sagemaker, "list_transform_jobs", "TransformJobSummaries", StatusEquals="InProgress")
    return {sagemaker.describe_transform_job(TransformJobName=job["TransformJobName"])["ModelName"] for job in running}


def is_named_elsewhere(sagemaker: SageMakerClient, model: Mapping[str, Any], config: str) -> bool:
    """Whether a configuration other than `config` names a described model: it was made after the model."""
    since = model["CreationTime"] - timedelta(minutes=1)
    for page in sagemaker.get_paginator("list_endpoint_configs").paginate(CreationTimeAfter=since):
        for other in {summary["EndpointConfigName"] for summary in page["EndpointConfigs"]} - {config}:
            described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=other) or {}
            if any(
                variant.get("ModelName") == model["ModelName"] for variant in described.get("ProductionVariants", [])
            ):
                return True
    return False


def _served_before(sagemaker: SageMakerClient, endpoint: str = "") -> list[tuple[str, str, str]]:
    """Endpoint, configuration and end of each configuration of this project that was replaced, the last one first.

    With an `endpoint` only those are read whose name may follow from its.
    """
    slug = endpoint[: LONGEST_NAME - HASH_LENGTH - 1].strip("-")
    found, used = [], configs_in_use(sagemaker)
    for summary in pages_of(
        sagemaker, "list_endpoint_configs", "EndpointConfigs", **({"NameContains": slug} if slug else {})
    ):
        name = summary["EndpointConfigName"]
        tags = tags_of(sagemaker, summary["EndpointConfigArn"])
        if SERVED_UNTIL_TAG in tags and name not in used and is_named_by_content(name, tags):
            found.append((tags.get(SERVED_BY_TAG, ""), name, tags[SERVED_UNTIL_TAG]))
    return sorted(found, key=lambda config: config[2], reverse=True)


def _removed(sagemaker: SageMakerClient, configs: list[str]) -> Iterator[str]:
    transformed = models_of_transform_jobs(sagemaker)
    for config in configs:
        described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config)
        if described is None:
            continue
        for name in _models(described) - transformed:
            model = existing(sagemaker.describe_model, ModelName=name)
            if model is None or is_named_elsewhere(sagemaker, model, config):
                continue
            if is_named_by_content(name, tags_of(sagemaker, model["ModelArn"])):
                sagemaker.delete_model(ModelName=name)
                yield name
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
        yield config


def _models(config: Mapping[str, Any]) -> set[str]:
    """The models of a described configuration; variants of inference components name none."""
    return {variant["ModelName"] for variant in config["ProductionVariants"] if "ModelName" in variant}
