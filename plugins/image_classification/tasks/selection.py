"""Which of a run's models goes on, and how all its jobs compare."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.context import AwsAccess
from image_classification.deployment_settings import load_settings

if TYPE_CHECKING:
    from include.sagemaker.naming import Run
    from include.training.run_jobs import RunJob

log = logging.getLogger(__name__)

CONF, DATASET = "conf", "dataset"
"""What `select_best` hands on beside the model: the conf and the dataset version that it was trained with."""
NOTHING_PLANNED = "an earlier task failed: no job was started"
SHOWN = 20


@task(trigger_rule="all_done")
def select_best(
    conf: dict[str, Any],
    dataset: dict[str, Any],
    champion: dict[str, Any] | None,
    trials: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """The best of the run's models by the accuracy of what each job kept, among those `training.continue_with` names.

    Jobs that failed or were stopped are named and left out. Raises NoUsableJobError where no job is left.
    """
    from include.datasets.version import load
    from include.run_conf import RunConf
    from include.training import best_model
    from include.training.run_jobs import with_epochs

    if trials is None:
        raise AirflowSkipException(NOTHING_PLANNED)
    ti = get_current_context()["ti"]
    if champion:
        log.info("%s, the model of an earlier run, is trained further.", champion["job"])
        ti.xcom_push(key=CONF, value=conf)
        ti.xcom_push(key=DATASET, value=dataset)
        return champion
    settings = load_settings()
    access = AwsAccess.of(settings)
    jobs = with_epochs(access.client("logs"), _run_jobs(access, _run(ti), trials, settings.output_bucket))
    selected = best_model.select_best(jobs, RunConf.from_conf(conf))
    best = selected.best
    for place, job in enumerate(selected.ranked[:SHOWN], start=1):
        log.info("%d. %s %s: %.4f", place, _called(job), best.objective, job.result.accuracy)
    if len(selected.ranked) > SHOWN:
        log.info("... and %d more, in the leaderboard.", len(selected.ranked) - SHOWN)
    for skipped in selected.skipped[:SHOWN]:
        log.warning("Left out: %s: %s", skipped.job, skipped.reason)
    log.info("%s is selected: %s.", best.job, best.reason)
    documents = {trial["trial"]: trial for trial in trials}
    chosen = documents.get(selected.chosen.trial, {CONF: conf, DATASET: dataset})
    version = chosen[DATASET]
    if best.dataset_uri and best.dataset_uri != version["uri"]:
        # A cleared run finds its jobs again, which may have learned from what was the newest version then.
        version = load(access.client("s3"), best.dataset_uri).model_dump(mode="json")
    ti.xcom_push(key=CONF, value=chosen[CONF])
    ti.xcom_push(key=DATASET, value=version)
    return best.model_dump(mode="json")


@task(trigger_rule="all_done")
def compare_jobs(
    conf: dict[str, Any],
    champion: dict[str, Any] | None,
    trials: list[dict[str, Any]] | None,
    best: dict[str, Any] | None,
) -> str:
    """Write the leaderboard of all jobs of the run beside its report; also where some of them failed."""
    from include.evaluation.leaderboard import final_job, read_leaderboard
    from include.evaluation.leaderboard_page import write_leaderboard
    from include.run_conf import RunConf
    from include.sagemaker.job_results import describe_training_job
    from include.training.best_model import BestModel
    from include.training.run_jobs import RunJob, training_attempts

    if trials is None:
        raise AirflowSkipException(NOTHING_PLANNED)
    settings, run = load_settings(), _run(get_current_context()["ti"])
    access = AwsAccess.of(settings)
    sagemaker = access.client("sagemaker")
    jobs = [] if champion else _run_jobs(access, run, trials, settings.output_bucket)
    if champion:
        jobs.append(RunJob(describe_training_job(sagemaker, champion["job"]), "parent"))
    jobs += training_attempts(
        sagemaker, run, "training.train_incremental", "incremental", output_bucket=settings.output_bucket
    )
    chosen = BestModel.model_validate(best) if best else None
    final = final_job(jobs, chosen, trains_further=RunConf.from_conf(conf).incremental.enabled)
    leaderboard = read_leaderboard(access.client("logs"), jobs, best=chosen, final=final, prices=settings.prices)
    for line in leaderboard.first_epochs():
        log.info("%s", line)
    uri = write_leaderboard(access.client("s3"), leaderboard, settings=settings, run=run)
    log.info("%d jobs: %s", len(leaderboard.jobs), uri)
    return uri


def _run_jobs(access: AwsAccess, run: Run, trials: list[dict[str, Any]], bucket: str) -> list[RunJob]:
    """All jobs that a run started, those of failed attempts too, found by their names."""
    from include.training.run_jobs import training_attempts, tuning_attempts

    sagemaker = access.client("sagemaker")
    base = [
        job
        for index, trial in enumerate(trials)
        for job in training_attempts(
            sagemaker,
            run,
            "training.train",
            "base",
            output_bucket=bucket,
            map_index=index,
            trial=str(trial["trial"]),
        )
    ]
    tuned = training_attempts(sagemaker, run, "training.train_tuned", "tuned", output_bucket=bucket)
    return [*base, *tuning_attempts(sagemaker, run, "training.tune", output_bucket=bucket), *tuned]


def _run(ti: Any) -> Run:
    from include.sagemaker.naming import Run

    return Run(ti.dag_id, ti.run_id)


def _called(job: RunJob) -> str:
    return f"{job.result.name} ({job.part}{f' {job.trial}' if job.trial else ''})"
