"""A dataset version -> the final model of a run: trained or tuned, the best selected, trained further."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from image_classification.context import RunningTask
from image_classification.links import WrittenLink, s3_page, with_links
from image_classification.operators.deciding import deciding_task
from image_classification.operators.sagemaker_job import TrainingJobOperator, TuningJobOperator
from image_classification.stages.dataset import finished_version

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.preflight import Stage
    from include.problems import Problem
    from include.run_conf import RunConf
    from include.training.best_model import BestModel
    from include.training.run_jobs import RunJob

log = logging.getLogger(__name__)

STAGE = "training"
TUNE, TRAIN_TUNED, TRAIN_INCREMENTAL = "tune", "train_tuned", "train_incremental"
TUNE_THEN_TRAIN = "tune_then_train"

TRAINING_ALONE: tuple[Stage, ...] = ("training",)

BASE_TRIAL = "base"
"""How the one base job is called if the run conf names no trials."""

CONF, DATASET = "conf", "dataset"
"""What `select_best` passes on beside the model: the conf and the dataset version that it was trained with."""

RETRAINS = "retrains"
"""Input of the incremental training: whether it trains a dataset's champion further, which one run does at a time."""
NOTHING_PLANNED = "an earlier task failed: no job was started"
SHOWN = 20


@task_group(group_id=STAGE, tooltip="A dataset version -> the final model")
def training(conf: Any, dataset: Any, champion: Any = None) -> Any:
    """The training stage: returns its tasks' documents by name, and what the best model was trained with.

    A skipped task's document is None; `conf` and `dataset` are those of the best model's trial. With a `champion` (the
    document of a BestModel) nothing is trained from scratch: it is the base of the incremental training. Without it,
    the run conf may name an earlier model that is.
    """
    retrains = champion is not None
    plan: Any = plan_trials
    if champion is None:
        champion = find_start(conf, dataset)
        plan = plan_trials.override(trigger_rule="none_failed")
    trials = plan(conf, dataset, champion)
    train = TrainingJobOperator.partial(
        task_id="train", request=base_training, map_index_template="{{ task.inputs['trial'] }}"
    ).expand(inputs=trials)
    tune = TuningJobOperator(task_id=TUNE, request=tuning, inputs={"conf": conf, "dataset": dataset})
    tuned = TrainingJobOperator(
        task_id=TRAIN_TUNED, request=tuned_training, inputs={"conf": conf, "dataset": dataset, "tune": tune.output}
    )
    best: Any = select_best(conf, dataset, champion, trials)
    incremental = TrainingJobOperator(
        task_id=TRAIN_INCREMENTAL,
        request=incremental_training,
        inputs={"conf": best[CONF], "dataset": best[DATASET], "best": best, RETRAINS: retrains},
        trigger_rule="none_failed",
    )
    page = WrittenLink("Leaderboard", lambda uri: uri.replace("leaderboard.json", "leaderboard.html"))
    leaderboard: Any = with_links(compare_jobs(conf, champion, trials, best), page)
    trials >> [tune, tuned, incremental]
    [train, tune, tuned] >> best
    incremental >> leaderboard
    return {
        "conf": best[CONF],
        "dataset": best[DATASET],
        "select_best": best,
        "train_incremental": incremental.output,
        "leaderboard": leaderboard,
    }


@task
def find_start(conf: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any] | None:
    """The earlier model that `incremental.from` names; None if the run trains further what it trains itself.

    That it fits the dataset version is checked here, before anything costs money.
    """
    from include.datasets.version import DatasetVersion
    from include.preflight import PreflightError
    from include.promotion.champion import starting_model
    from include.run_conf import RunConf

    run_conf, version = RunConf.from_conf(conf), DatasetVersion.model_validate(dataset)
    if run_conf.training.mode != "none":
        return None
    running = RunningTask.current()
    sagemaker, logs, s3 = running.client("sagemaker"), running.client("logs"), running.client("s3")
    start = starting_model(sagemaker, logs, s3, run_conf, settings=running.settings, dataset=version)
    problems = dict.fromkeys(
        [*_label_changes(running, run_conf, version), *_problems(running, run_conf, version, parent=start)]
    )
    if problems:
        raise PreflightError(problems)
    log.info("The run trains %s further: %s", start.job, start.artifact)
    return start.model_dump(mode="json")


@deciding_task
def plan_trials(conf: dict[str, Any], dataset: dict[str, Any], champion: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The base jobs to train, each with its name, conf and dataset version; none if the run only tunes.

    What the run does not need of the search is left out: the tuning job, the full job with what it found, or both.
    Everything that only the dataset versions show is checked here, for all jobs at once and before any costs money.
    """
    from include.datasets.version import DatasetVersion
    from include.preflight import PreflightError
    from include.run_conf import RunConf

    running = RunningTask.current()
    if champion:
        log.info("The run trains %s further: nothing is trained from scratch.", champion["job"])
        running.leave_out(f"{STAGE}.{TUNE}", f"{STAGE}.{TRAIN_TUNED}")
        return []
    run_conf, version = RunConf.from_conf(conf), DatasetVersion.model_validate(dataset)
    jobs = _base_jobs(running, run_conf, version)
    problems: dict[Problem, None] = {}
    if run_conf.training.tunes:
        problems |= dict.fromkeys(_problems(running, run_conf, version, with_services=True))
    for name, job_conf, learned_from in jobs:
        changes = _label_changes(running, job_conf, learned_from)
        for problem in (*changes, *_problems(running, job_conf, learned_from)):
            field = f"{problem.field} of trial {name}" if run_conf.training.trials else problem.field
            problems[problem.model_copy(update={"field": field})] = None
    if problems:
        raise PreflightError(problems)
    for name, _, learned_from in jobs:
        log.info("Trial %s learns from %s/%s.", name, learned_from.name, learned_from.version)
    needs = {TUNE: run_conf.training.tunes, TRAIN_TUNED: run_conf.training.mode == TUNE_THEN_TRAIN}
    running.leave_out(*(f"{STAGE}.{name}" for name, needed in needs.items() if not needed))
    return [
        {"trial": name, "conf": job_conf.model_dump(mode="json"), "dataset": learned_from.model_dump(mode="json")}
        for name, job_conf, learned_from in jobs
    ]


def base_training(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The training job of one trial, from scratch."""
    from include.algorithms.kinds import algorithm_of
    from include.training.job_requests import training_request

    conf, dataset = _conf_and_dataset(inputs)
    algorithm = algorithm_of(conf, running.settings).prepared(running.client("s3"), dataset)
    return training_request(name, algorithm=algorithm, dataset=dataset, run=running.run)


def tuning(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The tuning job; skipped if the run only trains. A run that trains a champion further leaves the task out."""
    from include.algorithms.kinds import algorithm_of
    from include.training.job_requests import tuning_request
    from include.training.warm_start import warm_start

    conf, dataset = _conf_and_dataset(inputs)
    if not conf.training.tunes:
        raise AirflowSkipException(f"training.mode is {conf.training.mode}")
    algorithm = algorithm_of(conf, running.settings).prepared(running.client("s3"), dataset)
    request = tuning_request(name, algorithm=algorithm, dataset=dataset, run=running.run)
    learned = warm_start(running.client("sagemaker"), conf, dataset, request)
    return learned.added_to(request) if learned else request


def tuned_training(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The full training job with the best hyperparameters of the tuning job."""
    from include.algorithms.kinds import algorithm_of
    from include.sagemaker.job_results import JobResult
    from include.training.best_model import NoUsableJobError
    from include.training.job_requests import training_request

    conf, dataset = _conf_and_dataset(inputs)
    if conf.training.mode != TUNE_THEN_TRAIN:
        raise AirflowSkipException(f"training.mode is {conf.training.mode}")
    tuning_job = JobResult.model_validate(inputs["tune"])
    if not tuning_job.best_job:
        raise NoUsableJobError(
            f"No job of {tuning_job.name} reached an objective: there are no hyperparameters to train with."
        )
    found = tuning_job.hyperparameters
    shown = ", ".join(f"{name} {value}" for name, value in sorted(found.items()))
    log.info("A full job with the hyperparameters of %s: %s.", tuning_job.best_job, shown)
    algorithm = algorithm_of(conf, running.settings).prepared(running.client("s3"), dataset)
    return training_request(name, algorithm=algorithm, dataset=dataset, run=running.run, tuned=found)


def incremental_training(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The training job that trains the best model of the run further, or the champion.

    The task fails if another run trains the champion further by now: a person may clear a run that has ended.
    """
    from include.algorithms.kinds import algorithm_of
    from include.training.best_model import BestModel
    from include.training.job_requests import incremental_request

    conf, dataset = _conf_and_dataset(inputs)
    if not conf.incremental.enabled:
        raise AirflowSkipException("incremental.enabled is off")
    if inputs.get(RETRAINS):
        _require_turn(running, dataset.name)
    base, replay = BestModel.model_validate(inputs["best"]), None
    if conf.incremental.replay < 1:
        from include.datasets.replay import choose_replayed

        share = conf.incremental.replay
        replay = choose_replayed(running.client("s3"), dataset, learned=base.dataset_uri, share=share)
    _check(running, conf, replay.as_version if replay else dataset, parent=base)
    if replay:
        replay.write(running.client("s3"))
    algorithm = algorithm_of(conf, running.settings).prepared(running.client("s3"), dataset, replay)
    return incremental_request(name, algorithm=algorithm, dataset=dataset, run=running.run, base=base, replay=replay)


def _require_turn(running: RunningTask, dataset: str) -> None:
    from include.retraining import take_turn

    holder = take_turn(running.client("s3"), running.settings.data_bucket, dataset, running.run, running.run_state)
    if holder != running.run:
        raise AirflowFailException(
            f"{dataset}: {holder.run_id} of {holder.dag_id} trains the champion further and has not ended. Clear this "
            "task again when it has, or leave it: the other run has the newer images."
        )


@deciding_task(trigger_rule="all_done", multiple_outputs=True)
def select_best(
    conf: dict[str, Any],
    dataset: dict[str, Any],
    champion: dict[str, Any] | None,
    trials: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """The best of the run's models by the accuracy of what each job kept, among those `training.continue_with` names.

    Jobs that failed or were stopped are named and left out. Raises NoUsableJobError if no job is left. The incremental
    training is left out if `incremental.enabled` is off.
    """
    from include.datasets.version import load
    from include.run_conf import RunConf
    from include.training import best_model
    from include.training.best_model import holds_files
    from include.training.run_jobs import with_epochs

    if trials is None:
        raise AirflowSkipException(NOTHING_PLANNED)
    running = RunningTask.current()
    if champion:
        log.info("%s, the model of an earlier run, is trained further.", champion["job"])
        _hand_on_used(running, conf, dataset)
        return champion
    jobs = with_epochs(running.client("logs"), _run_jobs(running, trials))
    s3 = running.client("s3")
    selected = best_model.select_best(jobs, RunConf.from_conf(conf), holds_model=lambda uri: holds_files(s3, uri))
    best = selected.best
    for place, job in enumerate(selected.ranked[:SHOWN], start=1):
        log.info("%d. %s %s: %.4f", place, _called(job), best.objective.metric, job.result.value)
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
        version = load(s3, best.dataset_uri).model_dump(mode="json")
    _hand_on_used(running, chosen[CONF], version)
    return best.model_dump(mode="json")


def _hand_on_used(running: RunningTask, conf: dict[str, Any], dataset: dict[str, Any]) -> None:
    """Pass on the conf and the dataset version of the selected model, with which the run continues."""
    from include.run_conf import RunConf

    running.hand_on(CONF, conf)
    running.hand_on(DATASET, dataset)
    if not RunConf.from_conf(conf).incremental.enabled:
        running.leave_out(f"{STAGE}.{TRAIN_INCREMENTAL}")


@task(trigger_rule="all_done")
def compare_jobs(
    conf: dict[str, Any],
    champion: dict[str, Any] | None,
    trials: list[dict[str, Any]] | None,
    best: dict[str, Any] | None,
) -> str:
    """Write the leaderboard of all jobs of the run beside its report, even if some of them failed."""
    from include.evaluation.leaderboard import DOCUMENT, PAGE, final_job, read_leaderboard, write_leaderboard
    from include.run_conf import RunConf
    from include.sagemaker.job_results import describe_training_job
    from include.training.best_model import BestModel
    from include.training.run_jobs import RunJob, epochs_of_attempt, training_attempts, with_epochs

    if trials is None:
        raise AirflowSkipException(NOTHING_PLANNED)
    running = RunningTask.current()
    settings, run, sagemaker = running.settings, running.run, running.client("sagemaker")
    jobs = [] if champion else _run_jobs(running, trials)
    if champion and not champion["job"].startswith("s3://"):
        epochs = epochs_of_attempt(sagemaker, running.client("logs"), champion["job"])
        parent = describe_training_job(sagemaker, champion["job"]).with_epochs(epochs)
        jobs.append(RunJob(parent, "parent", epochs=tuple(epochs)))
    jobs += training_attempts(
        sagemaker, run, "training.train_incremental", "incremental", output_bucket=settings.output_bucket
    )
    jobs = with_epochs(running.client("logs"), jobs)
    chosen = BestModel.model_validate(best) if best else None
    final = final_job(jobs, chosen, trains_further=RunConf.from_conf(conf).incremental.enabled)
    leaderboard = read_leaderboard(running.client("logs"), jobs, best=chosen, final=final, prices=settings.prices)
    for line in leaderboard.first_epochs():
        log.info("%s", line)
    if leaderboard.kept_base:
        log.warning("%s", leaderboard.kept_base)
    uri = write_leaderboard(running.client("s3"), leaderboard, settings=settings, run=run)
    log.info("%d jobs: %s", len(leaderboard.jobs), s3_page(settings, uri.replace(DOCUMENT, PAGE)))
    return uri


def base_model(models: dict[str, Any]) -> BestModel:
    """The best model that was trained from scratch, or the champion; `models` is what the stage returned."""
    from include.training.best_model import BestModel

    return BestModel.model_validate(models["select_best"])


def final_model(models: dict[str, Any]) -> BestModel:
    """The incremental model if there is one and it is not worse on the validation images, else the base model."""
    from include.sagemaker.job_results import JobResult
    from include.training.best_model import better_of

    base = base_model(models)
    if not models["train_incremental"]:
        return base
    return better_of(base, JobResult.model_validate(models["train_incremental"]))


def _base_jobs(
    running: RunningTask, conf: RunConf, version: DatasetVersion
) -> list[tuple[str, RunConf, DatasetVersion]]:
    """Name, conf and dataset version of every base job."""
    from include.datasets.version import DatasetVersion

    if conf.training.mode not in ("train", "both"):
        return []
    jobs = []
    for trial in conf.training.trials:
        job_conf, learned_from = conf.of_trial(trial), version
        if trial.dataset:
            learned_from = DatasetVersion.model_validate(finished_version(running, job_conf.model_dump(mode="json")))
            pinned = job_conf.dataset.model_copy(update={"version": learned_from.version})
            job_conf = job_conf.model_copy(update={"dataset": pinned})
        jobs.append((trial.name, job_conf, learned_from))
    return jobs or [(BASE_TRIAL, conf, version)]


def _conf_and_dataset(inputs: Mapping[str, Any]) -> tuple[RunConf, DatasetVersion]:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf

    return RunConf.from_conf(inputs["conf"]), DatasetVersion.model_validate(inputs["dataset"])


def _problems(
    running: RunningTask,
    conf: RunConf,
    dataset: DatasetVersion,
    *,
    parent: BestModel | None = None,
    with_services: bool = False,
) -> tuple[Problem, ...]:
    from include.preflight import PreflightError

    try:
        _check(running, conf, dataset, parent=parent, with_services=with_services)
    except PreflightError as error:
        return error.problems
    return ()


def _label_changes(running: RunningTask, conf: RunConf, dataset: DatasetVersion) -> tuple[Problem, ...]:
    """What a deployment would replace although it has other classes; `check_conf` may not have known the run's."""
    from include.preflight.checking import label_change_problems

    clients = running.access.quick_clients()
    sagemaker = clients("sagemaker")
    return label_change_problems(conf, running.settings, s3=clients("s3"), sagemaker=sagemaker, dataset=dataset)


def _check(
    running: RunningTask,
    conf: RunConf,
    dataset: DatasetVersion,
    *,
    parent: BestModel | None = None,
    with_services: bool = False,
) -> None:
    """What can only be known with the dataset version, before the job costs money.

    A search asks the services again: what it learned from may have been made of other data.
    """
    from include.preflight.checking import check

    clients = running.access.quick_clients()
    check(
        conf,
        running.settings,
        s3=clients("s3"),
        dataset=dataset,
        parent=parent,
        clients=clients if with_services else None,
        stages=TRAINING_ALONE,
    )


def _run_jobs(running: RunningTask, trials: list[dict[str, Any]]) -> list[RunJob]:
    """All jobs that a run started, those of failed attempts too, found by their names."""
    from include.training.run_jobs import training_attempts, tuning_attempts

    sagemaker, run, bucket = running.client("sagemaker"), running.run, running.settings.output_bucket
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


def _called(job: RunJob) -> str:
    trial = f" {job.trial}" if job.trial not in ("", job.part) else ""
    return f"{job.result.name} ({job.part}{trial})"
