"""The first task of a retraining: has a dataset grown, and which model does the training go on from."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import get_current_context, task

from image_classification.aws import AwsAccess
from image_classification.deployment_settings import load_settings

log = logging.getLogger(__name__)


@task.short_circuit(multiple_outputs=True)
def find_new_images() -> dict[str, Any] | None:
    """The run conf that grows a dataset, its newest version, and its champion; where none grew, all else is skipped.

    Looks at all datasets, or at the one that `dataset.name` in the run conf names.
    """
    from include.deployment.registry import base_of, last_approved
    from include.retraining import find_retraining
    from include.run_conf import RunConf

    settings = load_settings()
    access = AwsAccess.of(settings)
    asked = RunConf.from_conf(get_current_context()["dag_run"].conf)
    name = asked.dataset.name if "name" in asked.dataset.model_fields_set else None
    found = find_retraining(access.client("s3"), asked, data_bucket=settings.data_bucket, dataset=name)
    if found is None:
        log.info("No dataset has new images: nothing to do.")
        return None
    grown = found.conf.dataset.name
    sagemaker = access.client("sagemaker")
    champion = last_approved(sagemaker, settings=settings, dataset=grown)
    if champion is None:
        log.warning("%s has %d new images but no approved model: start image_classification.", grown, found.new_images)
        return None
    log.info("%s: %d new images since %s.", grown, found.new_images, found.parent)
    log.info("Going on from %s version %d, accuracy %.4f.", champion.group, champion.version, champion.accuracy)
    return {
        "conf": found.conf.model_dump(mode="json"),
        "parent": found.parent,
        "champion": base_of(sagemaker, champion).model_dump(mode="json"),
    }
