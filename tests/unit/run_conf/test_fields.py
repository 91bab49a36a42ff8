from __future__ import annotations

from itertools import groupby

import pytest
from jsonschema import validate

from include.clean_up.conf import CleanUpConf
from include.run_conf import FormField, RunConf, form_fields
from include.run_conf.sections import ModelConf


def every_form_field() -> list[FormField]:
    return [field for model in (RunConf, ModelConf, CleanUpConf) for field in form_fields(model)]


FIELDS = {field.name: field for field in form_fields(RunConf)}


def test_every_default_of_the_form_is_valid_by_its_own_schema() -> None:
    for field in FIELDS.values():
        validate(field.default, field.schema)


def test_a_form_sent_as_it_opens_is_the_default_run() -> None:
    assert RunConf.from_conf({name: field.default for name, field in FIELDS.items()}) == RunConf()


def test_a_text_that_may_stay_empty_may_be_null_as_the_form_sends_it() -> None:
    for name in ("dataset.inventory", "dataset.version", "endpoint.name"):
        assert FIELDS[name].default is None
        assert FIELDS[name].schema["type"] == ["null", "string", "number"]


def test_the_form_changes_nothing_that_a_person_types() -> None:
    """It would put the nearest bound in the place of a number, and cut a long text off, without a word."""
    bounds = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxLength", "minLength", "pattern"}
    for field in every_form_field():
        assert not bounds & {*field.schema}, field.name
        shown = next(kind for kind in field.schema["type"] if kind != "null")
        assert shown in ("string", "array", "object", "boolean") or "enum" in field.schema, field.name
        assert shown == "array" or "enum" in field.schema or isinstance(field.schema["examples"], list), field.name


def test_no_list_is_shown_as_text_that_stays_in_front_of_what_is_typed() -> None:
    lists = [field for field in every_form_field() if "items" in field.schema]
    assert len(lists) >= 4
    assert all(field.default is None and "null" in field.schema["type"] for field in lists)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("training.hyperparameters.learning_rate", 3),
        ("training.hyperparameters.learning_rate", "1e-3"),
        ("training.hyperparameters.epochs", "0"),
        ("training.hyperparameters.image_shape", [3, 28, 28]),
        ("training.hyperparameters.lr_scheduler_step", "10, 20"),
        ("endpoint.keep", "false"),
        ("dataset.name", "n" * 200),
        ("dataset.labels", ["0", "", "1"]),
        ("dataset.labels", "[]0"),
        ("tuning.ranges", '{"eps": [0.1]}'),
        ("training.trials", "[]"),
    ],
)
def test_what_is_sent_reaches_the_check_of_the_conf(name: str, sent: object) -> None:
    """Airflow answers "Bad Request" where a value is none of the form's: the task says more."""
    validate(sent, FIELDS[name].schema)


def test_the_form_says_which_numbers_a_field_takes() -> None:
    description = FIELDS["training.hyperparameters.learning_rate"].schema["description"]
    assert description.endswith("A number from 0 to 1, or empty.")


def test_every_field_says_what_it_is() -> None:
    for field in FIELDS.values():
        assert field.schema["title"] != field.name, field.name
        assert field.schema["description"].endswith("."), field.name
        assert "`" not in field.schema["description"]
        assert field.name in field.schema["description_md"]


def test_types_and_choices_come_from_the_model() -> None:
    assert FIELDS["training.mode"].schema["type"] == ["string"]
    assert FIELDS["training.mode"].schema["enum"] == ["train", "tune", "both", "tune_then_train", "none"]
    assert FIELDS["training.hyperparameters.optimizer"].schema["enum"] == [None, "sgd", "adam", "rmsprop", "nag"]
    assert FIELDS["training.hyperparameters.optimizer"].schema["type"] == ["null", "string"]
    assert FIELDS["training.hyperparameters.learning_rate"].schema["type"] == ["null", "string", "number"]
    assert FIELDS["training.hyperparameters.image_shape"].schema["type"] == ["string", "number", "array"]
    assert FIELDS["training.trials"].schema["items"] == {"type": "object"}
    assert FIELDS["dataset.labels"].schema["items"] == {"type": "string"}
    assert FIELDS["dataset.source"].schema["type"] == ["null", "array", "string"]
    assert FIELDS["tuning.ranges"].schema["type"] == ["null", "object", "string"]


def test_fields_of_one_section_stand_together() -> None:
    assert [section for section, _ in groupby(form_fields(RunConf), key=lambda field: field.section)] == [
        "Dataset",
        "Dataset: Ground Truth",
        "Dataset: split",
        "Dataset: packing",
        "Training",
        "Training: algorithm",
        "Algorithm: objective",
        "Algorithm: inference",
        "Training: hyperparameters",
        "Training: Debugger",
        "Resources",
        "Tuning",
        "Tuning: completion",
        "Tuning: warm start",
        "Incremental training",
        "Incremental training: hyperparameters",
        "Evaluation",
        "Evaluation: sample",
        "Promotion",
        "Endpoint",
        "Endpoint: rollout",
        "Endpoint: serverless",
        "Endpoint: autoscaling",
        "Retraining",
    ]
