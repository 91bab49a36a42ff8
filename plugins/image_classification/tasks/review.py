"""A person's decision on a registered model."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from image_classification.context import RunningTask, asked_conf, hide_queries
from image_classification.links import WrittenLink, with_links
from image_classification.notify import MODEL

log = logging.getLogger(__name__)


def review() -> Any:
    """The task of `review_model`, with links to what was decided about."""
    return with_links(
        review_model(),
        WrittenLink("Report of the model", lambda model: model["report"]),
        WrittenLink("Model in S3", lambda model: model["artifact"]),
    )


@task(outlets=[MODEL], multiple_outputs=False)
def review_model() -> dict[str, Any]:
    """Approve or reject a version of the model registry; returns it as it is then.

    Raises RunConfError for a wrong or incomplete conf, and NoModelError if there is no such version.
    """
    from include.deployment.registry import numbered
    from include.problems import Problem
    from include.promotion.verdict import Decision, where_it_serves, write_decision
    from include.run_conf import RunConf, RunConfError
    from include.run_conf.endpoint import ReviewConf
    from include.run_conf.reading import Reading

    given = dict(asked_conf())
    reading = Reading.of(ReviewConf, {name: given.pop(name) for name in ReviewConf.model_fields if name in given})
    conf, problems = RunConf.read(given)
    hide_queries(conf, problems)
    problems = [*reading.problems, *problems]
    asked = ReviewConf.model_validate(reading.document())
    wrong = {problem.field for problem in problems}
    remedies = {
        "model_version": "name the version by its number in the model registry",
        "decision": "set it to approve or reject",
        "reason": "give the reason: it is kept with the version",
    }
    problems += [
        Problem(field=field, remedy=remedy)
        for field, remedy in remedies.items()
        if not getattr(asked, field) and field not in wrong
    ]
    if problems:
        raise RunConfError(problems)
    running = RunningTask.current()
    settings, sagemaker = running.settings, running.client("sagemaker")
    model = numbered(sagemaker, settings=settings, dataset=conf.dataset.name, version=asked.model_version or 0)
    log.info("Before, it is %s. %s", model.approval, model.reason or "")
    decision = Decision(asked.decision == "approve", running.person, asked.reason)
    reviewed = write_decision(sagemaker, model, decision, settings=settings)
    if not reviewed.approved and (endpoint := where_it_serves(sagemaker, reviewed, settings)):
        log.warning("Endpoint %s still serves it: deploy another version with deploy_endpoint.", endpoint)
    running.airflow["outlet_events"][MODEL].extra = reviewed.as_event()
    return reviewed.model_dump(mode="json")
