"""A model -> how good it is on the held-out images, beside the champion, with a report in S3."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.context import RunningTask
from image_classification.links import WrittenLink, s3_page, web_pages, with_links
from image_classification.operators.deciding import deciding_task
from image_classification.operators.sagemaker_job import TransformJobOperator
from image_classification.stages.training import base_model, final_model

if TYPE_CHECKING:
    from include.sagemaker.containers import ModelContainer

log = logging.getLogger(__name__)

STAGE, BY_CHAMPION = "evaluation", "transform_by_champion"
CHALLENGER, CHAMPION = "challenger", "champion"
"""Whose answers a transform job holds; None instead of a job if they were there already."""


@task_group(group_id=STAGE, tooltip="A model -> how good it is on the held-out images, beside the champion")
def evaluation(conf: Any, dataset: Any, models: Any) -> Any:
    """The evaluation stage: returns the Evaluation's document.

    The model and the dataset's champion answer the same images, each in a transform job of its own. A job is skipped if
    its model has answered these images in an earlier run.
    """
    inputs = {"conf": conf, "dataset": dataset, "models": models}
    longest = timedelta(hours=6)
    transform = TransformJobOperator(
        task_id="transform_test_images",
        request=test_images_transform,
        inputs=inputs,
        trigger_rule="none_failed",
        execution_timeout=longest,
    )
    champion: Any = find_champion(conf, dataset, models)
    champions = TransformJobOperator(
        task_id=BY_CHAMPION,
        request=champions_transform,
        inputs={**inputs, "champion": champion},
        trigger_rule="none_failed",
        execution_timeout=longest,
    )
    answered: Any = {CHALLENGER: transform.output, CHAMPION: champions.output}
    measured = evaluate(conf, dataset, models, champion, answered)
    return with_links(measured, WrittenLink("Report", lambda document: document["report_uri"]))


def test_images_transform(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The batch transform of the test images by the selected model."""
    from include.algorithms.kinds import algorithm_of
    from include.run_conf import RunConf

    model, conf = final_model(inputs["models"]), RunConf.from_conf(inputs["conf"])
    container = algorithm_of(conf, running.settings).container(model.artifact)
    return _transform(name, running, inputs, job=model.job, container=container)


def champions_transform(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The batch transform of the same images by the champion; skipped if it is not compared."""
    from include.promotion.champion import FoundChampion

    if inputs["champion"] is None:
        raise AirflowSkipException("there is no champion")
    found = FoundChampion.model_validate(inputs["champion"])
    if found.unlike:
        raise AirflowSkipException(f"{found.version.group} version {found.version.version}: {found.unlike}")
    return _transform(name, running, inputs, job=found.version.job, container=found.version.container)


def _transform(
    name: str, running: RunningTask, inputs: Mapping[str, Any], *, job: str, container: ModelContainer
) -> dict[str, Any]:
    """The batch transform of the test images by one model; skipped if its answers are kept."""
    from include.datasets.image_objects import write_packed_test_images, write_source_test_images
    from include.datasets.version import DatasetVersion
    from include.deployment.endpoint import ensure_model, model_request
    from include.evaluation.held_out_answers import is_kept, kept_at
    from include.evaluation.prediction import LARGEST_BODY, payload_mb, transform_request, write_manifest
    from include.run_conf import RunConf

    settings, run, s3 = running.settings, running.run, running.client("s3")
    dataset = DatasetVersion.model_validate(inputs["dataset"])
    conf = RunConf.from_conf(inputs["conf"])
    sent = conf.evaluation.images
    kept = kept_at(settings, dataset, job=job, artifact=container.artifact, sent=sent)
    if is_kept(s3, kept):
        raise AirflowSkipException(f"the model of {job} has answered these images before: {kept}")
    model = model_request(container, settings=settings, run=run, dataset=dataset)
    if sent == "source":
        images, unsent = write_source_test_images(s3, dataset, largest=LARGEST_BODY)
        log.info("The source images of the test split are sent; %d of them cannot be.", len(unsent))
    else:
        images = write_packed_test_images(s3, dataset)
    payload_mb(images.largest)  # refuses what no request can hold, before there is a model to clean up
    return transform_request(
        name,
        model=ensure_model(running.client("sagemaker"), model),
        manifest=write_manifest(s3, images, settings=settings, job=name),
        largest=images.largest,
        content_type=container.transform_type(dataset.packing.encoding),
        conf=conf,
        settings=settings,
        dataset=dataset,
        run=run,
    )


@deciding_task(trigger_rule="none_failed")
def find_champion(conf: dict[str, Any], dataset: dict[str, Any], models: dict[str, Any]) -> dict[str, Any] | None:
    """The champion of the dataset as it is now, and whether it can be compared; None if there is none.

    Its transform job is left out unless it is compared.
    """
    from include.datasets.version import DatasetVersion
    from include.promotion.champion import UnknownChampionError, champion_beside
    from include.run_conf import RunConf

    running, version = RunningTask.current(), DatasetVersion.model_validate(dataset)
    sagemaker, s3 = running.client("sagemaker"), running.client("s3")
    try:
        found = champion_beside(
            sagemaker, s3, settings=running.settings, dataset=version, artifact=final_model(models).artifact
        )
    except UnknownChampionError as error:
        log.warning("The model is not compared: %s", error)
        running.leave_out(f"{STAGE}.{BY_CHAMPION}")
        return None
    if found is None:
        log.info("%s has no champion yet.", version.name)
        running.leave_out(f"{STAGE}.{BY_CHAMPION}")
        return None
    if RunConf.from_conf(conf).promotion.compare == "off":
        found = found.model_copy(update={"unlike": "promotion.compare is off"})
    if found.unlike:
        running.leave_out(f"{STAGE}.{BY_CHAMPION}")
    outcome = f"not compared: {found.unlike}" if found.unlike else "answers the same images"
    log.info("Champion: %s version %d, %s.", found.version.group, found.version.version, outcome)
    return found.model_dump(mode="json")


@task(trigger_rule="none_failed", multiple_outputs=False)
def evaluate(
    conf: dict[str, Any],
    dataset: dict[str, Any],
    models: dict[str, Any],
    champion: dict[str, Any] | None,
    answered: dict[str, dict[str, Any] | None],
) -> dict[str, Any]:
    """Measure the answers and write the report: figures, the comparison, a page, and one archive of all of it."""
    from include.datasets.version import DatasetVersion
    from include.evaluation import evaluate as evaluation_of_answers
    from include.evaluation.comparison import PromotionRule
    from include.evaluation.evaluate import ChampionAnswers
    from include.evaluation.held_out_answers import kept_at
    from include.evaluation.job_traces import read_traces
    from include.evaluation.leaderboard import load_leaderboard
    from include.promotion.champion import FoundChampion
    from include.run_conf import RunConf
    from include.sagemaker.job_results import describe_training_job

    running = RunningTask.current()
    s3, settings = running.client("s3"), running.settings
    run_conf, version = RunConf.from_conf(conf), DatasetVersion.model_validate(dataset)
    found = FoundChampion.model_validate(champion) if champion else None
    beside = None
    if found and not found.unlike:
        theirs = found.version
        beside = ChampionAnswers(
            kept_at(settings, version, job=theirs.job, artifact=theirs.artifact, sent=run_conf.evaluation.images),
            model=theirs.job,
            transform_job=_job(answered[CHAMPION]) or "",
            first_new_record=found.first_new_record,
            learned_from=theirs.dataset_uri if found.first_new_record is None else "",
        )
    rule = run_conf.promotion
    job = describe_training_job(running.client("sagemaker"), final_model(models).job)
    measured = evaluation_of_answers.evaluate(
        s3,
        running.client("logs"),
        job=job,
        best=base_model(models),
        transform_job=_job(answered[CHALLENGER]),
        dataset=version,
        settings=settings,
        run=running.run,
        top_k=run_conf.training.hyperparameters.top_k,
        leaderboard=load_leaderboard(s3, models["leaderboard"]),
        run_conf=run_conf,
        champion=beside,
        sent=run_conf.evaluation.images,
        rule=PromotionRule(rule.compare, rule.margin, rule.minimum_accuracy),
        uncompared=found.unlike if found else "",
        traces=read_traces(s3, running.client("cloudwatch"), job),
        web_pages=web_pages(running),
    )
    interval = measured.accuracy_interval
    certain = f" (95 %: {interval.low:.4f} to {interval.high:.4f})" if interval else ""
    log.info("Accuracy on %d held-out images: %.4f%s", measured.images, measured.accuracy, certain)
    if measured.verdict:
        log.info("%s: %s", "Accepted" if measured.verdict.accepted else "Refused", measured.verdict.reason)
    log.info("Report: %s", s3_page(settings, measured.report_uri))
    if found:
        measured = measured.model_copy(update={"champion": found.version.arn})
    return measured.model_dump(mode="json")


def _job(transform: dict[str, Any] | None) -> str | None:
    return str(transform["name"]) if transform else None
