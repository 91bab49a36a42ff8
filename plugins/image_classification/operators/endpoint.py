"""An endpoint, created or updated, and waited for until it serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from image_classification.aws import AwsAccess
from image_classification.deployment_settings import load_settings
from image_classification.job_kinds import ENDPOINT
from image_classification.operators.waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.deployment.endpoint import Deployment
    from include.settings import Settings
    from include.training.naming import Run


class EndpointOperator(WaitingOperator):
    """Serves a model at an endpoint; hands on the EndpointResult.

    An endpoint that serves this model as asked already is left alone, so a retried task changes nothing. A killed task
    leaves the endpoint to finish its change: AWS can stop neither a creation nor an update.

    :param deployment: makes the Deployment of inputs, settings and run; raising AirflowSkipException skips the task
    """

    kind = ENDPOINT

    def __init__(self, *, deployment: Callable[[Mapping[str, Any], Settings, Run], Deployment], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deployment = deployment

    def execute(self, context: Context) -> dict[str, Any]:
        """Create or update the endpoint, then wait deferred."""
        from include.deployment.endpoint import deploy

        settings = load_settings()
        access, deployment = AwsAccess.of(settings), self._deployment(settings, context)
        name = deployment.endpoint_name
        self.log.info("Endpoint %s: %s.", name, deploy(access.client("sagemaker"), deployment))
        self.point_at(access, name)
        return self.wait_for(access, name, settings.poll_seconds, "execute_complete")

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Hand on the endpoint that serves, or say what it serves instead."""
        from include.deployment.endpoint import DeploymentError, served

        settings, name = load_settings(), self.check_event(event)
        access = AwsAccess.of(settings)
        self.point_at(access, name)
        try:
            endpoint = served(access.client("sagemaker"), self._deployment(settings, context))
        except DeploymentError as error:
            raise AirflowFailException(str(error)) from error
        return endpoint.model_dump(mode="json")

    def _deployment(self, settings: Settings, context: Context) -> Deployment:
        from include.training.naming import Run

        return self.deployment(self.inputs, settings, Run(context["ti"].dag_id, context["ti"].run_id))
