"""What an endpoint serves, served before, and goes back to; what it may not become; and its end, with all made for it.

The last configurations that an endpoint served before are kept for a rollback, with their models. Artifacts and the
registry are never touched, so a configuration that was removed can be made again from its version. A new configuration
is on probation: until its smoke test has passed, the endpoint may go back to the one before it. The endpoint's tags
keep what is known of the probation, so that a task that was killed continues where it was.

Sources: developer guide, "Update a serverless endpoint" (machines do not become serverless; the way back from a failed
conversion of the other kind would be that) and "Update endpoints that use auto scaling".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from include.deployment.traffic import RETAINED, delete_alarms, last_rollout, live_scaling, lost_by_pause, stop_scaling
from include.problems import Problem
from include.sagemaker.api import existing, pages_of
from include.sagemaker.naming import HASH_LENGTH, LONGEST_NAME, is_named_by_content, tag_value, tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.run_conf import RolloutConf

KEEP_TAG = "keep"
"""Tag of an endpoint: `endpoint.keep` of the run that created it, or of the last one whose model has passed there."""
VERSION_TAG = "model-package"
"""Tag of a model: the ARN of the registered version that it is."""
SERVED_BY_TAG = "served-by"
SERVED_UNTIL_TAG = "served-until"
"""Tags of a configuration: the endpoint that served it, and when another one took its place."""
PREVIOUS_TAG = "previous-config"
"""Tag of an endpoint: what it served before the last deployment; empty: it was created with that."""
KEEP_PREVIOUS_TAG = "keep-previous"
"""Tag of an endpoint: how many of these are kept, `endpoint.keep_previous` of the run that deployed to it last."""
KEPT_AT_LEAST = 1
PROBATION_TAG = "on-probation"
"""Tag of an endpoint: the configuration of the last deployment that has not passed the smoke test; empty: none."""
PROBATION_DAG_TAG = "probation-dag"
PROBATION_RUN_TAG = "probation-run"
"""Tags of an endpoint: which run deployed what is on probation. The tags `dag` and `run` become its own at the end."""
DEPLOYED_TAG = "deployed-by"
"""Tag of a configuration: the DAG and the run that deployed it last."""
REFUSED_TAG = "refused"
"""Tag of an endpoint: the configuration that failed the smoke test last, and the name of the run."""
REASON_TAG = "refused-because"


@dataclass(frozen=True)
class Hosting:
    """The clients of the services that an endpoint needs."""

    sagemaker: SageMakerClient
    cloudwatch: Any
    autoscaling: Any

    @classmethod
    def of(cls, client: Callable[[str], Any]) -> Self:
        """The clients that `client` makes by a service's name."""
        return cls(client("sagemaker"), client("cloudwatch"), client("application-autoscaling"))


def with_version(sagemaker: SageMakerClient, config: str) -> str:
    """A configuration's name, with the registered versions behind it as far as they are known."""
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
    names = [variant["ModelName"] for variant in described.get("ProductionVariants", ()) if "ModelName" in variant]
    models = [model for name in names if (model := existing(sagemaker.describe_model, ModelName=name))]
    packages = [tags_of(sagemaker, model["ModelArn"]).get(VERSION_TAG, "") for model in models]
    versions = [" version ".join(arn.rpartition(":")[2].split("/")[1:]) for arn in packages if arn]
    return f"{config} ({', '.join(versions)})" if versions else config


def change_problems(hosting: Hosting, name: str, *, keep: bool, variant: Mapping[str, Any]) -> Iterator[Problem]:
    """What a deployment may not change of the endpoint `name`: nothing if there is none that serves.

    `keep` is its `endpoint.keep`, `variant` the production variant that it asks for.
    """
    sagemaker = hosting.sagemaker
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=name)
    if endpoint is None or endpoint["EndpointStatus"] in ("Failed", "Deleting"):
        return
    config, elsewhere = endpoint["EndpointConfigName"], "give another endpoint.name"
    if not keep and tags_of(sagemaker, endpoint["EndpointArn"]).get(KEEP_TAG) != "false":
        serves = f"endpoint {name} serves {with_version(sagemaker, config)} and is to be kept"
        remedy = f"{serves}, and this run would delete the endpoint at its end: {elsewhere}, or leave endpoint.keep on"
        yield Problem(field="endpoint.keep", value=False, remedy=remedy)
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
    yield from _machine_problems(hosting, name, described.get("ProductionVariants", ()), variant)


def _machine_problems(
    hosting: Hosting, name: str, served: Collection[Mapping[str, Any]], variant: Mapping[str, Any]
) -> Iterator[Problem]:
    """A change from machines to none, or back, and one of machines that would cost policies of a person."""
    machines = {served_by["InstanceType"] for served_by in served if "InstanceType" in served_by}
    serverless = any("ServerlessConfig" in served_by for served_by in served)
    memory, machine = variant.get("ServerlessConfig", {}).get("MemorySizeInMB"), variant.get("InstanceType")
    field = "endpoint.serverless.memory_mb"
    if machines and memory:
        remedy = f"endpoint {name} has machines and cannot become serverless: give another endpoint.name"
        yield Problem(field=field, value=memory, remedy=remedy)
    elif serverless and machine:
        remedy = (
            f"endpoint {name} is serverless and could not go back from machines to that: give another endpoint.name, "
            "or the memory that it has"
        )
        yield Problem(field=field, value=memory, remedy=remedy)
    elif machines and machines != {machine} and (lost := lost_by_pause(hosting.autoscaling, name)):
        remedy = (
            f"endpoint {name} has {', '.join(sorted(machines))}, and another machine ends the scaling policies and "
            f"scheduled actions that were made by hand: {', '.join(lost)}. Keep the machine, delete these, or give "
            "another endpoint.name"
        )
        yield Problem(field="endpoint.instance_type", value=machine, remedy=remedy)


def tear_down(
    hosting: Hosting, endpoint_name: str, *, config: str | None = None, unkept_only: bool = False
) -> list[str]:
    """Delete an endpoint, its alarms, its configurations and their models; returns the names of what was deleted.

    What is gone already is passed over, so a second call finishes what a first one began. With `config`, an endpoint
    that serves another configuration, or is about to, belongs to somebody else and stays. With `unkept_only`, so does
    one that is to be kept by now. A model that another configuration or a running transform job names stays too.
    """
    sagemaker = hosting.sagemaker
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=endpoint_name)
    if endpoint is None or (config is not None and target_of(endpoint) != config):
        return []
    tags = tags_of(sagemaker, endpoint["EndpointArn"])
    if unkept_only and tags.get(KEEP_TAG) != "false":
        return []
    if previous := tags.get(PREVIOUS_TAG):  # not noted yet as replaced, if the endpoint is on probation
        note_replaced(sagemaker, endpoint_name, previous)
    config_name = endpoint["EndpointConfigName"]
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config_name)
    variants = described["ProductionVariants"] if described else []
    models = sorted(
        {variant["ModelName"] for variant in variants if "ModelName" in variant} - models_of_transform_jobs(sagemaker)
    )
    stop_scaling(hosting.autoscaling, endpoint_name)
    gone = [*delete_alarms(hosting.cloudwatch, endpoint_name), *remove_previous(sagemaker, endpoint_name, keep=0)]
    if endpoint["EndpointStatus"] != "Deleting":
        sagemaker.delete_endpoint(EndpointName=endpoint_name)
    deleted = [endpoint_name, *gone]
    for model in models:
        known = existing(sagemaker.describe_model, ModelName=model)
        if known is not None and not is_named_elsewhere(sagemaker, known, config_name):
            sagemaker.delete_model(ModelName=model)
            deleted.append(model)
    if described:
        sagemaker.delete_endpoint_config(EndpointConfigName=config_name)
        deleted.append(config_name)
    return deleted


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
    return list(_remove_configs(sagemaker, surplus)) if surplus else []


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


def _remove_configs(sagemaker: SageMakerClient, configs: list[str]) -> Iterator[str]:
    transformed = models_of_transform_jobs(sagemaker)
    for config in configs:
        described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config)
        if described is None:
            continue
        for name in _models_of(described) - transformed:
            model = existing(sagemaker.describe_model, ModelName=name)
            if model is None or is_named_elsewhere(sagemaker, model, config):
                continue
            if is_named_by_content(name, tags_of(sagemaker, model["ModelArn"])):
                sagemaker.delete_model(ModelName=name)
                yield name
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
        yield config


def _models_of(config: Mapping[str, Any]) -> set[str]:
    """The models of a described configuration; variants of inference components name none."""
    return {variant["ModelName"] for variant in config["ProductionVariants"] if "ModelName" in variant}


class NoWayBackError(RuntimeError):
    """AWS refuses to let an endpoint serve what it served before; it still serves the model that failed its test."""


@dataclass(frozen=True)
class Probation:
    """What an endpoint serves, and serves instead if that fails its test.

    `previous` is None if the endpoint was created with the configuration, and if the configuration has passed its test
    before: `is_new` distinguishes the two.
    """

    config: str
    previous: str | None
    is_new: bool


@dataclass(frozen=True)
class GoneBack:
    """What became of an endpoint whose new model failed the smoke test, and the message that says so.

    `config` is what it serves now, or changes to if it `waits`; None if it was deleted.
    """

    config: str | None
    message: str
    waits: bool = False


def probation_tags(config: str, previous: str | None, tags: Collection[Mapping[str, str]]) -> list[dict[str, str]]:
    """The tags of an endpoint that is about to serve `config` on probation; `tags` are those of the run."""
    run = {tag["Key"]: tag["Value"] for tag in tags}
    of_run = {PROBATION_DAG_TAG: run.get("dag", ""), PROBATION_RUN_TAG: run.get("run", "")}
    return _as_tags({PROBATION_TAG: config, PREVIOUS_TAG: previous or "", **of_run})


def deployed_by(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """DAG and run of the last deployments to an endpoint with these tags.

    They are the last one that has passed its test, and one after it that has not.
    """
    passed = [(tags["dag"], tags["run"])] if {"dag", "run"} <= tags.keys() else []
    if tags.get(PROBATION_TAG) and tags.get(PROBATION_RUN_TAG):
        passed.append((tags[PROBATION_DAG_TAG], tags[PROBATION_RUN_TAG]))
    return list(dict.fromkeys(passed))


def note_deployed(sagemaker: SageMakerClient, config: str, tags: Collection[Mapping[str, str]]) -> None:
    """Note on a configuration that the run with these tags deploys it now."""
    arn = sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=_as_tags({DEPLOYED_TAG: _run_of(tags)}))  # type: ignore[arg-type]


def run_after(
    sagemaker: SageMakerClient, endpoint: str, *, config: str, tags: Collection[Mapping[str, str]]
) -> str | None:
    """DAG and run that deployed to an endpoint after the run with these tags had deployed `config` there.

    It is None if no run has, and if that run has not deployed yet.
    """
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config)
    live, mine = existing(sagemaker.describe_endpoint, EndpointName=endpoint), _run_of(tags)
    if described is None or live is None:
        return None
    if tags_of(sagemaker, described["EndpointConfigArn"]).get(DEPLOYED_TAG) != tag_value(mine):
        return None
    runs = [" ".join(run) for run in deployed_by(tags_of(sagemaker, live["EndpointArn"]))]
    return runs[-1] if runs and runs[-1] != mine else None


def _run_of(tags: Collection[Mapping[str, str]]) -> str:
    values = {tag["Key"]: tag["Value"] for tag in tags}
    return f"{values.get('dag', '')} {values.get('run', '')}"


def last_proven(sagemaker: SageMakerClient, endpoint: Mapping[str, Any]) -> str | None:
    """The configuration to which a described endpoint goes back if its next one fails; None if it has none.

    It is what the endpoint serves, unless that is on probation itself, as the task of its deployment was killed.
    """
    probation = _probation(sagemaker, endpoint)
    return probation.previous if probation.is_new else probation.config


def refusal_by(sagemaker: SageMakerClient, endpoint: str, *, config: str, run: str) -> str | None:
    """Why this run has refused the configuration before it was killed; None if it has not."""
    described = existing(sagemaker.describe_endpoint, EndpointName=endpoint)
    if described is None:
        return None
    tags = tags_of(sagemaker, described["EndpointArn"])
    return tags.get(REASON_TAG) if tags.get(REFUSED_TAG) == f"{config} {run}" else None


def go_back(hosting: Hosting, endpoint: str, *, config: str, run: str, reason: str) -> GoneBack:
    """Let an endpoint serve what it served before `config`, which failed the smoke test; wait for it if it `waits`.

    An endpoint that was created with the configuration is deleted. One that has passed with it before stays as it is,
    and so does one that another run has changed since. A second call finishes what a first one began. Raises
    NoWayBackError if AWS refuses the update, for example because it has no machine for it.
    """
    sagemaker = hosting.sagemaker
    failed = f"Endpoint {endpoint} did not pass the smoke test with {with_version(sagemaker, config)}: {reason}."
    deleted = GoneBack(None, f"{failed} It was created with this model, so it was deleted.")
    described = existing(sagemaker.describe_endpoint, EndpointName=endpoint)
    if described is None:
        return deleted
    refusal = _as_tags({REFUSED_TAG: f"{config} {run}", REASON_TAG: reason})
    sagemaker.add_tags(ResourceArn=described["EndpointArn"], Tags=refusal)  # type: ignore[arg-type]
    probation, target = _probation(sagemaker, described), target_of(described)
    if target != config:
        return GoneBack(target, f"{failed} It serves {with_version(sagemaker, target)} now.", waits=True)
    if not probation.is_new or probation.previous == config:
        return GoneBack(config, f"{failed} It has passed before, so it still serves this model.")
    if probation.previous is None:
        tear_down(hosting, endpoint, config=config)
        return deleted
    if existing(sagemaker.describe_endpoint_config, EndpointConfigName=probation.previous) is None:
        gone = f"It still serves this model, because its previous configuration {probation.previous} was deleted"
        return GoneBack(
            config, f"{failed} {gone}: deploy another version with deploy_endpoint, or delete the endpoint."
        )
    retained = RETAINED if live_scaling(hosting.autoscaling, endpoint) else {}
    before = with_version(sagemaker, probation.previous)
    try:
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=probation.previous, **retained)
    except ClientError as error:
        raise NoWayBackError(
            f"{failed} It still serves this model, because AWS refuses the update to {before}: "
            f"{error.response['Error']['Message'].rstrip('.')}. The next try of this task asks again. If all fail, "
            "clear the task later, deploy another version with deploy_endpoint, or delete the endpoint."
        ) from error
    return GoneBack(probation.previous, f"{failed} It serves {before} again.", waits=True)


def end_probation(
    sagemaker: SageMakerClient, endpoint: str, config: str, tags: Collection[Mapping[str, str]] = ()
) -> None:
    """Note that a configuration has passed its test, with the `tags` of the run that deployed it.

    An endpoint that another run is changing, or has changed, keeps its tags.
    """
    described = existing(sagemaker.describe_endpoint, EndpointName=endpoint)
    if described is None:
        return
    noted = tags_of(sagemaker, described["EndpointArn"])
    if target_of(described) != config:
        return
    if noted.get(PROBATION_TAG) == config and (previous := noted.get(PREVIOUS_TAG)) and previous != config:
        note_replaced(sagemaker, endpoint, previous)
    passed = [*tags, *_as_tags({PROBATION_TAG: ""})]
    sagemaker.add_tags(ResourceArn=described["EndpointArn"], Tags=passed)  # type: ignore[arg-type]


def is_on_probation(sagemaker: SageMakerClient, endpoint: str, config: str) -> bool:
    """Whether an endpoint serves a configuration that has not passed its test yet."""
    probation = _probation(sagemaker, sagemaker.describe_endpoint(EndpointName=endpoint))
    return probation.is_new and probation.config == config


def moved_by(sagemaker: SageMakerClient, endpoint: str, *, config: str, rollout: RolloutConf) -> str:
    """The kind of rollout that moved the traffic to a configuration on probation.

    It is empty if all traffic moved at once, if the endpoint was created with the configuration, and if it has passed
    with it before.
    """
    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    probation, kind = _probation(sagemaker, described), last_rollout(described)
    moved = probation.is_new and probation.config == config and rollout.in_steps
    return kind if moved and kind == rollout.kind else ""


def _probation(sagemaker: SageMakerClient, endpoint: Mapping[str, Any]) -> Probation:
    """What a described endpoint serves, and whether that has passed its test."""
    tags, config = tags_of(sagemaker, endpoint["EndpointArn"]), str(endpoint["EndpointConfigName"])
    is_new = tags.get(PROBATION_TAG) == config
    return Probation(config, (tags.get(PREVIOUS_TAG) or None) if is_new else None, is_new)


def _as_tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": tag_value(value)} for key, value in values.items()]
