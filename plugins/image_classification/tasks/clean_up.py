"""Tasks that stop and delete what no task waits for and nothing uses any more, and report it in a table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import task

from image_classification.context import RunningTask, asked_conf

if TYPE_CHECKING:
    from include.clean_up import CleanUpConf
    from include.clean_up.findings import Finding

log = logging.getLogger(__name__)

RUN_IS_OVER = frozenset({"success", "failed"})


@dataclass(frozen=True)
class RunningAirflow:
    """The Airflow that runs the task, asked the way tasks ask it: through the execution API, not its database."""

    running: RunningTask

    def task_states(self, dag_id: str, run_id: str) -> Mapping[str, str | None] | None:
        """The states of a run's tasks by task id, mapped ones as `TASK_INDEX`; None for a run it does not know."""
        states = self.running.airflow["ti"].get_task_states(dag_id=dag_id, run_ids=[run_id])
        return states.get(run_id) or None

    def run_is_over(self, dag_id: str, run_id: str) -> bool | None:
        """Whether a run has ended; None for a run it does not know."""
        if self.task_states(dag_id, run_id) is None:
            return None
        return self.running.airflow["ti"].get_dagrun_state(dag_id, run_id) in RUN_IS_OVER


@task
def show_what_runs() -> list[dict[str, Any]]:
    """Show what runs now and what it costs an hour; nothing is stopped."""
    from include.clean_up.running import costs_table, running_machines
    from include.preflight.machines import PRICE_LIST_REGION, PriceList

    running = RunningTask.current()
    settings, clients = running.settings, running.access.quick_clients()
    prices = PriceList(own=settings.prices, region=settings.region, client=clients("pricing", PRICE_LIST_REGION))
    found = list(running_machines(running.client("sagemaker"), prices.if_known))
    for line in costs_table(found):
        log.info("%s", line)
    return [each.model_dump(mode="json") for each in found]


@task
def delete_endpoint() -> list[dict[str, str]]:
    """Delete the endpoint that a person named twice; without a name nothing is deleted."""
    from include.clean_up.running import endpoint_to_delete
    from include.deployment.hosting import Hosting

    conf, running = _asked(), RunningTask.current()
    wanted = [endpoint_to_delete(Hosting.of(running.client), conf.delete_endpoint)] if conf.delete_endpoint else []
    return _carry_out(wanted, "deleted", conf)


@task
def delete_failed_predictions() -> list[dict[str, str]]:
    """Delete the packed images that failed predictions have left."""
    from include.clean_up.stored_data import failed_predictions

    conf, running = _asked(), RunningTask.current()
    age = timedelta(hours=conf.uploads_older_than_hours)
    found = failed_predictions(running.client("s3"), running.settings.output_bucket, older_than=age)
    return _carry_out(found, "deleted", conf)


@task
def stop_orphaned_jobs() -> list[dict[str, str]]:
    """Stop the jobs of tasks that have ended, and so do not wait for them any more."""
    from include.clean_up.running import orphaned_jobs

    conf, running = _asked(), RunningTask.current()
    found = orphaned_jobs(
        running.client("sagemaker"),
        RunningAirflow(running),
        output_bucket=running.settings.output_bucket,
        unknown_runs=conf.unknown_runs,
    )
    return _carry_out(found, "stopped", conf)


@task
def delete_forgotten_endpoints() -> list[dict[str, str]]:
    """Take down endpoints whose run was to take them down and is over."""
    from include.clean_up.running import forgotten_endpoints
    from include.deployment.hosting import Hosting

    conf, running = _asked(), RunningTask.current()
    found = forgotten_endpoints(
        Hosting.of(running.client),
        RunningAirflow(running),
        output_bucket=running.settings.output_bucket,
        unknown_runs=conf.unknown_runs,
    )
    return _carry_out(found, "deleted", conf)


@task
def delete_unserved_models() -> list[dict[str, str]]:
    """Delete old endpoint configurations and models that nothing serves; artifacts and the registry stay."""
    from include.clean_up.running import unserved

    conf, running = _asked(), RunningTask.current()
    found = unserved(running.client("sagemaker"), older_than=timedelta(days=conf.unserved_older_than_days))
    return _carry_out(found, "deleted", conf)


@task
def abort_unfinished_uploads() -> list[dict[str, str]]:
    """Give up uploads that no build continues."""
    from include.clean_up.stored_data import unfinished_uploads

    conf, running = _asked(), RunningTask.current()
    age = timedelta(hours=conf.uploads_older_than_hours)
    found = unfinished_uploads(running.client("s3"), running.settings.data_bucket, older_than=age)
    return _carry_out(found, "given up", conf)


@task
def delete_old_versions() -> list[dict[str, str]]:
    """Delete dataset versions that nothing refers to, if a person asked for it."""
    from include.clean_up.stored_data import old_versions

    conf, running = _asked(), RunningTask.current()
    found = old_versions(
        running.client("s3"),
        running.client("sagemaker"),
        settings=running.settings,
        keep=conf.keep_versions,
        older_than=timedelta(days=conf.versions_older_than_days),
    )
    return _carry_out(found, "deleted", conf)


def _asked() -> CleanUpConf:
    from include.clean_up import CleanUpConf

    return CleanUpConf.from_conf(asked_conf())


def _carry_out(found: Iterable[Finding], done: str, conf: CleanUpConf) -> list[dict[str, str]]:
    from airflow.sdk.exceptions import AirflowException

    from include.clean_up.findings import carry_out, table

    outcomes = carry_out(found, done=done, dry_run=conf.dry_run)
    log.info("%s found.", len(outcomes) or "Nothing")
    for line in table(outcomes).splitlines() if outcomes else ():
        log.info("%s", line)
    refused = [outcome.name for outcome in outcomes if outcome.is_refused]
    if refused:
        raise AirflowException(f"AWS refused {len(refused)} of {len(outcomes)}: {', '.join(refused)}.")
    return [outcome.model_dump(mode="json") for outcome in outcomes]
