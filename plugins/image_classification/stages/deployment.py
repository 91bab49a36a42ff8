"""A registered model -> an endpoint that answers, kept or taken down again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.context import AwsAccess
from image_classification.deployment_settings import load_settings
from image_classification.operators.endpoint import EndpointOperator

if TYPE_CHECKING:
    from include.deployment.endpoint import Deployment
    from include.sagemaker.naming import Run
    from include.settings import Settings

log = logging.getLogger(__name__)

MOST_IMAGES = 1000
"""Images that measure the endpoint: enough for a percent, few enough to take a minute."""


@task_group(group_id="deployment", tooltip="A registered model -> an endpoint that answers")
def deployment(conf: Any, dataset: Any, model: Any) -> Any:
    """The deployment stage: returns its tasks' documents by name.

    The endpoint is taken down at the end if `endpoint.keep` is off, also when deployment or prediction failed. That is
    a teardown, which Airflow runs too when a person ends the run early. Airflow does not count the failure of a
    teardown: a DAG has to end with a task that takes the documents of all three.
    """
    inputs = {"conf": conf, "dataset": dataset, "model": model}
    endpoint = EndpointOperator(
        task_id="deploy", deployment=approved_deployment, inputs=inputs, execution_timeout=timedelta(hours=2)
    )
    answers = predict(dataset, endpoint.output)  # type: ignore[arg-type]
    removal = tear_down(conf, dataset, model)
    answers >> removal.as_teardown()
    return {"deploy": endpoint.output, "predict": answers, "tear_down": removal}


def approved_deployment(inputs: Mapping[str, Any], settings: Settings, run: Run) -> Deployment:
    """What the endpoint has to serve; the task is skipped for a model that is not approved or not to be deployed."""
    from include.datasets.version import DatasetVersion
    from include.deployment.endpoint import deployment_of
    from include.deployment.registry import RegisteredModel
    from include.run_conf import RunConf

    conf, model = RunConf.from_conf(inputs["conf"]), RegisteredModel.model_validate(inputs["model"])
    if not conf.endpoint.deploy:
        raise AirflowSkipException("endpoint.deploy is off")
    if not model.approved:
        raise AirflowSkipException(f"{model.group} version {model.version} is {model.approval}")
    dataset = DatasetVersion.model_validate(inputs["dataset"])
    return deployment_of(model, conf=conf, settings=settings, run=run, dataset=dataset)


@task
def predict(dataset: dict[str, Any], endpoint: dict[str, Any]) -> dict[str, Any]:
    """Ask the endpoint about packed test images: a few predictions to read, and its accuracy on up to a thousand."""
    from include.datasets.version import DatasetVersion
    from include.deployment.prediction import predict_held_out
    from include.evaluation.endpoint import endpoint_evaluation

    access, version, name = AwsAccess.of(load_settings()), DatasetVersion.model_validate(dataset), endpoint["name"]
    runtime, s3 = access.client("sagemaker-runtime"), access.client("s3")
    predictions = predict_held_out(runtime, s3, endpoint=name, dataset=version)
    for shown in predictions:
        log.info("%s: %s with %.4f, expected %s", shown.image, shown.label, shown.probability, shown.expected)
    measured = endpoint_evaluation(runtime, s3, endpoint=name, dataset=version, limit=MOST_IMAGES)
    log.info("Accuracy of the endpoint on %d images: %.4f", measured.images, measured.accuracy)
    if measured.too_large:
        log.warning("Not sent: %d images of more bytes than a request to an endpoint holds.", measured.too_large)
    return {
        "predictions": [prediction.model_dump(mode="json") for prediction in predictions],
        "evaluation": measured.model_dump(mode="json"),
    }


@task
def tear_down(conf: dict[str, Any] | None, dataset: dict[str, Any] | None, model: dict[str, Any] | None) -> list[str]:
    """Delete the endpoint, its configuration and its model where this run deployed one and `endpoint.keep` is off."""
    from include.deployment import endpoint as endpoints
    from include.run_conf import RunConf
    from include.sagemaker.naming import Run

    if conf is None or dataset is None or model is None:
        raise AirflowSkipException("this run came to no deployment")
    if RunConf.from_conf(conf).endpoint.keep:
        raise AirflowSkipException("endpoint.keep is on")
    settings, ti = load_settings(), get_current_context()["ti"]
    mine = approved_deployment({"conf": conf, "dataset": dataset, "model": model}, settings, Run(ti.dag_id, ti.run_id))
    sagemaker = AwsAccess.of(settings).client("sagemaker")
    deleted = endpoints.tear_down(sagemaker, mine.endpoint_name, config=mine.config_name)
    log.info("Deleted %s.", ", ".join(deleted) or "nothing: the endpoint is gone, or serves what another run deployed")
    return deleted
