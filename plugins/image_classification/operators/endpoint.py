"""An endpoint, created or updated, and waited for until it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from image_classification.context import AwsAccess
from image_classification.deployment_settings import load_settings
from image_classification.operators.waiting import WaitingOperator
from include.sagemaker.job_kinds import ENDPOINT

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.deployment.endpoint import Deployment
    from include.sagemaker.naming import Run
    from include.settings import Settings


class EndpointOperator(WaitingOperator):
    """Serves a model at an endpoint; hands on the EndpointResult.

    An endpoint that serves this model as asked already is left alone, so a retried task changes nothing. Where another
    run is changing it, the task waits for that first; where another run changes it afterwards, the task is skipped:
    the last one wins. A killed task leaves the endpoint to finish its change: AWS can stop neither a creation nor an
    update.

    :param deployment: makes the Deployment of inputs, settings and run; raising AirflowSkipException skips the task
    """

    kind = ENDPOINT

    def __init__(self, *, deployment: Callable[[Mapping[str, Any], Settings, Run], Deployment], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deployment = deployment

    def execute(self, context: Context) -> dict[str, Any]:
        """Create or update the endpoint, then wait deferred."""
        from include.deployment.endpoint import EndpointBusyError, configs_before, deploy

        settings = load_settings()
        access, deployment = AwsAccess.of(settings), self._deployment(settings, context)
        name, sagemaker = deployment.endpoint_name, access.client("sagemaker")
        self.point_at(name, settings, context)
        before = configs_before(sagemaker, deployment)
        try:
            self.log.info("Endpoint %s: %s.", name, deploy(sagemaker, deployment))
        except EndpointBusyError as busy:
            self.log.info("%s", busy)
            return self.wait_for(access, name, settings, "execute_when_free")
        return self.wait_for(access, name, settings, "execute_complete", before=before)

    def execute_when_free(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy now that another run's change has ended, or that its endpoint was deleted."""
        if event["status"] != "Unknown":
            self.check_event(event)
        return self.execute(context)

    def execute_complete(
        self, context: Context, event: Mapping[str, Any], before: list[str] | None = None
    ) -> dict[str, Any]:
        """Hand on the endpoint that serves, or say what it serves instead; `before` is what it served before."""
        from include.deployment.endpoint import DeploymentError, SupersededError, served

        settings, name = load_settings(), self.check_event(event)
        access = AwsAccess.of(settings)
        self.point_at(name, settings, context)
        try:
            endpoint = served(access.client("sagemaker"), self._deployment(settings, context), before=before)
        except SupersededError as superseded:
            raise AirflowSkipException(str(superseded)) from superseded
        except DeploymentError as error:
            raise AirflowFailException(str(error)) from error
        return endpoint.model_dump(mode="json")

    def _deployment(self, settings: Settings, context: Context) -> Deployment:
        from include.sagemaker.naming import Run

        return self.deployment(self.inputs, settings, Run.of_task(context["ti"]))
