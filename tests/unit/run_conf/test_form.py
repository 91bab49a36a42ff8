from __future__ import annotations

from itertools import groupby

from jsonschema import validate

from include.run_conf import RunConf, form_fields

FIELDS = {field.name: field for field in form_fields()}


def test_every_default_of_the_form_is_valid_by_its_own_schema() -> None:
    for field in FIELDS.values():
        validate(field.default, field.schema)


def test_a_form_sent_as_it_opens_is_the_default_run() -> None:
    assert RunConf.from_conf({name: field.default for name, field in FIELDS.items()}) == RunConf()


def test_a_text_that_may_stay_empty_may_be_null_as_the_form_sends_it() -> None:
    for name in ("dataset.inventory", "dataset.version", "endpoint.name"):
        assert FIELDS[name].default is None
        assert FIELDS[name].schema["type"] == ["null", "string"]


def test_what_the_form_cannot_explain_is_left_to_the_check_of_the_conf() -> None:
    assert not any({"pattern", "minLength"} & {*field.schema} for field in FIELDS.values())
    share = FIELDS["dataset.split.train"].schema
    assert (share["minimum"], share["maximum"]) == (0, 1)


def test_every_field_says_what_it_is() -> None:
    for field in FIELDS.values():
        assert field.schema["title"] != field.name, field.name
        assert field.schema["description"].endswith("."), field.name
        assert "`" not in field.schema["description"]
        assert field.name in field.schema["description_md"]


def test_bounds_and_choices_come_from_the_model() -> None:
    assert FIELDS["training.mode"].schema["enum"] == ["train", "tune", "both", "tune_then_train"]
    assert FIELDS["training.hyperparameters.optimizer"].schema["enum"] == [None, "sgd", "adam", "rmsprop", "nag"]
    assert FIELDS["training.hyperparameters.optimizer"].schema["type"] == ["null", "string"]
    rate = FIELDS["training.hyperparameters.learning_rate"].schema
    assert (rate["minimum"], rate["maximum"], rate["type"]) == (0, 1, ["null", "number"])
    assert FIELDS["training.trials"].schema["items"] == {"type": "object"}
    assert FIELDS["dataset.labels"].schema["items"] == {"type": "string"}
    assert FIELDS["dataset.source"].schema["type"] == ["null", "array", "string"]
    assert FIELDS["tuning.ranges"].schema["type"] == ["null", "object"]


def test_fields_of_one_section_stand_together() -> None:
    assert [section for section, _ in groupby(form_fields(), key=lambda field: field.section)] == [
        "Dataset",
        "Dataset: split",
        "Dataset: packing",
        "Training",
        "Training: hyperparameters",
        "Resources",
        "Tuning",
        "Tuning: completion",
        "Tuning: warm start",
        "Incremental training",
        "Incremental training: hyperparameters",
        "Promotion",
        "Endpoint",
    ]
