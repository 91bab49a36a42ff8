"""What nobody waits for or uses any more: stopped, deleted, and told in a table in each task's log.

- **Jobs nobody waits for.** Airflow tells a waiting task's trigger to stop its job when the task is marked or cleared,
  but not in the moment before the trigger has started, and not when a run is deleted. Jobs that run though their task
  has ended are stopped here. A job that may still be waited for never is: its name must follow from its tags, and
  Airflow must say, twice, that its task is over. Jobs of runs that this Airflow does not know are told and left,
  unless `unknown_runs` is on.
- **Endpoints** of runs with `endpoint.keep` off that ended before they could take them down.
- **Endpoint configurations and models** that nothing serves, older than `unserved_older_than_days`. Artifacts in S3 and
  the model registry are never touched; a run that needs a model again makes it again.
- **Unfinished uploads** of builds that died, older than `uploads_older_than_hours`: S3 bills them.
- **Dataset versions**, only where `keep_versions` says how many of each dataset to keep, and older than
  `versions_older_than_days`. Versions of registered models, of running jobs, and the parents of all that stay are kept
  too.

Jobs that write to another output bucket, and endpoints whose models lie in one, are another installation's in the same
account and are never touched.

What AWS refuses to stop or delete fails its task, after the rest is done.

Runs every hour. **Look first** with `dry_run`: it tells what would be done.
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import form_params
from image_classification.tasks.clean_up import (
    abort_unfinished_uploads,
    delete_forgotten_endpoints,
    delete_old_versions,
    delete_unserved_models,
    stop_orphaned_jobs,
)
from include.clean_up.conf import CleanUpConf

with DAG(
    "clean_up",
    description="What nobody waits for or uses any more is stopped and deleted",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("41 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=["image-classification", "sagemaker"],
) as dag:
    stop_orphaned_jobs()
    delete_forgotten_endpoints() >> delete_unserved_models()
    abort_unfinished_uploads()
    delete_old_versions()

dag.params.update(form_params(CleanUpConf))
