from __future__ import annotations

import json
from typing import Any

import pytest

from include.run_conf import Range, RunConf, RunConfError

HYPERPARAMETERS = "training.hyperparameters"


def problems_of(conf: dict[str, Any]) -> list[str]:
    with pytest.raises(RunConfError) as refused:
        RunConf.from_conf(conf)
    return [str(problem) for problem in refused.value.problems]


def test_an_empty_conf_is_a_whole_run() -> None:
    conf = RunConf.from_conf({})
    assert conf == RunConf.from_conf(None) == RunConf()
    assert conf.dataset.name == conf.endpoint_name == "digits"
    assert conf.dataset.addresses("bucket") == ["s3://bucket/images/"]


def test_nested_and_dotted_keys_say_the_same() -> None:
    nested = {"training": {"hyperparameters": {"epochs": 7}}, "endpoint": {"keep": False}}
    dotted = {"training.hyperparameters.epochs": 7, "endpoint.keep": False}
    mixed = {"training": {"hyperparameters.epochs": 7}, "endpoint.keep": False}
    assert RunConf.from_conf(nested) == RunConf.from_conf(dotted) == RunConf.from_conf(mixed)


def test_what_a_conf_dumps_it_reads_again() -> None:
    conf = RunConf.from_conf(
        {
            "training.mode": "tune",
            "tuning.ranges": {"learning_rate": {"min": 0.001, "max": 0.1}, "optimizer": ["sgd", "adam"]},
            "incremental.hyperparameters.epochs": None,
            f"{HYPERPARAMETERS}.early_stopping": True,
            "tuning.warm_start": {"from": ["earlier"], "type": "TransferLearning"},
        }
    )
    assert RunConf.from_conf(conf.model_dump(mode="json")) == conf


def test_trials_come_as_json_and_keep_to_what_differs() -> None:
    sent = {"name": "deep", "hyperparameters": {"num_layers": "50", "image_shape": [3, 64, 64]}, "dataset": "pets/2"}
    conf = RunConf.from_conf({"training.trials": json.dumps([sent])})
    (trial,) = conf.training.trials
    assert (trial.dataset_name, trial.dataset_version) == ("pets", "2")
    assert RunConf.from_conf(conf.model_dump(mode="json")) == conf
    job = conf.of_trial(trial)
    assert job.training.hyperparameters.as_strings() == {
        "epochs": "5",
        "mini_batch_size": "32",
        "num_layers": "50",
        "image_shape": "3,64,64",
    }
    assert (job.dataset.name, job.dataset.version, job.training.trials) == ("pets", "2", [])


def test_a_trial_of_the_runs_own_dataset_keeps_its_version() -> None:
    conf = RunConf.from_conf(
        {"dataset.version": "3", "training.trials": [{"name": "slow"}, {"name": "b", "dataset": "b"}]}
    )
    assert [conf.of_trial(trial).dataset.version for trial in conf.training.trials] == ["3", ""]


def test_parents_of_a_tuning_job_are_named_with_commas_or_as_latest() -> None:
    assert RunConf.from_conf({"tuning.warm_start.from": "one, two"}).tuning.warm_start.parents == ["one", "two"]
    assert RunConf.from_conf({"tuning": {"warm_start": {"from": "latest"}}}).tuning.warm_start.parents == ["latest"]


@pytest.mark.parametrize(
    ("field", "sent", "read"),
    [
        ("training.hyperparameters.epochs", "12", 12),
        ("training.hyperparameters.epochs", 12.0, 12),
        ("training.hyperparameters.epochs", "", None),
        ("training.hyperparameters.num_layers", "110", 110),
        ("training.hyperparameters.num_layers", None, 20),
        ("training.hyperparameters.image_shape", [3, 20, 20], "3,20,20"),
        ("training.hyperparameters.learning_rate", "1e-3", 0.001),
        ("training.hyperparameters.lr_scheduler_step", 3, "3"),
        ("training.hyperparameters.early_stopping", "True", True),
        ("training.hyperparameters.top_k", " 2 ", 2),
        ("incremental.hyperparameters.learning_rate", "", None),
        ("endpoint.keep", "false", False),
        ("endpoint.keep", None, True),
        ("dataset.labels", "cat\ndog\n", ["cat", "dog"]),
        ("dataset.labels", "cat, dog", ["cat", "dog"]),
        ("dataset.labels", '["cat", "dog"]', ["cat", "dog"]),
        ("dataset.labels", [0, 1], ["0", "1"]),
        ("dataset.labels", None, []),
        ("dataset.source", "", []),
        ("dataset.source", "s3://bucket/a,b/", ["s3://bucket/a,b/"]),
        (
            "dataset.source",
            "s3://bucket/1.zip\nhttps://acme.com/2.zip\n",
            ["s3://bucket/1.zip", "https://acme.com/2.zip"],
        ),
        ("dataset.label_tables", '["s3://bucket/a.csv"]', ["s3://bucket/a.csv"]),
        ("dataset.label_tables", ["s3://bucket/a b, c.csv"], ["s3://bucket/a b, c.csv"]),
        ("resources.volume_gb", "", 30),
    ],
)
def test_what_a_form_sends_becomes_what_the_field_wants(field: str, sent: object, read: object) -> None:
    value: Any = RunConf.from_conf({field: sent})
    for part in field.split("."):
        value = getattr(value, part)
    assert value == read


def test_ranges_may_come_as_json_text_or_entry_by_entry() -> None:
    text = {"training.mode": "tune", "tuning.ranges": '{"eps": {"min": 0.1, "max": 1, "scaling": "Linear"}}'}
    entry = {"training.mode": "tune", "tuning.ranges.eps": {"min": 0.1, "max": 1, "scaling": "Linear"}}
    assert RunConf.from_conf(text) == RunConf.from_conf(entry)
    assert RunConf.from_conf(text).tuning.ranges == {"eps": Range(min=0.1, max=1, scaling="Linear")}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"trainig": {"mode": "tune"}}, "trainig = {'mode': 'tune'}: no such field; did you mean training?"),
        (
            {"training": {"hyperparameters": {"lerning_rate": 0.1}}},
            "training.hyperparameters.lerning_rate = 0.1: no such field; "
            "did you mean training.hyperparameters.learning_rate?",
        ),
        (
            {"training": {"hyperparameters": {"colour": 1}}},
            "training.hyperparameters.colour = 1: no such field; did you mean training.hyperparameters.top_k?",
        ),
        ({"top_k": 2}, "top_k = 2: no such field; did you mean training.hyperparameters.top_k?"),
        (
            {f"{HYPERPARAMETERS}.num_classes": 10},
            "training.hyperparameters.num_classes = 10: follows from the dataset version: leave it out",
        ),
        (
            {f"{HYPERPARAMETERS}.multi_label": 1},
            "training.hyperparameters.multi_label = 1: follows from dataset.multi_label: leave it out",
        ),
        (
            {"incremental.hyperparameters.num_layers": 18},
            "incremental.hyperparameters.num_layers = 18: is the base job's: set training.hyperparameters.num_layers",
        ),
        (
            {"endpoint": {"keep": True}, "endpoint.keep": False},
            "endpoint.keep = False: is given twice: keep the nested key or the dotted one",
        ),
        (
            {"tuning": {"ranges": {"eps": [0.1]}}, "tuning.ranges.eps": [0.2]},
            "tuning.ranges.eps = [0.2]: is given twice: keep the nested key or the dotted one",
        ),
        (
            {"training.trials": "deep"},
            "training.trials = deep: must be a list of JSON objects",
        ),
        (
            {"training.trials": [{"name": "deep", "hyperparameters": {"num_layers": 19}}]},
            "training.trials.0.hyperparameters.num_layers = 19: "
            "must be one of 18, 20, 32, 34, 44, 50, 56, 101, 110, 152, 200, or empty",
        ),
        (
            {"training.trials": [{"name": "a"}, {"name": "b", "hyperparameters": {"multi_label": 1}}]},
            "training.trials.1.hyperparameters.multi_label = 1: follows from the dataset version: leave it out",
        ),
        (
            {"tuning.warm_start.from": ["a", "b", "c", "d", "e", "f"]},
            "tuning.warm_start.from = ['a', 'b', 'c', 'd', 'e', 'f']: "
            "must be a list of texts such as train-model-tune-0123456789, at most 5",
        ),
        (
            {"resources.max_cost": 0},
            "resources.max_cost = 0: must be a number above 0, or empty",
        ),
        ({"training": "tune"}, "training = tune: is a section: give a JSON object with its fields"),
        ({"training.mode": "guess"}, "training.mode = guess: must be one of train, tune, both, tune_then_train"),
        (
            {f"{HYPERPARAMETERS}.epochs": 0},
            "training.hyperparameters.epochs = 0: must be a whole number of at least 1, or empty",
        ),
        (
            {f"{HYPERPARAMETERS}.epochs": True},
            "training.hyperparameters.epochs = True: must be a whole number of at least 1, or empty",
        ),
        (
            {f"{HYPERPARAMETERS}.epochs": "many"},
            "training.hyperparameters.epochs = many: must be a whole number of at least 1, or empty",
        ),
        (
            {f"{HYPERPARAMETERS}.learning_rate": 1.5},
            "training.hyperparameters.learning_rate = 1.5: must be a number from 0 to 1, or empty",
        ),
        (
            {f"{HYPERPARAMETERS}.num_layers": 19},
            "training.hyperparameters.num_layers = 19: must be one of 18, 20, 32, 34, 44, 50, 56, 101, 110, 152, 200",
        ),
        (
            {f"{HYPERPARAMETERS}.image_shape": "28x28"},
            "training.hyperparameters.image_shape = 28x28: must be a text such as 3,224,224",
        ),
        (
            {f"{HYPERPARAMETERS}.top_k": 1},
            "training.hyperparameters.top_k = 1: must be a whole number of at least 2, or empty",
        ),
        (
            {f"{HYPERPARAMETERS}.use_pretrained_model": 2},
            "training.hyperparameters.use_pretrained_model = 2: must be one of 0, 1, or empty",
        ),
        ({"endpoint.keep": "maybe"}, "endpoint.keep = maybe: must be true or false"),
        (
            {"dataset.name": "my pets"},
            "dataset.name = my pets: must be a text such as cats-and-dogs, of letters, digits and hyphens between "
            "them, at most 40 characters",
        ),
        (
            {"dataset.source": "/data/images"},
            "dataset.source = /data/images: must be a list of texts such as s3://bucket/prefix/",
        ),
        (
            {"dataset.source": ["s3://bucket/a/", "bucket/b/"]},
            "dataset.source = bucket/b/: must be a list of texts such as s3://bucket/prefix/",
        ),
        ({"dataset.labels": {"cat": 0}}, "dataset.labels = {'cat': 0}: must be a list of texts"),
        (
            {"dataset.split.train": 1},
            "dataset.split.train = 1: must be a number above 0 and below 1",
        ),
        (
            {"resources.instance_type": "ml.m5.large"},
            "resources.instance_type = ml.m5.large: must be a text such as ml.g4dn.xlarge, of the families p2, p3, "
            "p3dn, g4dn or g5",
        ),
        ({"tuning.ranges": "fast"}, "tuning.ranges = fast: must be a JSON object"),
        (
            {"tuning.ranges": {"eps": {"low": 1}}},
            "tuning.ranges.eps = {'low': 1}: must be a list of values "
            'or {"min": 0.001, "max": 0.1, "scaling": "Auto"}',
        ),
    ],
)
def test_a_wrong_conf_names_field_value_and_remedy(conf: dict[str, Any], message: str) -> None:
    assert problems_of(conf) == [message]


def test_all_problems_are_told_at_once() -> None:
    conf = {
        "trainig": {},
        "training.mode": "guess",
        "dataset": {"split": {"train": 0.9}},
        f"{HYPERPARAMETERS}.num_layers": 18,
        "endpoint.keep": "maybe",
    }
    assert [problem.split(" = ")[0] for problem in problems_of(conf)] == [
        "trainig",
        "training.mode",
        "endpoint.keep",
        "dataset.split",
        "training.hyperparameters.num_layers",
    ]


def test_the_error_reads_as_a_list() -> None:
    with pytest.raises(RunConfError) as refused:
        RunConf.from_conf({"endpoint.keep": "maybe", "training.mode": "guess"})
    assert str(refused.value) == (
        "The run conf has problems:\n"
        "  training.mode = guess: must be one of train, tune, both, tune_then_train\n"
        "  endpoint.keep = maybe: must be true or false"
    )
