"""An endpoint, created or updated, and waited for until it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from image_classification.context import RunningTask
from image_classification.notify import announce
from image_classification.operators.waiting import WaitingOperator
from include.sagemaker.api import ENDPOINT

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.deployment.endpoint import Deployment
    from include.deployment.registry import RegisteredModel
    from include.deployment.smoke_test import SmokeTest
    from include.run_conf import RunConf


STAGE, DEPLOY, TEAR_DOWN = "deployment", "deploy", "tear_down"
"""The deployment stage, and those of its tasks that a run conf or a model may leave nothing to do."""


def idle_tasks(conf: RunConf, model: RegisteredModel) -> list[str]:
    """The tasks of the deployment stage that have nothing to do for a model: nothing to deploy, or to remove again."""
    if not (conf.endpoint.deploy and model.approved):
        return [f"{STAGE}.{DEPLOY}", f"{STAGE}.{TEAR_DOWN}"]
    return [f"{STAGE}.{TEAR_DOWN}"] if conf.endpoint.keep else []


class EndpointOperator(WaitingOperator):
    """Serves a model at an endpoint, tests it, notes it as its dataset's champion, and passes on the EndpointResult.

    An endpoint that serves this model as asked already is left alone, so a retried task changes nothing. If another
    run is changing it, the task waits for that first. If another run changes it afterwards, the task is skipped, also
    when it is retried or cleared: the later decision stays. Right before the task changes the endpoint, `check` decides
    whether it still may. If the answers are not the model's own, the endpoint serves again what it served before, and
    the task fails. A killed task leaves the endpoint to finish its change, as AWS can stop neither a creation nor an
    update; the next attempt continues from there.

    :param deployment: makes the Deployment of the running task and its inputs; raising AirflowSkipException skips the
        task
    :param smoke_test: makes the SmokeTest of the running task and its inputs
    :param check: takes the running task and its inputs; raises if the model may not be deployed any more
    """

    kind = ENDPOINT

    def __init__(
        self,
        *,
        deployment: Callable[[RunningTask, Mapping[str, Any]], Deployment],
        smoke_test: Callable[[RunningTask, Mapping[str, Any]], SmokeTest],
        check: Callable[[RunningTask, Mapping[str, Any]], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deployment = deployment
        self.smoke_test = smoke_test
        self.check = check

    def execute(self, context: Context) -> dict[str, Any]:
        """Create or update the endpoint, then wait deferred."""
        from include.deployment.endpoint import (
            DeploymentError,
            EndpointBusyError,
            SupersededError,
            configs_before,
            deploy,
            is_served_already,
        )
        from include.deployment.hosting import Hosting, refusal_by

        running = RunningTask.of(context)
        deployment, hosting = self.deployment(running, self.inputs), Hosting.of(running.client)
        name, config = deployment.endpoint_name, deployment.config_name
        self.point_at(running, name)
        if refusal := refusal_by(hosting.sagemaker, name, config=config, run=running.run.name):
            self.go_back(running, deployment, refusal)
        self.smoke_test(running, self.inputs)  # what cannot be tested changes nothing
        if not is_served_already(hosting.sagemaker, deployment):
            self.check(running, self.inputs)
        before = configs_before(hosting.sagemaker, deployment)
        try:
            self.log.info("Endpoint %s: %s.", name, deploy(hosting, deployment))
        except EndpointBusyError as busy:
            self.log.info("%s", busy)
            return self.wait_for(running, name, "execute_when_free")
        except SupersededError as superseded:
            raise AirflowSkipException(str(superseded)) from superseded
        except DeploymentError as refused:
            raise AirflowFailException(str(refused)) from refused
        return self.wait_for(running, name, "execute_complete", before=before)

    def execute_when_free(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy now that another run's change has ended, or that its endpoint was deleted."""
        if event["status"] != "Unknown":
            self.check_event(event)
        return self.execute(context)

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], before: list[str] | None = None
    ) -> dict[str, Any]:
        """Pass on the endpoint that passed the test, or report what it serves instead.

        `before` is what it served before.
        """
        from include.deployment.endpoint import DeploymentError, SupersededError, served
        from include.deployment.hosting import end_probation, is_on_probation, moved_by, remove_previous
        from include.deployment.traffic import fired_alarms, resume_scaling_or_log, scale_endpoint
        from include.promotion.champion import record_promotion

        running, name = RunningTask.of(context), self.check_event(event)
        self.point_at(running, name)
        deployment, sagemaker = self.deployment(running, self.inputs), running.client("sagemaker")
        try:
            endpoint = served(sagemaker, deployment, before=before)
        except SupersededError as superseded:
            resume_scaling_or_log(running.client("application-autoscaling"), running.client("sagemaker"), name)
            raise AirflowSkipException(str(superseded)) from superseded
        except DeploymentError as error:
            resume_scaling_or_log(running.client("application-autoscaling"), running.client("sagemaker"), name)
            watched = deployment.rollout.in_steps or deployment.rollout.wait
            fired = fired_alarms(running.client("cloudwatch"), name) if watched else []
            alarms = f" In alarm: {'; '.join(fired)}." if fired else ""
            self.announce_return(running, deployment, f"{error}{alarms}")
            raise AirflowFailException(f"{error}{alarms}") from error
        test = self.smoke_test(running, self.inputs)
        if differences := test.differences(running.client("sagemaker-runtime"), name):
            self.go_back(running, deployment, "; ".join(differences))
        self.log.info("Endpoint %s answers %d held-out images as it should.", name, len(test.images))
        record_promotion(sagemaker, deployment.version, endpoint=name, keep=deployment.keep)
        moved = moved_by(sagemaker, name, config=deployment.config_name, rollout=deployment.rollout)
        if deployment.keep and is_on_probation(sagemaker, name, deployment.config_name):
            self.announce_promotion(running, deployment)  # a task that is killed after this notifies people twice
        end_probation(sagemaker, name, deployment.config_name, deployment.endpoint["Tags"])
        scale_endpoint(running.client("application-autoscaling"), sagemaker, name, deployment.scaling)
        removed = remove_previous(sagemaker, name, keep=deployment.keep_previous)
        if removed:
            self.log.info("Removed %s: endpoint.keep_previous is %d.", ", ".join(removed), deployment.keep_previous)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"endpoint": name, **deployment.version.as_event()}
        return endpoint.model_copy(update={"rollout": moved}).model_dump(mode="json")

    def go_back(self, running: RunningTask, deployment: Deployment, reason: str) -> NoReturn:
        """Let the endpoint serve what it served before; wait for that, then fail with the reason."""
        from include.deployment.hosting import Hosting, go_back

        name = deployment.endpoint_name
        gone = go_back(
            Hosting.of(running.client), name, config=deployment.config_name, run=running.run.name, reason=reason
        )
        if not gone.waits:
            self.announce_return(running, deployment, gone.message)
            raise AirflowFailException(gone.message)
        self.log.error("%s", gone.message)
        self.wait_for(running, name, "execute_gone_back", config=gone.config, message=gone.message)

    def announce_promotion(self, running: RunningTask, deployment: Deployment) -> None:
        """Tell people that the model serves, whatever becomes of the run's later tasks."""
        version, name = deployment.version, deployment.endpoint_name
        announce(
            running,
            "promoted",
            f"{version.dataset} v{version.version}: accuracy {version.accuracy:.1%}, serving at {name}",
            lines=[version.reason] if version.reason else [],
            links={"Report": version.report, "Model": version.artifact},
        )

    def announce_return(self, running: RunningTask, deployment: Deployment, reason: str) -> None:
        """Tell people that the model does not serve, and why."""
        version = deployment.version
        announce(
            running,
            "rolled back",
            f"{version.dataset} v{version.version} does not serve at {deployment.endpoint_name}",
            lines=[reason],
            links={"Report": version.report},
        )

    def execute_gone_back(self, context: Context, event: Mapping[str, Any], config: str, message: str) -> NoReturn:
        """Fail, now that the endpoint serves what it served before."""
        from include.deployment.endpoint import describe_endpoint
        from include.deployment.traffic import resume_scaling_or_log

        running, name = RunningTask.of(context), self.check_event(event)
        self.point_at(running, name)
        endpoint = describe_endpoint(running.client("sagemaker"), name)
        resume_scaling_or_log(running.client("application-autoscaling"), running.client("sagemaker"), name)
        if (endpoint.status, endpoint.config) == ("InService", config):
            self.announce_return(running, self.deployment(running, self.inputs), message)
            raise AirflowFailException(message)
        raise AirflowFailException(
            f"{message} But it is {endpoint.status} with {endpoint.config} ({endpoint.failure_reason or 'no reason'}): "
            "deploy another version with deploy_endpoint, or delete the endpoint."
        )
