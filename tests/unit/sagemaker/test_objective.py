from __future__ import annotations

import math

import pytest
from pydantic import BaseModel

from include.sagemaker.objective import Objective, Script, algorithm_kind, script_of

LOSS = Objective(metric="validation:loss", direction="Minimize")


class Document(BaseModel):
    objective: Objective


def test_an_objective_is_a_text_in_a_document_and_in_the_environment_of_a_job() -> None:
    document = Document(objective=LOSS)

    assert document.model_dump() == {"objective": "Minimize validation:loss"}
    assert Document.model_validate_json(document.model_dump_json()) == document
    assert Objective.of_job({"Environment": LOSS.as_environment}) == LOSS


def test_a_document_from_before_names_the_metric_alone() -> None:
    assert Document.model_validate({"objective": "validation:accuracy"}).objective == Objective.VALIDATION_ACCURACY


def test_a_job_that_names_no_objective_is_the_built_in_algorithms() -> None:
    assert Objective.of_job({"Environment": {"OMP_NUM_THREADS": "1"}}) == Objective.VALIDATION_ACCURACY
    assert Objective.of_search({}) == Objective.VALIDATION_ACCURACY


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ({"HyperParameters": {"num_layers": "20"}}, "builtin"),
        ({"HyperParameters": {"sagemaker_program": '"train.py"'}, "Environment": LOSS.as_environment}, "script"),
        ({"StaticHyperParameters": {"sagemaker_program": '"train.py"'}}, "script"),
        ({"HyperParameters": {"lr": "0.1"}, "Environment": LOSS.as_environment}, "container"),
    ],
)
def test_the_kind_of_algorithm_is_seen_of_a_job(description: dict[str, object], kind: str) -> None:
    assert algorithm_kind(description) == kind


@pytest.mark.parametrize("sent", ["HyperParameters", "StaticHyperParameters"])
def test_the_archive_of_a_script_is_that_of_its_channel_where_the_container_reaches_no_network(sent: str) -> None:
    code = {"ChannelName": "code", "DataSource": {"S3DataSource": {"S3Uri": "s3://code/1a2b/sourcedir.tar.gz"}}}
    inside = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": '"/opt/ml/input/data/code"'}
    downloaded = {**inside, "sagemaker_submit_directory": '"s3://code/3c4d/sourcedir.tar.gz"'}

    assert script_of({sent: inside, "InputDataConfig": [code]}) == Script("train.py", "s3://code/1a2b/sourcedir.tar.gz")
    assert script_of({sent: downloaded}) == Script("train.py", "s3://code/3c4d/sourcedir.tar.gz")
    assert script_of({sent: inside}) == Script("train.py", None)
    assert script_of({sent: {"lr": "0.1"}, "InputDataConfig": [code]}) is None


def test_an_accuracy_is_shown_as_a_share_and_a_loss_as_a_number() -> None:
    assert Objective.VALIDATION_ACCURACY.shown(0.9321) == "93.21%"
    assert LOSS.shown(1.23456) == "1.235"


def test_less_of_a_loss_is_better_and_what_is_not_a_number_is_the_worst() -> None:
    values = [0.5, None, 0.1, math.nan, 2.0]

    assert sorted(values, key=LOSS.distance)[:3] == [0.1, 0.5, 2.0]
    assert sorted(values, key=Objective.VALIDATION_ACCURACY.distance)[:3] == [2.0, 0.5, 0.1]
    assert LOSS.is_worse(0.5, 0.4)
    assert not LOSS.is_worse(0.4, 0.4)
    assert LOSS.is_worse(math.nan, 5.0)
