from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any, get_args

import pytest

from include.run_conf import Hyperparameters, IncrementalHyperparameters, RunConf, hyperparameters
from include.run_conf.hyperparameters import (
    BY_NAME,
    DERIVED,
    OPTIMIZERS,
    TABLE,
    TUNABLE,
    Hyperparameter,
    Range,
    Values,
    algorithm_default,
    as_text,
)
from local_aws.sagemaker.tuning import rules

CONTAINER = Path(__file__).parents[3] / "containers/image_classification/hyperparameter_table.py"
BY_THE_CONTAINER_ONLY = {"resize"}


def test_only_what_is_set_is_sent_and_every_value_is_a_text() -> None:
    sent = Hyperparameters(epochs=3, learning_rate=0.001, early_stopping=True, use_pretrained_model=0, eps=1e-8)
    assert sent.as_strings() == {
        "num_layers": "18",
        "image_shape": "3,224,224",
        "epochs": "3",
        "learning_rate": "0.001",
        "early_stopping": "True",
        "use_pretrained_model": "0",
        "eps": "1e-08",
    }


def test_an_incremental_training_says_only_what_differs() -> None:
    assert IncrementalHyperparameters().as_strings() == {"epochs": "2", "learning_rate": "0.01"}
    assert RunConf.from_conf({"incremental.hyperparameters.epochs": None}).incremental == RunConf().incremental


def test_the_image_shape_reads_as_channels_height_width() -> None:
    assert Hyperparameters(image_shape="1,32,48").shape == (1, 32, 48)


def test_every_row_is_a_field_of_the_jobs_that_ask_for_it() -> None:
    assert [*Hyperparameters.model_fields] == [row.name for row in TABLE]
    asked = [row.name for row in TABLE if row.incremental_training == "asked"]
    assert [*IncrementalHyperparameters.model_fields] == asked
    assert [*hyperparameters.TrialHyperparameters.model_fields] == [row.name for row in TABLE]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_a_row_says_is_within_its_own_values(row: Hyperparameter) -> None:
    for value in (row.default, row.base.default, row.incremental.default, row.trial.default, *row.examples):
        if value is not None:
            Hyperparameters.model_validate({row.name: value})
    assert {*row.read_by} < {*OPTIMIZERS} or not row.read_by
    if isinstance(row.tuned, Range):
        assert row.values.type in (int, float)
        Hyperparameters.model_validate({row.name: row.tuned.min})
        if row.values.most is not None:
            assert row.tuned.max <= row.values.most
    elif row.tuned is not None:
        assert tuple(row.tuned) == row.values.choices


def test_what_can_be_tuned_is_what_aws_documents() -> None:
    assert {name: row.values.type for name, row in TUNABLE.items()} == {
        "beta_1": float,
        "beta_2": float,
        "eps": float,
        "gamma": float,
        "learning_rate": float,
        "mini_batch_size": int,
        "momentum": float,
        "optimizer": str,
        "weight_decay": float,
    }


def test_the_local_aws_lets_the_same_hyperparameters_be_tuned() -> None:
    assert {*TUNABLE} == rules.TUNABLE


def declared_for_the_type_checker(model: type[Any]) -> dict[str, str]:
    """The annotations under `if TYPE_CHECKING` in the source of a class."""
    (name,) = (
        each
        for each in ast.parse(inspect.getsource(hyperparameters)).body
        if getattr(each, "name", "") == model.__name__
    )
    blocks = [node for node in ast.walk(name) if isinstance(node, ast.If)]
    lines = [line for block in blocks for line in block.body if isinstance(line, ast.AnnAssign)]
    return {ast.unparse(line.target): ast.unparse(line.annotation) for line in lines}


@pytest.mark.parametrize(
    ("declared_by", "models"),
    [
        (
            hyperparameters.SharedHyperparameters,
            (Hyperparameters, IncrementalHyperparameters, hyperparameters.TrialHyperparameters),
        ),
        (Hyperparameters, (Hyperparameters,)),
        (hyperparameters.TrialHyperparameters, (hyperparameters.TrialHyperparameters,)),
    ],
)
def test_fields_that_code_reads_by_name_have_the_types_of_their_rows(
    declared_by: type[Any], models: tuple[type[Any], ...]
) -> None:
    declared = declared_for_the_type_checker(declared_by)
    assert declared
    for model in models:
        for name, annotation in declared.items():
            may_be_empty = type(None) in get_args(model.model_fields[name].annotation)
            of_row = BY_NAME[name].values.type.__name__ + " | None" * may_be_empty
            is_shared = declared_by is hyperparameters.SharedHyperparameters
            assert annotation == of_row or (is_shared and annotation == f"{of_row} | None"), name


def rows_of_the_container() -> dict[str, tuple[str, Any]]:
    """How the rebuilt algorithm reads each hyperparameter, and what it does without: read from its source, as the
    container stands alone."""
    (table,) = (
        node.value
        for node in ast.parse(CONTAINER.read_text()).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TABLE"
    )
    assert isinstance(table, ast.Tuple)
    found = {}
    for call in table.elts:
        assert isinstance(call, ast.Call)
        name, reader, *rest = call.args
        default = rest[0] if rest else next((each.value for each in call.keywords if each.arg == "default"), None)
        found[ast.literal_eval(name)] = (ast.unparse(reader), ast.literal_eval(default) if default else None)
    return found


def read_by_the_container(values: Values) -> str:
    """What the container calls these values."""
    if values.choices == (0, 1):
        return "switch"
    if values.choices and values.type is str:
        return f"one_of({', '.join(map(repr, values.choices))})"
    if values.type is int and not values.choices:
        return f"whole_number({values.least})"
    return {float: "fraction", bool: "truth"}.get(values.type, "")


def test_the_rebuilt_algorithm_has_the_same_hyperparameters() -> None:
    assert {*rows_of_the_container()} == {*BY_NAME} | {*DERIVED} | BY_THE_CONTAINER_ONLY


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_rebuilt_algorithm_takes_the_same_values_and_does_the_same_without_one(row: Hyperparameter) -> None:
    reader, default = rows_of_the_container()[row.name]
    assert reader == (
        read_by_the_container(row.values)
        or {"num_layers": "network_depth", "image_shape": "image_shape", "lr_scheduler_step": "rising_epochs"}[row.name]
    )
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    assert default == row.default


def test_what_the_algorithm_does_is_said_as_the_api_takes_it() -> None:
    assert [algorithm_default(name) for name in ("epochs", "learning_rate", "optimizer", "image_shape")] == [
        "30",
        "0.1",
        "sgd",
        "3,224,224",
    ]
    assert as_text(1e-8) == "1e-08"
