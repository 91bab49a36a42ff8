"""Tasks that stop and delete what nobody waits for or uses any more, and say so in a table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import Param, get_current_context, task

from image_classification.context import AwsAccess
from image_classification.deployment_settings import load_settings

if TYPE_CHECKING:
    from include.clean_up.conf import CleanUpConf
    from include.clean_up.findings import Finding

log = logging.getLogger(__name__)

RUN_IS_OVER = frozenset({"success", "failed"})


class RunningAirflow:
    """The Airflow that runs the task, asked the way tasks ask it: through the execution API, not its database."""

    def task_states(self, dag_id: str, run_id: str) -> Mapping[str, str | None] | None:
        """The states of a run's tasks by task id, mapped ones as `TASK_INDEX`; None for a run it does not know."""
        states = get_current_context()["ti"].get_task_states(dag_id=dag_id, run_ids=[run_id])
        return states.get(run_id) or None

    def run_is_over(self, dag_id: str, run_id: str) -> bool | None:
        """Whether a run has ended; None for a run it does not know."""
        if self.task_states(dag_id, run_id) is None:
            return None
        return get_current_context()["ti"].get_dagrun_state(dag_id, run_id) in RUN_IS_OVER


def clean_up_params() -> dict[str, Param]:
    """The form's fields, those of CleanUpConf."""
    from include.clean_up.conf import CleanUpConf
    from include.run_conf import form_fields

    return {field.name: Param(field.default, **field.schema) for field in form_fields(CleanUpConf)}


@task
def stop_orphaned_jobs() -> list[dict[str, str]]:
    """Stop the jobs of tasks that have ended, and so wait for them no more."""
    from include.clean_up.jobs import orphaned_jobs

    conf, access = _conf_and_access()
    found = orphaned_jobs(
        access.client("sagemaker"),
        RunningAirflow(),
        output_bucket=load_settings().output_bucket,
        unknown_runs=conf.unknown_runs,
    )
    return _carry_out(found, "stopped", conf)


@task
def delete_forgotten_endpoints() -> list[dict[str, str]]:
    """Take down endpoints whose run was to take them down and is over."""
    from include.clean_up.endpoints import forgotten_endpoints

    conf, access = _conf_and_access()
    found = forgotten_endpoints(
        access.client("sagemaker"),
        RunningAirflow(),
        output_bucket=load_settings().output_bucket,
        unknown_runs=conf.unknown_runs,
    )
    return _carry_out(found, "deleted", conf)


@task
def delete_unserved_models() -> list[dict[str, str]]:
    """Delete old endpoint configurations and models that nothing serves; artifacts and the registry stay."""
    from include.clean_up.endpoints import unserved

    conf, access = _conf_and_access()
    found = unserved(access.client("sagemaker"), older_than=timedelta(days=conf.unserved_older_than_days))
    return _carry_out(found, "deleted", conf)


@task
def abort_unfinished_uploads() -> list[dict[str, str]]:
    """Give up uploads that no build goes on with."""
    from include.clean_up.datasets import unfinished_uploads

    conf, access = _conf_and_access()
    age = timedelta(hours=conf.uploads_older_than_hours)
    return _carry_out(
        unfinished_uploads(access.client("s3"), load_settings().data_bucket, older_than=age), "given up", conf
    )


@task
def delete_old_versions() -> list[dict[str, str]]:
    """Delete dataset versions that nothing refers to, where a person asked for it."""
    from include.clean_up.datasets import old_versions

    conf, access = _conf_and_access()
    found = old_versions(
        access.client("s3"),
        access.client("sagemaker"),
        settings=load_settings(),
        keep=conf.keep_versions,
        older_than=timedelta(days=conf.versions_older_than_days),
    )
    return _carry_out(found, "deleted", conf)


def _conf_and_access() -> tuple[CleanUpConf, AwsAccess]:
    from include.clean_up.conf import CleanUpConf

    return CleanUpConf.from_conf(get_current_context()["dag_run"].conf), AwsAccess.of(load_settings())


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
