"""What starts a retraining: has a dataset grown, what is its champion, and is there a gain."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from image_classification.context import RunningTask, asked_conf, hide_queries

log = logging.getLogger(__name__)


@task.short_circuit(multiple_outputs=True)
def find_new_images() -> dict[str, Any] | None:
    """The run conf that grows a dataset, its newest version, and its champion; if none grew, all else is skipped.

    All datasets are compared, or the one that `dataset.name` in the run conf names. The run conf is that of the run
    which trained the champion, changed by the settings' `lines` and by what this run was asked. Before anything is
    packed or costs money, the run is checked as `check_conf` checks others.
    """
    from include.deployment.registry import base_of
    from include.preflight import check
    from include.retraining import check_retraining_conf, find_retraining, line_of
    from include.run_conf import RunConf, RunConfError

    asked, problems = RunConf.read_changes(asked_conf())
    hide_queries(asked, problems)
    if problems:
        raise RunConfError(problems)
    check_retraining_conf(asked)
    running = RunningTask.current()
    settings, sagemaker, s3 = running.settings, running.client("sagemaker"), running.client("s3")
    found = find_retraining(
        s3,
        lambda dataset: line_of(s3, sagemaker, asked, settings=settings, dataset=dataset),
        data_bucket=settings.data_bucket,
        dataset=asked.dataset.name if "name" in asked.dataset.model_fields_set else None,
        policy=running.source_policy,
    )
    if found is None:
        log.info("No dataset with a champion has new images: nothing to do.")
        return None
    version = found.champion.version
    base, clients = base_of(sagemaker, running.client("logs"), version), running.access.quick_clients()
    log.info("%s: %d new images since %s.", found.conf.dataset.name, found.new_images, found.parent)
    log.info("It continues from %s. Accuracy of that model: %.4f.", found.champion, version.accuracy)
    check(found.conf, settings, s3=clients("s3"), parent=base, clients=clients)
    return {
        "conf": found.conf.model_dump(mode="json"),
        "parent": found.parent,
        "champion": base.model_dump(mode="json"),
    }


@task.short_circuit
def has_gained(dataset: Any) -> dict[str, Any] | None:
    """The grown version; if all its new images are broken, the training is skipped: it would learn nothing new."""
    from include.datasets.version import DatasetVersion
    from include.retraining import gained_images

    version = DatasetVersion.model_validate(dataset)
    gained = gained_images(RunningTask.current().client("s3"), version)
    if not gained:
        log.warning("No new image of %s could be packed: %s", version.uri, version.statuses)
        return None
    log.info("%d images were packed that the version before did not have.", gained)
    return version.model_dump(mode="json")
