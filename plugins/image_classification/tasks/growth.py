"""What starts a retraining: has a dataset grown, what is its champion, and is there a gain."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import task

from image_classification.context import RunningTask, asked_conf, hide_queries
from image_classification.notify import announce

if TYPE_CHECKING:
    from include.retraining import FullTraining, Retraining
    from include.run_conf import RunConf

log = logging.getLogger(__name__)

WHOLE_CHAIN = "image_classification"
"""The DAG that trains a model from scratch."""


@task
def find_grown_datasets() -> list[dict[str, Any]]:
    """The runs to start, one for each dataset that has grown; none if this run is itself one of a dataset.

    What a person asked of this run is asked of each of them.
    """
    from include.retraining import FullTraining, find_retrainings, line_of
    from include.sagemaker.naming import Run

    asked = _asked()
    running = RunningTask.current()
    if _dataset_of(asked):
        log.info("This run retrains %s: it does not check other datasets.", asked.dataset.name)
        return []
    settings, sagemaker, s3 = running.settings, running.client("sagemaker"), running.client("s3")
    _report_late_runs(running)
    found = find_retrainings(
        s3,
        lambda dataset: line_of(s3, sagemaker, asked, settings=settings, dataset=dataset),
        data_bucket=settings.data_bucket,
        policy=running.source_policy,
        was_started=lambda full: running.run_state(Run(WHOLE_CHAIN, full.run_id)) != "unknown",
    )
    if not found:
        log.info("No dataset with a champion has new images: nothing to do.")
    return [
        _full_start(each) if isinstance(each, FullTraining) else _start(running.run.dag_id, asked, each)
        for each in found
    ]


def _report_late_runs(running: RunningTask) -> None:
    """Tell people, once for each, of the retrainings that have not ended by their deadline."""
    from include.retraining import dataset_names, late_runs

    s3, bucket = running.client("s3"), running.settings.data_bucket
    for dataset, turn in late_runs(s3, bucket, dataset_names(s3, bucket), running.run_state):
        sentence = f"{dataset}: its retraining has not ended by its deadline, {turn.late_at:%Y-%m-%d %H:%M} UTC"
        log.warning("%s: %s.", sentence, turn.run_id)
        announce(running, "late", sentence, lines=[f"Run {turn.run_id} of {turn.dag_id}."], run=turn.run)


def _full_start(found: FullTraining) -> dict[str, Any]:
    """What `StartRunOperator` starts for a dataset with new classes."""
    return {
        "dataset": found.conf.dataset.name,
        "trigger_dag_id": WHOLE_CHAIN,
        "trigger_run_id": found.run_id,
        "conf": found.unattended,
        "note": f"New classes of {found.conf.dataset.name}: {', '.join(found.new_labels)}",
        "once": True,
        "deadline_hours": found.conf.retraining.deadline_hours,
    }


def _start(dag_id: str, asked: RunConf, found: Retraining) -> dict[str, Any]:
    """What `StartRunOperator` starts for a dataset that has grown."""
    name, version = found.conf.dataset.name, found.parent.rstrip("/").rpartition("/")[2]
    conf = asked.model_dump(mode="json", exclude_unset=True)
    return {
        "dataset": name,
        "trigger_dag_id": dag_id,
        "trigger_run_id": found.run_id,
        "conf": {**conf, "dataset": {**conf.get("dataset", {}), "name": name}},
        "note": f"{found.new_images} new images of {name} since version {version}",
        "once": False,
    }


@task.short_circuit(multiple_outputs=True)
def find_new_images() -> dict[str, Any] | None:
    """The run conf that grows a dataset, its newest version and its champion; if it has not grown, all else is skipped.

    The dataset is the one that `dataset.name` in the run conf names; without a name this run only starts others. The
    run conf is that of the run which trained the champion, changed by the settings' `lines` and by what this run was
    asked.
    Before anything is packed or costs money, the run is checked as `check_conf` checks others.
    """
    from include.deployment.registry import base_of
    from include.preflight.checking import check
    from include.retraining import find_retraining, line_of, set_deadline, take_turn

    asked = _asked()
    running = RunningTask.current()
    dataset = _dataset_of(asked)
    if not dataset:
        log.info("dataset.name is empty: this run starts one for each dataset that has grown, and ends.")
        return None
    settings, sagemaker, s3 = running.settings, running.client("sagemaker"), running.client("s3")
    line = line_of(s3, sagemaker, asked, settings=settings, dataset=dataset)
    if line is None:
        return None
    holder = take_turn(s3, settings.data_bucket, dataset, running.run, running.run_state)
    if holder != running.run:
        log.warning(
            "%s: %s of %s has not ended. A later look takes the new images.", dataset, holder.run_id, holder.dag_id
        )
        return None
    found = find_retraining(s3, line, dataset, data_bucket=settings.data_bucket, policy=running.source_policy)
    if found is None:
        log.info("%s has too few new images, or none: nothing to do.", dataset)
        return None
    version = found.champion.version
    base, clients = base_of(sagemaker, running.client("logs"), version), running.access.quick_clients()
    log.info("%s: %d new images since %s.", dataset, found.new_images, found.parent)
    log.info("It continues from %s. Accuracy of that model: %.4f.", found.champion, version.accuracy)
    check(found.conf, settings, s3=clients("s3"), parent=base, clients=clients)
    if hours := found.conf.retraining.deadline_hours:
        started = getattr(running.airflow["dag_run"], "start_date", None) or datetime.now(UTC)
        set_deadline(s3, settings.data_bucket, dataset, running.run, started + timedelta(hours=hours))
    return {
        "conf": found.conf.model_dump(mode="json"),
        "parent": found.parent,
        "champion": base.model_dump(mode="json"),
    }


def _asked() -> RunConf:
    """What the run was asked to change of the champion's run conf; raises RunConfError with all problems."""
    from include.retraining import check_retraining_conf
    from include.run_conf import RunConf, RunConfError

    asked, problems = RunConf.read_changes(asked_conf())
    hide_queries(asked, problems)
    if problems:
        raise RunConfError(problems)
    check_retraining_conf(asked)
    return asked


def _dataset_of(asked: RunConf) -> str:
    """The dataset that the run was asked to retrain, empty if it named none."""
    return asked.dataset.name if "name" in asked.dataset.model_fields_set else ""


@task.short_circuit
def has_gained(dataset: Any) -> dict[str, Any] | None:
    """The grown version; if no new image of it is for training, all are broken or held out, the training is skipped."""
    from include.datasets.version import DatasetVersion
    from include.retraining import why_not_trained

    version = DatasetVersion.model_validate(dataset)
    if why := why_not_trained(RunningTask.current().client("s3"), version):
        log.warning("%s", why)
        return None
    log.info("Of %s new images %s are for training.", version.newly_packed, version.new_training_images)
    return version.model_dump(mode="json")
