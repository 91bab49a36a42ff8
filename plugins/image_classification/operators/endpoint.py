"""An endpoint, created or updated, and waited for until it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from image_classification.context import RunningTask
from image_classification.operators.waiting import WaitingOperator
from include.sagemaker.job_kinds import ENDPOINT

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.deployment.endpoint import Deployment


class EndpointOperator(WaitingOperator):
    """Serves a model at an endpoint, notes it as its dataset's champion, and hands on the EndpointResult.

    An endpoint that serves this model as asked already is left alone, so a retried task changes nothing. If another
    run is changing it, the task waits for that first; if another run changes it afterwards, the task is skipped: the
    last one wins. A killed task leaves the endpoint to finish its change: AWS can stop neither a creation nor an
    update.

    :param deployment: makes the Deployment of the running task and its inputs; raising AirflowSkipException skips the
        task
    """

    kind = ENDPOINT

    def __init__(self, *, deployment: Callable[[RunningTask, Mapping[str, Any]], Deployment], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deployment = deployment

    def execute(self, context: Context) -> dict[str, Any]:
        """Create or update the endpoint, then wait deferred."""
        from include.deployment.endpoint import EndpointBusyError, configs_before, deploy

        running = RunningTask.of(context)
        deployment, sagemaker = self.deployment(running, self.inputs), running.client("sagemaker")
        name = deployment.endpoint_name
        self.point_at(running, name)
        before = configs_before(sagemaker, deployment)
        try:
            self.log.info("Endpoint %s: %s.", name, deploy(sagemaker, deployment))
        except EndpointBusyError as busy:
            self.log.info("%s", busy)
            return self.wait_for(running, name, "execute_when_free")
        return self.wait_for(running, name, "execute_complete", before=before)

    def execute_when_free(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy now that another run's change has ended, or that its endpoint was deleted."""
        if event["status"] != "Unknown":
            self.check_event(event)
        return self.execute(context)

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], before: list[str] | None = None
    ) -> dict[str, Any]:
        """Hand on the endpoint that serves, or report what it serves instead; `before` is what it served before."""
        from include.deployment.endpoint import DeploymentError, SupersededError, served
        from include.promotion.champion import record_promotion

        running, name = RunningTask.of(context), self.check_event(event)
        self.point_at(running, name)
        deployment, sagemaker = self.deployment(running, self.inputs), running.client("sagemaker")
        try:
            endpoint = served(sagemaker, deployment, before=before)
        except SupersededError as superseded:
            raise AirflowSkipException(str(superseded)) from superseded
        except DeploymentError as error:
            raise AirflowFailException(str(error)) from error
        record_promotion(sagemaker, deployment.version, endpoint=name, keep=deployment.keep)
        return endpoint.model_dump(mode="json")
