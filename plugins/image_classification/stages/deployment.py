"""A registered model -> an endpoint that answers, kept or taken down again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from image_classification.context import RunningTask
from image_classification.notify import announce
from image_classification.operators.endpoint import DEPLOY, STAGE, EndpointOperator

if TYPE_CHECKING:
    from include.deployment.endpoint import Deployment
    from include.deployment.smoke_test import SmokeTest

log = logging.getLogger(__name__)

ENDPOINT = Asset(name="image-endpoint", group="image-classification")
"""An endpoint that serves a registered version; the event's extra holds `endpoint` and `RegisteredModel.as_event`."""
MOST_IMAGES = 1000
"""Images that measure the endpoint: enough for a percent, few enough to take a minute."""


@task_group(group_id=STAGE, tooltip="A registered model -> an endpoint that answers")
def deployment(conf: Any, dataset: Any, model: Any, evaluation: Any = None) -> Any:
    """The deployment stage: returns its tasks' documents by name.

    A model with an `evaluation` is not deployed if another champion than the one it was compared with serves by now.
    Without one a person chose the model, whatever serves.

    The endpoint is taken down at the end if `endpoint.keep` is off, also when deployment or prediction failed. That is
    a teardown, which Airflow runs too when a person ends the run early. Airflow does not count the failure of a
    teardown: a DAG has to end with a task that takes the documents of all three.
    """
    inputs = {"conf": conf, "dataset": dataset, "model": model, "evaluation": evaluation}
    endpoint = EndpointOperator(
        task_id=DEPLOY,
        deployment=approved_deployment,
        smoke_test=known_answers,
        check=check_again,
        inputs=inputs,
        outlets=[ENDPOINT],
        execution_timeout=timedelta(hours=9),
    )
    answers = predict(conf, dataset, endpoint.output)  # type: ignore[arg-type]
    removal = tear_down(conf, dataset, model)
    answers >> removal.as_teardown()
    return {"deploy": endpoint.output, "predict": answers, "tear_down": removal}


def approved_deployment(running: RunningTask, inputs: Mapping[str, Any]) -> Deployment:
    """What the endpoint has to serve; the task is skipped for a model that is not approved or not to be deployed."""
    from include.datasets.version import DatasetVersion
    from include.deployment.endpoint import deployment_of
    from include.deployment.registry import RegisteredModel
    from include.run_conf import RunConf

    conf, model = RunConf.from_conf(inputs["conf"]), RegisteredModel.model_validate(inputs["model"])
    if not conf.endpoint.deploy:
        raise AirflowSkipException("endpoint.deploy is off")
    if not model.approved:
        why = f": {model.reason}" if model.reason else ""
        raise AirflowSkipException(f"{model.group} version {model.version} is {model.approval}{why}")
    dataset = DatasetVersion.model_validate(inputs["dataset"])
    return deployment_of(model, conf=conf, settings=running.settings, run=running.run, dataset=dataset)


def check_again(running: RunningTask, inputs: Mapping[str, Any]) -> None:
    """Read the registry and the champion again, which may have changed since the model was approved.

    The task is skipped for a version that is not approved any more, and for one that was compared with another champion
    than today's: that version becomes pending, with this reason. Fails if a person chose the model.
    """
    from include.deployment.registry import RegisteredModel, as_it_is_now, decided
    from include.evaluation.metrics import Evaluation
    from include.promotion.verdict import changed_champion
    from include.run_conf import RunConf

    conf, sagemaker = RunConf.from_conf(inputs["conf"]), running.client("sagemaker")
    known, evaluation = RegisteredModel.model_validate(inputs["model"]), inputs["evaluation"]
    model, named = as_it_is_now(sagemaker, known), f"{known.group} version {known.version}"
    refused = AirflowSkipException if evaluation else AirflowFailException
    if model is None:
        raise refused(f"{named} was deleted from the model registry: deploy another version with deploy_endpoint.")
    if not model.approved:
        raise refused(f"{named} is {model.approval} by now: {model.reason or 'without a reason'}")
    if evaluation is None:
        return
    compared = Evaluation.model_validate(evaluation).champion
    changed = changed_champion(
        sagemaker, conf=conf, settings=running.settings, dataset=model.dataset, compared=compared, own=model.arn
    )
    if changed:
        pending = decided(sagemaker, model, "PendingManualApproval", f"Not deployed: {changed}.")
        links = {"Report": model.report, "Model": model.artifact}
        announce(running, "refused", f"{model.dataset} v{model.version}: {pending.reason}", links=links)
        raise AirflowSkipException(f"{named} is {pending.approval}. {pending.reason}")


def known_answers(running: RunningTask, inputs: Mapping[str, Any]) -> SmokeTest:
    """What the endpoint has to answer before its model is promoted.

    The task fails if no test image can be sent.
    """
    from include.datasets.version import DatasetVersion
    from include.deployment.registry import RegisteredModel
    from include.deployment.smoke_test import smoke_test_of
    from include.evaluation.prediction import PredictionError

    model, dataset = RegisteredModel.model_validate(inputs["model"]), DatasetVersion.model_validate(inputs["dataset"])
    try:
        return smoke_test_of(running.client("s3"), model, dataset)
    except PredictionError as error:
        raise AirflowFailException(str(error)) from error


@task(multiple_outputs=False)
def predict(conf: dict[str, Any], dataset: dict[str, Any], endpoint: dict[str, Any]) -> dict[str, Any]:
    """Ask the endpoint about test images: a few predictions to read, its accuracy, and how fast it answers.

    That is measured on a sample: `evaluation.sample`, or up to a thousand images. `serving.json` beside the run's
    report keeps it.
    """
    from include.datasets.version import DatasetVersion
    from include.evaluation.endpoint_accuracy import endpoint_evaluation, write_serving
    from include.evaluation.prediction import predict_held_out
    from include.run_conf import RunConf

    asked = RunConf.from_conf(conf).evaluation
    sample = asked.sample.model_copy(update={"images": asked.sample.images or MOST_IMAGES})
    running, version, name = RunningTask.current(), DatasetVersion.model_validate(dataset), endpoint["name"]
    runtime, s3 = running.client("sagemaker-runtime"), running.client("s3")
    predictions = predict_held_out(runtime, s3, endpoint=name, dataset=version)
    for shown in predictions:
        log.info("%s: %s with %.4f, expected %s", shown.image, shown.label, shown.probability, shown.expected)
    measured = endpoint_evaluation(
        runtime,
        s3,
        endpoint=name,
        dataset=version,
        evaluation=asked.model_copy(update={"sample": sample}),
    )
    log.info("Accuracy of the endpoint on %d images: %.4f", measured.images, measured.accuracy)
    log.info("Latency: %s", measured.latency)
    if measured.not_sent:
        log.warning("Not sent: %d images, such as %s.", measured.not_sent, measured.unsent[0])
    uri = write_serving(s3, measured, settings=running.settings, run=running.run)
    log.info("All figures of the endpoint: %s", uri)
    return {
        "predictions": [prediction.model_dump(mode="json") for prediction in predictions],
        "evaluation": measured.model_dump(mode="json"),
    }


@task
def tear_down(conf: dict[str, Any] | None, dataset: dict[str, Any] | None, model: dict[str, Any] | None) -> list[str]:
    """Delete the endpoint, its configuration and its model if this run deployed one and `endpoint.keep` is off."""
    from include.deployment import hosting
    from include.run_conf import RunConf

    if conf is None or dataset is None or model is None:
        raise AirflowSkipException("this run deployed nothing")
    if RunConf.from_conf(conf).endpoint.keep:
        raise AirflowSkipException("endpoint.keep is on")
    running = RunningTask.current()
    mine = approved_deployment(running, {"conf": conf, "dataset": dataset, "model": model})
    services, name = hosting.Hosting.of(running.client), mine.endpoint_name
    deleted = hosting.tear_down(services, name, config=mine.config_name, unkept_only=True)
    log.info("Deleted %s.", ", ".join(deleted) or "nothing: it no longer exists, or serves what another run deployed")
    return deleted
