"""The last task of a chain: the run in figures."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from image_classification.context import RunningTask
from image_classification.links import WrittenLink, s3_page, with_links

log = logging.getLogger(__name__)


SUMMARY = "summary"
"""Under which name the summary's address is passed on, beside the figures."""


def summarise(
    dataset: Any, models: Any = None, evaluation: Any = None, registered: Any = None, deployed: Any = None
) -> Any:
    """The last task of a chain, with links to what the run wrote for people."""
    return with_links(
        sum_up(dataset, models, evaluation, registered, deployed),
        WrittenLink("Summary", str, SUMMARY),
        WrittenLink("Report", lambda figures: figures["report"]),
        WrittenLink("Reports", lambda address: f"{address.rpartition('/')[0]}/", SUMMARY),
    )


@task(task_id="summarise", trigger_rule="none_failed", multiple_outputs=False)
def sum_up(dataset: Any, models: Any, evaluation: Any, registered: Any, deployed: Any) -> dict[str, Any]:
    """Read jobs, model and endpoint back from the services, log the figures, and keep them beside the report.

    The arguments are the documents of the stages; those of stages that a DAG does not have are left out. A run fails if
    any task fails whose document is an argument.
    """
    from include import summary
    from include.datasets.version import DatasetVersion
    from include.deployment.registry import RegisteredModel, as_it_is_now
    from include.evaluation.comparison import load_comparison
    from include.evaluation.endpoint_accuracy import EndpointEvaluation
    from include.evaluation.leaderboard import load_leaderboard
    from include.evaluation.metrics import Evaluation
    from include.evaluation.prediction import Prediction

    running = RunningTask.current()
    s3, sagemaker = running.client("s3"), running.client("sagemaker")
    model = RegisteredModel.model_validate(registered) if registered else None
    endpoint = deployed["deploy"] if deployed else None
    answers = (deployed["predict"] if deployed else None) or {"predictions": [], "evaluation": None}
    jobs: dict[str, Any] = {}
    if models:
        jobs = {
            "leaderboard": load_leaderboard(s3, models["leaderboard"]),
            "base_job": models["select_best"]["job"],
            "incremental_job": (models["train_incremental"] or {}).get("name"),
        }
    measured = Evaluation.model_validate(evaluation) if evaluation else None
    figures = summary.summarise(
        sagemaker,
        dataset=DatasetVersion.model_validate(dataset),
        **jobs,
        evaluation=measured,
        comparison=load_comparison(s3, measured.comparison_uri) if measured and measured.comparison_uri else None,
        rollout=endpoint.get("rollout", "") if endpoint else "",
        registered=(as_it_is_now(sagemaker, model) or model) if model else None,
        endpoint=endpoint["name"] if endpoint else None,
        endpoint_evaluation=EndpointEvaluation.model_validate(answers["evaluation"]) if answers["evaluation"] else None,
        predictions=[Prediction.model_validate(prediction) for prediction in answers["predictions"]],
    )
    uri = summary.write_summary(s3, figures, settings=running.settings, run=running.run)
    running.hand_on(SUMMARY, uri)
    running.note(figures.note)
    for line in figures.lines():
        log.info("%s", line)
    if figures.report:
        log.info("Report: %s", s3_page(running.settings, figures.report))
    log.info("All figures: %s", uri)
    return figures.model_dump(mode="json")
