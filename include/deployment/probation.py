"""A configuration on probation: until its smoke test has passed, the endpoint may go back to the one before it.

The endpoint's tags keep what is known of the probation, so that a task that was killed continues where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.deployment.autoscaling import RETAINED, live_scaling
from include.deployment.hosting import Hosting, tear_down, with_version
from include.deployment.previous import PREVIOUS_TAG, note_replaced, target_of
from include.deployment.rollout import last_rollout
from include.sagemaker.answers import existing
from include.sagemaker.naming import tag_value, tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.run_conf import RolloutConf

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
