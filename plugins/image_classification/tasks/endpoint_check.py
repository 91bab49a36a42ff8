"""How good live endpoints are: one, or those of all datasets."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException

from image_classification.context import RunningTask, asked_conf, hide_queries
from image_classification.links import WrittenLink, s3_page, web_pages, with_links
from image_classification.notify import announce

log = logging.getLogger(__name__)

MEASURED = "measured"
"""Under which name a measurement is passed on, also by a task that fails because of it."""


def measure_endpoints() -> Any:
    """The tasks that choose endpoints and measure each of them."""
    measured = measure_endpoint.expand(check=choose_endpoints())
    return with_links(
        measured,
        WrittenLink("Report", lambda found: found["report_uri"], MEASURED),
        WrittenLink("Report of the registered version", lambda found: (found["registered"] or {})["report"], MEASURED),
    )


@task
def choose_endpoints() -> list[dict[str, Any]]:
    """Read the run conf and look up the endpoints to measure: the named one, or those of all datasets."""
    from include.promotion.endpoint_checks import endpoint_checks
    from include.run_conf import RunConf, RunConfError

    asked, problems = RunConf.read_changes(asked_conf())
    hide_queries(asked, problems)
    if problems:
        raise RunConfError(problems)
    running = RunningTask.current()
    checks = endpoint_checks(running.client("sagemaker"), running.client("s3"), conf=asked, settings=running.settings)
    if checks:
        log.info("To measure: %s.", ", ".join(check.endpoint for check in checks))
    else:
        running.note("No dataset has an endpoint: nothing was measured")
    wanted = {
        "evaluation": asked.evaluation.model_dump(mode="json"),
        "minimum_accuracy": asked.promotion.minimum_accuracy,
    }
    return [{**check.model_dump(mode="json"), **wanted} for check in checks]


@task(
    map_index_template="{{ task.op_kwargs['check']['endpoint'] }}",
    show_return_value_in_logs=False,
    multiple_outputs=False,
)
def measure_endpoint(check: dict[str, Any]) -> dict[str, Any]:
    """Measure an endpoint on held-out images and write the report.

    The task fails, with the report linked, if the accuracy is lower than the registered one by more than chance
    explains, or below `promotion.minimum_accuracy`.
    """
    from include.datasets.version import DatasetVersion
    from include.evaluation.endpoint_accuracy import RegisteredFigure, Report, endpoint_evaluation
    from include.run_conf.sections import EvaluationConf

    running = RunningTask.current()
    if check["remark"]:
        log.warning("It is not compared: %s", check["remark"])
    measured = endpoint_evaluation(
        running.client("sagemaker-runtime"),
        running.client("s3"),
        endpoint=check["endpoint"],
        dataset=DatasetVersion.model_validate(check["version"]),
        evaluation=EvaluationConf.model_validate(check["evaluation"]),
        registered=RegisteredFigure.model_validate(check["registered"]) if check["registered"] else None,
        report=Report(running.settings, running.run, web_pages(running)),
    )
    document = measured.model_dump(mode="json")
    running.hand_on(MEASURED, document)
    said = f"Endpoint {measured.endpoint}: {measured.beside_the_registered()}"
    running.note(said)
    log.info("Latency: %s.", measured.latency)
    if measured.not_sent:
        log.warning("Not sent: %d images, such as %s.", measured.not_sent, measured.unsent[0])
    minimum = check["minimum_accuracy"]
    too_low = minimum is not None and measured.accuracy < minimum
    if too_low or measured.has_dropped:
        below = f" It is below promotion.minimum_accuracy {minimum}." if too_low else ""
        links = {"Report": measured.report_uri}
        subject = f"Endpoint {measured.endpoint}: {measured.accuracy:.1%} of {measured.images:,} images"
        announce(running, "worse", subject, lines=[f"{said}{below}"], links=links)
        raise AirflowFailException(f"{said}{below} Report: {s3_page(running.settings, measured.report_uri)}")
    return document
