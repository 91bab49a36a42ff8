"""What holds for every DAG."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow._shared.module_loading import find_path_from_directory
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from image_classification.form import run_conf_params
from image_classification.notify import announce_failure
from include.clean_up import CleanUpConf
from include.evaluation.prediction import LONGEST_TRANSFORM
from include.run_conf import RunConf, form_fields
from include.run_conf.endpoint import ModelConf, PredictionConf, ReviewConf
from tests.support.airflow_home import ROOT
from tests.unit.docs.commands import shown

DAG_IDS = [
    "build_dataset",
    "clean_up",
    "deploy_endpoint",
    "evaluate_endpoint",
    "image_classification",
    "predict_images",
    "publish_training_image",
    "retrain_on_new_images",
    "review_model",
    "train_model",
]
TAGS = {"image-classification", "sagemaker", "chain", "stage"}
LINKS = {
    "dataset.publish": {"Dataset page", "Dataset version in S3"},
    "use_version": {"Dataset page", "Dataset version in S3"},
    "start_retraining": {"Triggered DAG"},
    "training.train": {"SageMaker console", "CloudWatch logs", "Jobs of this run", "Reports", "Model in S3"},
    "training.tune": {"SageMaker console", "CloudWatch logs", "Jobs of this run", "Reports", "Model in S3"},
    "training.train_tuned": {"SageMaker console", "CloudWatch logs", "Jobs of this run", "Reports", "Model in S3"},
    "training.train_incremental": {
        "SageMaker console",
        "CloudWatch logs",
        "Jobs of this run",
        "Reports",
        "Model in S3",
    },
    "training.compare_jobs": {"Leaderboard"},
    "evaluation.transform_test_images": {"SageMaker console", "CloudWatch logs", "Reports", "Answers in S3"},
    "evaluation.transform_by_champion": {"SageMaker console", "CloudWatch logs", "Reports", "Answers in S3"},
    "evaluation.evaluate": {"Report"},
    "registration.register_model": {"Report of the model", "Model in S3"},
    "registration.approve_model": {"Report of the model", "Model in S3"},
    "review_model": {"Report of the model", "Model in S3"},
    "deployment.deploy": {"SageMaker console", "CloudWatch logs", "Reports"},
    "prediction.transform_images": {"SageMaker console", "CloudWatch logs", "Answers in S3"},
    "prediction.write_predictions": {"Predictions", "Predictions in S3"},
    "measure_endpoint": {"Report", "Report of the registered version"},
    "summarise": {"Summary", "Report", "Reports"},
}
"""The links of the tasks that make something a person looks at."""

READ_IN_PARTS = {"choose_model", "find_new_images", "training.select_best"}
"""Of what these tasks return Airflow also stores each entry: by default it does so for all tasks that return a dict."""

HEAVY = ("boto3", "botocore", "aiobotocore", "sagemaker", "numpy", "cv2", "pyarrow", "sklearn", "obstore", "mxnet")
OWN_FIELDS = {
    "deploy_endpoint": {*ModelConf.model_fields},
    "predict_images": {*PredictionConf.model_fields},
    "review_model": {*ReviewConf.model_fields},
}


@pytest.fixture
def dag(dag_bag: DagBag, request: pytest.FixtureRequest) -> DAG:
    return dag_bag.dags[request.param]


every_dag = pytest.mark.parametrize("dag", DAG_IDS, indirect=True)
every_dag_with_a_run_conf = pytest.mark.parametrize(
    "dag", [name for name in DAG_IDS if name not in ("clean_up", "publish_training_image")], indirect=True
)


def test_every_dag_file_is_read_without_an_error(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert sorted(dag_bag.dags) == DAG_IDS


def test_no_dag_file_imports_what_only_tasks_need(dag_files: list[Path]) -> None:
    names = [f"dags.{path.stem}" for path in dag_files]
    program = f"import sys, {', '.join(names)}; print([name for name in {HEAVY} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@every_dag
def test_a_dag_says_what_it_does_and_who_owns_it(dag: DAG) -> None:
    assert dag.doc_md
    assert dag.description
    assert dag.tags <= TAGS
    assert {task.owner for task in dag.tasks} == {"machine-learning"}
    assert dag.catchup is False
    assert dag.max_active_runs <= 8
    assert dag.on_failure_callback is announce_failure


@every_dag
def test_a_document_is_handed_on_in_one_piece_unless_other_tasks_read_its_parts(dag: DAG) -> None:
    in_parts = {task.task_id for task in dag.tasks if getattr(task, "multiple_outputs", False)}
    assert in_parts == READ_IN_PARTS & {*dag.task_ids}


@every_dag
def test_what_may_fail_for_a_moment_is_tried_again_further_and_further_apart(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.retries > 0
        assert task.retry_exponential_backoff > 1
        assert task.retry_policy is not None


@every_dag
def test_no_log_shows_what_a_task_hands_on(dag: DAG) -> None:
    """Documents are large, and what was asked may name addresses that are somebody's secret."""
    for task in dag.tasks:
        given = getattr(task, "partial_kwargs", None) or vars(task)
        assert given.get("show_return_value_in_logs") in (False, None), task.task_id
        if "python_callable" in given or getattr(task, "python_callable", None):
            assert given["show_return_value_in_logs"] is False, task.task_id


@every_dag
def test_a_dag_survives_its_way_into_the_database(dag: DAG) -> None:
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))

    assert {task.task_id for task in stored.tasks} == {task.task_id for task in dag.tasks}
    assert {task.task_id: {*task.params} for task in dag.tasks if task.params} == (
        {"registration.approve_model": {"reason"}} if dag.has_task("registration.approve_model") else {}
    ), "what a person is asked while the run waits, and no field of the form"


@every_dag_with_a_run_conf
def test_every_default_of_the_form_is_valid_and_makes_a_run_conf(dag: DAG) -> None:
    dag.params.validate()
    own = OWN_FIELDS.get(dag.dag_id, set())

    RunConf.from_conf({name: value for name, value in dag.params.dump().items() if name not in own})


@every_dag_with_a_run_conf
def test_a_conf_may_come_dotted_as_the_form_sends_it_or_nested(dag: DAG) -> None:
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    dotted, nested = {"dataset.name": "pets"}, {"dataset": {"name": "pets"}}

    assert stored.params.deep_merge(dotted).dump().get("dataset.name") == "pets"
    stored.params.deep_merge(nested).validate()
    assert RunConf.from_conf(dotted) == RunConf.from_conf(nested)


def test_the_form_of_the_clean_up_starts_with_what_is_safe(dag_bag: DagBag) -> None:
    params = dag_bag.dags["clean_up"].params

    params.validate()
    assert CleanUpConf.from_conf(params.dump()) == CleanUpConf()
    assert params.get_param("keep_versions").schema["type"] == ["null", "string"]


def test_the_form_of_the_whole_chain_is_the_run_conf(dag_bag: DagBag) -> None:
    params = dag_bag.dags["image_classification"].params

    assert [*params] == [field.name for field in form_fields(RunConf)]
    assert params.get_param("endpoint.keep").schema["section"] == "Endpoint"


def test_a_form_that_changes_what_is_there_starts_empty(dag_bag: DagBag) -> None:
    retraining, deployment = (dag_bag.dags[name].params for name in ("retrain_on_new_images", "deploy_endpoint"))

    assert {*retraining.dump().values()} == {None}
    asked = {field.name for field in form_fields(RunConf) if field.name.startswith("endpoint.")} - {"endpoint.deploy"}
    assert {name: value for name, value in deployment.dump().items() if name.startswith("endpoint.")} == (
        dict.fromkeys(asked)
    )
    assert retraining.get_param("endpoint.keep").schema["values_display"]["null"] == "not changed"
    optimizers = retraining.get_param("incremental.hyperparameters.optimizer").schema["enum"]
    assert (optimizers[0], optimizers.count(None)) == (None, 1)


def test_a_form_may_hold_some_sections_and_fields() -> None:
    assert {name.partition(".")[0] for name in run_conf_params("endpoint", "dataset.name")} == {"endpoint", "dataset"}
    assert [*run_conf_params("dataset.name")] == ["dataset.name"]


def test_the_chain_runs_in_the_documented_order(dag_bag: DagBag) -> None:
    order = [task.task_id for task in dag_bag.dags["image_classification"].topological_sort()]

    assert order == [
        "check_conf",
        "dataset.list_archives",
        "dataset.unpack",
        "dataset.plan",
        "dataset.pack_shard",
        "dataset.publish",
        "training.find_start",
        "training.plan_trials",
        "training.train",
        "training.tune",
        "training.train_tuned",
        "training.select_best",
        "training.train_incremental",
        "training.compare_jobs",
        "evaluation.transform_test_images",
        "evaluation.find_champion",
        "evaluation.transform_by_champion",
        "evaluation.evaluate",
        "registration.register_model",
        "registration.approve_model",
        "deployment.deploy",
        "deployment.predict",
        "deployment.tear_down",
        "summarise",
    ]


@pytest.mark.parametrize("dag_id", ["image_classification", "train_model"])
def test_what_comes_after_the_search_for_an_earlier_model_runs_also_if_that_was_left_out(
    dag_bag: DagBag, dag_id: str
) -> None:
    dag = dag_bag.dags[dag_id]
    after = dag.get_task("training.find_start").downstream_task_ids

    assert {"training.plan_trials", "training.select_best"} <= after
    assert {dag.get_task(task).trigger_rule.value for task in after} <= {"none_failed", "all_done"}


def test_a_batch_transform_ends_when_the_bound_of_its_cost_has_it(dag_bag: DagBag) -> None:
    transforms = [task for dag in dag_bag.dags.values() for task in dag.tasks if ".transform_" in task.task_id]

    assert {task.task_id for task in transforms} == {
        "evaluation.transform_test_images",
        "evaluation.transform_by_champion",
        "prediction.transform_images",
    }
    assert {task.execution_timeout for task in transforms} == {LONGEST_TRANSFORM}


def test_the_page_of_the_dags_is_what_the_command_prints() -> None:
    (written_so,) = shown("python tools/dag_pages.py")
    command = [sys.executable, *written_so.words[1:]]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}
    printed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    written = (ROOT / "docs/reference/dags.md").read_text()
    assert written == printed, f"run PYTHONPATH=.:plugins {' '.join(command[1:])} > docs/reference/dags.md"


def test_airflow_imports_only_the_plugins_of_the_plugins_folder_by_itself() -> None:
    found = [path for path in find_path_from_directory(ROOT / "plugins", ".airflowignore") if path.endswith(".py")]

    assert sorted(Path(path).name for path in found) == ["model_pages.py", "run_notes.py"]


def retraining(monkeypatch: pytest.MonkeyPatch, variable: str) -> Any:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", variable)
    bag = DagBag(ROOT / "dags/retrain_on_new_images.py")
    assert bag.import_errors == {}
    return DagSerialization.from_dict(DagSerialization.to_dict(bag.dags["retrain_on_new_images"]))


def test_new_images_start_a_retraining_where_the_settings_name_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    dag = retraining(monkeypatch, '{"queue_url": "http://127.0.0.1:1/q", "region": "eu-west-1"}')

    (asset,) = [asset for _, asset in dag.timetable.asset_condition.iter_assets()]
    (watcher,) = asset.watchers

    assert watcher.trigger["classpath"].endswith("NewImagesTrigger")
    assert watcher.trigger["kwargs"]["queue_url"] == "http://127.0.0.1:1/q"


@pytest.mark.parametrize("variable", ["", "no json", '{"queue_url": ""}'])
def test_without_a_queue_the_retraining_keeps_its_schedule(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    assert retraining(monkeypatch, variable).timetable.summary == "17 * * * *"


def test_models_and_endpoints_are_announced_as_assets_beside_the_dataset(dag_bag: DagBag) -> None:
    announced = {
        task.task_id: [asset.name for asset in task.outlets]
        for dag_id in ("image_classification", "review_model")
        for task in dag_bag.dags[dag_id].tasks
        if task.outlets
    }
    assert announced == {
        "dataset.publish": ["image-dataset-version"],
        "registration.register_model": ["image-model"],
        "registration.approve_model": ["image-model-decision"],
        "review_model": ["image-model"],
        "deployment.deploy": ["image-endpoint"],
    }


@every_dag
def test_every_task_that_makes_something_leads_to_it(dag: DAG) -> None:
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))

    kept = {task.task_id: dict(task.operator_extra_link_dict) for task in stored.tasks}
    assert {name: set(links) for name, links in kept.items() if links} == {
        name: links for name, links in LINKS.items() if name in kept
    }
    for task in dag.tasks:  # the copies of a mapped task are made of its class
        assert not task.is_mapped or task.operator_class.operator_extra_links == task.operator_extra_links
    for links in kept.values():
        places = [link.xcom_key for link in links.values()]
        assert len({*places}) == len(places)
