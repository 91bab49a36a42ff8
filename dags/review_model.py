"""A person approves or rejects a registered model, with a reason.

`dataset.name` and `model_version` name the version in the model registry; `decision` is to approve or reject it, for
this `reason`. The version gets that approval status. Its approval description says who decided, which is the user who
starts the run, and why.

**What it is for.** A model that was refused, has other classes than the champion, or was not approved in time
(`promotion.approval: person`) waits as PendingManualApproval. An approved one may be withdrawn. The decision can be
changed by another run.

**Nothing is deployed**, and no endpoint changes. `deploy_endpoint` deploys an approved version, even one with other
classes; its description says so. If a rejected version serves, the log says where.
"""

from __future__ import annotations

from airflow.sdk import DAG

from image_classification.defaults import DEFAULT_ARGS
from image_classification.form import form_params, run_conf_params
from image_classification.notify import announce_failure
from image_classification.tasks.review import review
from include.run_conf.endpoint import ReviewConf

with DAG(
    "review_model",
    description="A registered model -> approved or rejected by a person, with a reason",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=8,
    default_args=DEFAULT_ARGS,
    on_failure_callback=announce_failure,
    tags=["image-classification", "sagemaker", "stage"],
) as dag:
    review()

dag.params.update({**run_conf_params("dataset.name"), **form_params(ReviewConf)})
