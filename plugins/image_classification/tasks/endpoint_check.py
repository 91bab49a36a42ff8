"""How good a live endpoint is."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException

from image_classification.context import RunningTask

log = logging.getLogger(__name__)


@task
def measure_endpoint(conf: Any, dataset: Any) -> dict[str, Any]:
    """The endpoint's accuracy on held-out images; fails below `promotion.minimum_accuracy`."""
    from include.datasets.version import DatasetVersion
    from include.evaluation.endpoint_accuracy import endpoint_evaluation
    from include.run_conf import RunConf

    running, asked = RunningTask.current(), RunConf.from_conf(conf)
    measured = endpoint_evaluation(
        running.client("sagemaker-runtime"),
        running.client("s3"),
        endpoint=asked.endpoint_name,
        dataset=DatasetVersion.model_validate(dataset),
    )
    log.info("Endpoint %s: accuracy %.4f on %d images.", measured.endpoint, measured.accuracy, measured.images)
    if measured.too_large:
        log.warning("Not sent: %d images of more bytes than a request to an endpoint holds.", measured.too_large)
    minimum = asked.promotion.minimum_accuracy
    if minimum is not None and measured.accuracy < minimum:
        raise AirflowFailException(
            f"Endpoint {measured.endpoint} reaches {measured.accuracy:.4f}, below promotion.minimum_accuracy {minimum}."
        )
    return measured.model_dump(mode="json")
