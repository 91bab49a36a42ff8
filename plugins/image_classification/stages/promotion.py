"""A measured model -> a version in the model registry, approved if it is good enough, by a person if asked so."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task, task_group

from image_classification.context import RunningTask
from image_classification.links import WrittenLink, with_links
from image_classification.notify import MODEL, announce
from image_classification.operators.approval import ModelApprovalOperator
from image_classification.operators.endpoint import idle_tasks
from image_classification.stages.training import base_model, final_model

log = logging.getLogger(__name__)


@task_group(group_id="registration", tooltip="A measured model -> the model registry")
def promotion(conf: Any, dataset: Any, models: Any, evaluation: Any) -> Any:
    """The promotion stage: returns the RegisteredModel's document; its tasks are `registration.TASK` in Airflow.

    The document is as it is after the decision of a person, if `promotion.approval` asks for one.
    """
    links = (
        WrittenLink("Report of the model", lambda model: model["report"]),
        WrittenLink("Model in S3", lambda model: model["artifact"]),
    )
    registered = with_links(register_model(conf, dataset, models, evaluation), *links)
    approval = ModelApprovalOperator(
        task_id="approve_model",
        inputs={"conf": conf, "evaluation": evaluation, "model": registered},
        idle=idle_tasks,
        trigger_rule="none_failed",
    )
    return with_links(approval.output, *links)


@task(trigger_rule="none_failed", outlets=[MODEL], multiple_outputs=False)
def register_model(
    conf: dict[str, Any], dataset: dict[str, Any], models: dict[str, Any], evaluation: dict[str, Any]
) -> dict[str, Any]:
    """Register the model with its lineage and the whole run conf.

    It is approved by the verdict of its evaluation, if it has the champion's classes and `promotion.approval` is
    automatic. Else it is pending, and nothing deploys it.
    """
    from include.algorithms.kinds import algorithm_of
    from include.datasets.version import DatasetVersion
    from include.deployment import registry
    from include.evaluation.metrics import Evaluation
    from include.promotion.champion import keep_run_conf
    from include.promotion.verdict import refusal, waiting_reason
    from include.run_conf import RunConf
    from include.sagemaker.job_results import describe_training_job

    running, run_conf = RunningTask.current(), RunConf.from_conf(conf)
    settings, sagemaker, s3 = running.settings, running.client("sagemaker"), running.client("s3")
    version, measured = DatasetVersion.model_validate(dataset), Evaluation.model_validate(evaluation)
    base, final = base_model(models), final_model(models)
    why_not = refusal(sagemaker, s3, conf=run_conf, settings=settings, dataset=version, evaluation=measured)
    model = registry.register_model(
        sagemaker,
        job=describe_training_job(sagemaker, final.job),
        algorithm=algorithm_of(run_conf, settings),
        evaluation=measured,
        dataset=version,
        run=running.run,
        refusal=why_not,
        waits=waiting_reason(run_conf, measured),
        base_job=base.job if final.job != base.job else None,
        run_conf=keep_run_conf(s3, run_conf, settings=settings, run=running.run),
    )
    log.info("%s version %d: accuracy %.4f, %s.", model.group, model.version, model.accuracy, model.approval)
    if not model.approved:
        why = (model.reason or "a person decided so").rstrip(".")
        log.warning("It is %s and is not deployed now: %s.", model.approval, why)
        refused = model.approval == "Rejected" or (measured.verdict is not None and not measured.verdict.accepted)
        announce(
            running,
            "refused" if refused else "awaiting approval",
            f"{model.dataset} v{model.version}: {measured.accuracy:.1%} of {measured.images:,} images, {why}",
            lines=[f"Model {model.arn} is {model.approval} and is not deployed."],
            links={"Report": model.report, "Model": model.artifact},
        )
    running.airflow["outlet_events"][MODEL].extra = model.as_event()
    return model.model_dump(mode="json")
