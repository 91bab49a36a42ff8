"""Stops and deletes what no task waits for and nothing uses any more, with a table in each task's log.

`show_what_runs` lists endpoints and running jobs with their machines and what they cost an hour: by the setting
`prices`, else by AWS's price list.

- **Jobs that no task waits for.** When a waiting task is marked or cleared, Airflow asks its trigger to stop the job.
  It does not if the trigger has not started yet, or if a run is deleted. A job that runs although its
  task has ended is stopped here. A job that a task may still wait for is never stopped: its name must follow from its
  tags, and Airflow must report twice that its task is over. Jobs of runs that this Airflow does not know are listed,
  and stopped only if `unknown_runs` is on.
- **Endpoints** of runs with `endpoint.keep` off that ended before they could delete them.
- **Endpoint configurations and models** that nothing serves, older than `unserved_older_than_days`. Artifacts in S3 and
  the model registry are never touched; a run that needs a model again makes it again.
- **Unfinished uploads** of builds that died, and **packed images** that a failed run of `predict_images` has left,
  older than `uploads_older_than_hours`: S3 bills them.
- **Dataset versions**, only if `keep_versions` says how many of each dataset to keep, and older than
  `versions_older_than_days`. Versions of registered models, of running jobs, and the parents of all that stay are kept
  too.
- **One endpoint**, only if `delete_endpoint` names it and `confirm_deletion` repeats the name: it is deleted although
  it serves, with its configurations, models and alarms.

Jobs that write to another output bucket, and endpoints whose models are in one, belong to another installation in the
same account and are never touched.

If AWS refuses to stop or delete something, the task fails after the rest is done.

Runs every hour. **Check first** with `dry_run`: it shows what would be done.
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import form_params
from image_classification.notify import announce_failure
from image_classification.tasks.clean_up import (
    abort_unfinished_uploads,
    delete_endpoint,
    delete_failed_predictions,
    delete_forgotten_endpoints,
    delete_old_versions,
    delete_unserved_models,
    show_what_runs,
    stop_orphaned_jobs,
)
from include.clean_up import CleanUpConf

with DAG(
    "clean_up",
    description="What no task waits for and nothing uses any more is stopped and deleted",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("41 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "sagemaker"],
) as dag:
    stop_orphaned_jobs()
    delete_forgotten_endpoints() >> delete_unserved_models()
    show_what_runs()
    delete_endpoint()
    abort_unfinished_uploads()
    delete_failed_predictions()
    delete_old_versions()

dag.params.update(form_params(CleanUpConf))
