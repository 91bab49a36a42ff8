from __future__ import annotations

from itertools import groupby

import pytest
from jsonschema import validate

from include.clean_up import CleanUpConf
from include.run_conf import FormField, RunConf, form_fields
from include.run_conf.endpoint import ModelConf, ReviewConf
from include.run_conf.fields import COMMON, known_fields


def every_form_field() -> list[FormField]:
    return [field for model in (RunConf, ModelConf, ReviewConf, CleanUpConf) for field in form_fields(model)]


FIELDS = {field.name: field for field in form_fields(RunConf)}


def test_a_form_sent_as_it_opens_is_the_default_run() -> None:
    assert RunConf.from_conf(dict.fromkeys(FIELDS)) == RunConf()


def test_what_stays_empty_is_left_to_the_preset() -> None:
    opened = dict.fromkeys(FIELDS)

    assert RunConf.from_conf({**opened, "preset": "digits"}) == RunConf.from_conf({"preset": "digits"}) != RunConf()


def test_no_field_keeps_a_default_that_an_empty_field_would_lose() -> None:
    assert [field.name for field in known_fields(RunConf) if field.nullable and field.default is not None] == []


def test_the_form_opens_with_what_most_runs_set() -> None:
    common = [name for name, field in FIELDS.items() if field.section == "Common"]

    assert common == [*FIELDS][: len(common)] == [*COMMON]
    assert FIELDS["dataset.name"].schema["title"] == "Dataset name"


def test_the_form_changes_nothing_that_a_person_types() -> None:
    """It would put the nearest bound in the place of a number, and cut a long text off, without a word."""
    changing = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxLength", "minLength", "pattern"}
    for field in every_form_field():
        assert not changing & {*field.schema}, field.name
        shown = next(kind for kind in field.schema["type"] if kind != "null")
        assert shown in ("string", "array", "object") or "enum" in field.schema, field.name


def test_the_form_offers_no_value_that_is_only_an_example() -> None:
    assert [field.name for field in every_form_field() if "examples" in field.schema] == []


def test_a_list_is_an_area_of_lines_that_starts_empty() -> None:
    lists = [field for field in every_form_field() if field.schema.get("items") == {"type": "string"}]

    assert len(lists) >= 4
    assert all(field.schema["type"] == ["null", "array"] for field in lists)


def test_an_unset_field_shows_what_it_stands_for() -> None:
    shown = {name: field.schema.get("values_display", {}).get("null") for name, field in FIELDS.items()}

    assert shown["training.hyperparameters.optimizer"] == "algorithm's default (sgd)"
    assert shown["training.mode"] == "default (train)"
    assert shown["endpoint.keep"] == "default (on)"
    assert shown["incremental.hyperparameters.optimizer"] == "as in the base job"
    description = FIELDS["training.hyperparameters.learning_rate"].schema["description"]
    assert description == "Initial learning rate. A number from 0 to 1. Empty: algorithm's default (0.1)."
    assert FIELDS["dataset.split.train"].schema["description"].endswith("Empty: default (0.8).")


def test_a_form_that_changes_another_conf_says_that_an_empty_field_changes_nothing() -> None:
    fields = {field.name: field for field in form_fields(RunConf, unset="not changed")}

    assert fields["endpoint.keep"].schema["values_display"]["null"] == "not changed"
    assert fields["endpoint.instance_count"].schema["description"].endswith("Empty: not changed.")


def test_a_switch_can_be_left_to_the_preset() -> None:
    keep = FIELDS["endpoint.keep"].schema

    assert (keep["type"], keep["enum"]) == (["null", "string"], [None, "true", "false"])
    assert RunConf.from_conf({"endpoint.keep": "false"}).endpoint.keep is False


def test_what_has_to_be_given_may_not_stay_empty() -> None:
    fields = {field.name: field.schema for field in form_fields(ReviewConf)}

    assert fields["decision"]["type"] == ["string"]
    assert fields["decision"]["enum"] == ["approve", "reject"]
    assert fields["reason"]["type"] == ["string"]


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


def test_every_field_says_what_it_is() -> None:
    for field in FIELDS.values():
        assert field.schema["title"] != field.name, field.name
        assert field.schema["description"].endswith("."), field.name
        assert "`" not in field.schema["description"]
        assert field.name in field.schema["description_md"]


def test_types_and_choices_come_from_the_model() -> None:
    assert FIELDS["training.mode"].schema["type"] == ["null", "string"]
    assert FIELDS["training.mode"].schema["enum"] == [None, "train", "tune", "both", "tune_then_train", "none"]
    assert FIELDS["training.hyperparameters.num_layers"].schema["type"] == ["null", "integer"]
    assert FIELDS["training.hyperparameters.learning_rate"].schema["type"] == ["null", "string"]
    assert FIELDS["training.trials"].schema["type"] == ["null", "array", "string"]
    assert FIELDS["tuning.ranges"].schema["type"] == ["null", "object"]


def test_fields_of_one_section_stand_together() -> None:
    assert [section for section, _ in groupby(form_fields(RunConf), key=lambda field: field.section)] == [
        "Common",
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
