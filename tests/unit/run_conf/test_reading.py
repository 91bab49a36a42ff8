from __future__ import annotations

import json
import math
from typing import Any

import pytest

from include.run_conf import Range, RunConf, RunConfError
from include.run_conf.fields import known_fields, section_names
from include.run_conf.meaning import FIELDS_BY_OTHER_NAMES, SETTINGS, meant_field
from include.settings import Settings

HYPERPARAMETERS = "training.hyperparameters"
FIELDS = [*(field.name for field in known_fields(RunConf)), *section_names(RunConf)]


def problems_of(conf: dict[str, Any]) -> list[str]:
    with pytest.raises(RunConfError) as refused:
        RunConf.from_conf(conf)
    return [str(problem) for problem in refused.value.problems]


def test_an_empty_conf_is_a_whole_run() -> None:
    conf = RunConf.from_conf({})
    assert conf == RunConf.from_conf(None) == RunConf()
    assert conf.dataset.name == conf.endpoint_name == "images"
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
        ("training.hyperparameters.num_layers", None, 18),
        ("training.hyperparameters.image_shape", [3, 20, 20], "3,20,20"),
        ("training.hyperparameters.learning_rate", "1e-3", 0.001),
        ("training.hyperparameters.lr_scheduler_step", 3, "3"),
        ("training.hyperparameters.early_stopping", "True", True),
        ("training.hyperparameters.top_k", " 2 ", 2),
        ("incremental.hyperparameters.learning_rate", "", 0.01),
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
        # AWS's own notation of several numbers
        ("training.hyperparameters.lr_scheduler_step", "10, 20", "10,20"),
        ("training.hyperparameters.lr_scheduler_step", "[10, 20]", "10,20"),
        ("training.hyperparameters.lr_scheduler_step", [10, "20 "], "10,20"),
        ("training.hyperparameters.image_shape", "3, 224, 224", "3,224,224"),
        ("training.hyperparameters.image_shape", " 3 ,32,\t48\r\n", "3,32,48"),
        # lists with what a form, an editor or a copied line leaves in them
        ("dataset.labels", "[]", []),
        ("dataset.labels", "[]cat\ndog", ["cat", "dog"]),
        ("dataset.labels", "[]\ncat\ndog", ["cat", "dog"]),
        ("dataset.labels", ["[]0", "1"], ["0", "1"]),
        ("dataset.labels", ["cat", "", " ", "dog", "[]"], ["cat", "dog"]),
        ("dataset.labels", '["cat", "dog"]\nowl', ["cat", "dog", "owl"]),
        ("dataset.labels", "\ufeffcat\r\n\r\ndog\r\n", ["cat", "dog"]),
        ("dataset.labels", "cat\rdog", ["cat", "dog"]),
        ("dataset.labels", "cat,\ndog,\n", ["cat", "dog"]),
        ("dataset.labels", '"cat"\n"dog"', ["cat", "dog"]),
        ("dataset.labels", "'cat', 'dog'", ["cat", "dog"]),
        ("dataset.labels", "['cat', 'dog']", ["cat", "dog"]),
        ("dataset.labels", '"New York, NY", Boston', ["New York, NY", "Boston"]),
        ("dataset.labels", "tench, Tinca tinca\ngoldfish, Carassius", ["tench, Tinca tinca", "goldfish, Carassius"]),
        ("dataset.labels", "0\n1\n7", ["0", "1", "7"]),
        ("dataset.labels", 'a \\ b\nc"d', ["a \\ b", 'c"d']),
        ("dataset.labels", "null", []),
        ("dataset.source", ["s3://bucket/1.zip", "", "s3://bucket/2.zip"], ["s3://bucket/1.zip", "s3://bucket/2.zip"]),
        ("dataset.source", "[]s3://bucket/images/", ["s3://bucket/images/"]),
        ("dataset.source", ' "s3://bucket/images/" ', ["s3://bucket/images/"]),
        ("dataset.label_tables", "s3://bucket/a b, c.csv", ["s3://bucket/a b, c.csv"]),
        ("tuning.warm_start.from", "[]\none, two", ["one", "two"]),
        # words and numbers
        ("dataset.image_list", "'s3://bucket/paths.txt'", "s3://bucket/paths.txt"),
        ("dataset.image_list", ["s3://bucket/paths.txt"], "s3://bucket/paths.txt"),
        ("dataset.version", "None", ""),
        ("dataset.version", 3, "3"),
        ("endpoint.keep", " FALSE ", False),
        ("endpoint.keep", '"no"', False),
        ("training.hyperparameters.top_k", "null", None),
        ("training.hyperparameters.epochs", '"7"', 7),
        ("training.hyperparameters.epochs", "1e1", 10),
        ("training.hyperparameters.optimizer", "SGD", "sgd"),
        ("training.hyperparameters.optimizer", "None", None),
        ("training.hyperparameters.num_layers", 56.0, 56),
        ("training.hyperparameters.use_weighted_loss", True, 1),
        ("training.hyperparameters.use_weighted_loss", "false", 0),
        ("tuning.completion.target", " .5 ", 0.5),
    ],
)
def test_what_a_form_sends_becomes_what_the_field_wants(field: str, sent: object, read: object) -> None:
    assert value_of(RunConf.read({field: sent})[0], field) == read


@pytest.mark.parametrize("text", ["[]cat\ndog\n\n", " cat \r\ndog", '["cat", "", "dog"]', "cat, dog,"])
def test_a_list_reads_alike_nested_dotted_and_as_json(text: str) -> None:
    confs = [{"dataset.labels": text}, {"dataset": {"labels": text}}, {"dataset": json.dumps({"labels": text})}]
    assert [RunConf.from_conf(conf).dataset.labels for conf in confs] == [["cat", "dog"]] * 3


def value_of(conf: RunConf, field: str) -> Any:
    value: Any = conf
    for part in field.replace("warm_start.from", "warm_start.parents").split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(
    ("field", "sent", "meant"),
    [
        (f"{HYPERPARAMETERS}.image_shape", "224", "3,224,224"),
        (f"{HYPERPARAMETERS}.image_shape", "48x32x3", "3,48,32"),
        (f"{HYPERPARAMETERS}.image_shape", "(1, 28, 28)", "1,28,28"),
        ("resources.instance_type", "ml.g4dn.xlrage", "ml.g4dn.xlarge"),
        ("resources.instance_type", "p3.2xlarge", "ml.p3.2xlarge"),
        (f"{HYPERPARAMETERS}.learning_rate", "0,001", "0.001"),
        ("dataset.max_bad_fraction", "5%", "0.05"),
        ("resources.volume_gb", "1,000", "1000"),
        ("training.mode", "tune_than_train", "tune_then_train"),
        ("tuning.strategy", "Bayesain", "Bayesian"),
    ],
)
def test_a_refused_value_is_answered_with_the_one_that_was_meant(field: str, sent: str, meant: str) -> None:
    (problem,) = RunConf.read({field: sent})[1]
    assert (problem.field, problem.value) == (field, sent)
    assert problem.remedy.endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        (f"{HYPERPARAMETERS}.image_shape", "large"),
        ("resources.instance_type", "ml.c5.xlarge"),
        ("resources.instance_type", "gpu"),
        (f"{HYPERPARAMETERS}.learning_rate", "small"),
        (f"{HYPERPARAMETERS}.optimizer", "lion"),
        ("dataset.labels", '["cat", "dog"'),
        ("dataset.labels", '{"cat": 0}'),
        ("dataset.labels", [True, False]),
    ],
)
def test_a_value_like_no_other_is_refused_without_a_guess(field: str, sent: object) -> None:
    (problem,) = RunConf.read({field: sent})[1]
    assert problem.field == field
    assert "did you mean" not in problem.remedy


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lr", f"{HYPERPARAMETERS}.learning_rate"),
        (f"{HYPERPARAMETERS}.lr", f"{HYPERPARAMETERS}.learning_rate"),
        ("incremental.lr", "incremental.hyperparameters.learning_rate"),
        (f"{HYPERPARAMETERS}.batch_size", f"{HYPERPARAMETERS}.mini_batch_size"),
        ("training.num_epochs", f"{HYPERPARAMETERS}.epochs"),
        ("learningRate", f"{HYPERPARAMETERS}.learning_rate"),
        ("image_size", f"{HYPERPARAMETERS}.image_shape"),
        ("depth", f"{HYPERPARAMETERS}.num_layers"),
        ("wd", f"{HYPERPARAMETERS}.weight_decay"),
        ("milestones", f"{HYPERPARAMETERS}.lr_scheduler_step"),
        ("classes", "dataset.labels"),
        ("bucket", "dataset.source"),
        ("dataset.s3_uri", "dataset.source"),
        ("instance", "resources.instance_type"),
        ("endpoint.machine", "endpoint.instance_type"),
        ("MaxRuntimeInSeconds", "resources.max_runtime_seconds"),
        ("use_spot_instances", "resources.spot"),
        ("tuning.n_trials", "tuning.max_jobs"),
        ("hyperparameter_ranges", "tuning.ranges"),
        ("source_dir", "training.algorithm.source"),
        ("training.algorithm.training_image", "training.algorithm.image"),
        ("objective_metric_name", "training.algorithm.objective.metric"),
        ("hyperparameters", HYPERPARAMETERS),
        ("deployment", "endpoint"),
        ("datset", "dataset"),
        ("endpoint.kepp", "endpoint.keep"),
        (f"{HYPERPARAMETERS}.epohcs", f"{HYPERPARAMETERS}.epochs"),
        ("dataset.split.sed", "dataset.split.seed"),
    ],
)
def test_an_unknown_name_is_answered_with_the_field_that_was_meant(written: str, meant: str) -> None:
    (problem,) = RunConf.read({written: "x"})[1]
    assert problem.remedy == f"no such field; did you mean {meant}?"


@pytest.mark.parametrize("written", ["image_uri", "ImageUri", "region", "execution_role_arn"])
def test_a_setting_of_the_installation_is_named_as_one(written: str) -> None:
    (problem,) = RunConf.read({written: "x"})[1]
    assert "is a setting of the installation (Airflow Variable image_classification)" in problem.remedy
    assert "did you mean" not in problem.remedy


def test_every_setting_is_known_by_its_name() -> None:
    assert {*Settings.model_fields} == SETTINGS


@pytest.mark.parametrize("written", ["flavour", "foo", f"{HYPERPARAMETERS}.dropout", "warmup", "x" * 10_000])
def test_an_unknown_name_like_no_other_is_refused_without_a_guess(written: str) -> None:
    (problem,) = RunConf.read({written: "x"})[1]
    assert "no such field" in problem.remedy
    assert "did you mean" not in problem.remedy


def test_every_name_used_elsewhere_leads_to_a_field_that_exists() -> None:
    for field, others in FIELDS_BY_OTHER_NAMES.items():
        meant = [name for name in FIELDS if f".{name}".endswith(f".{field}")]
        assert meant or field == "packing.color", field
        assert not meant or all(meant_field(other, FIELDS) for other in others.split()), field


def test_num_labels_follows_from_the_dataset() -> None:
    (problem,) = RunConf.read({"num_labels": 10})[1]
    assert problem.remedy == "follows from the dataset version: leave it out"


@pytest.mark.parametrize(
    "conf",
    [
        {"dataset.name": "a\ud800b"},
        {"\ud800": 1},
        {"tuning.ranges": {"\ud800": [1]}},
        {"dataset.labels": ["\ud800", "cat"]},
        {"tuning.ranges": "[" * 100_000},
        {"dataset.labels": "[" * 100_000},
        {"dataset": '{"a":' * 100_000},
        {f"{HYPERPARAMETERS}.epochs": 10**5000},
        {f"{HYPERPARAMETERS}.epochs": "9" * 5000},
        {f"{HYPERPARAMETERS}.optimizer": 10**5000},
        {f"{HYPERPARAMETERS}.lr_scheduler_step": "9" * 5000},
        {f"{HYPERPARAMETERS}.lr_scheduler_step": [10**5000]},
        {f"{HYPERPARAMETERS}.image_shape": f"3,{'9' * 5000},1"},
        {"dataset.labels": [10**5000, 1]},
        {f"{HYPERPARAMETERS}.learning_rate": math.nan},
        {f"{HYPERPARAMETERS}.learning_rate": 10**400},
        {"resources.max_cost": math.inf},
        {"resources.max_cost": "1e999"},
        {"dataset.split.train": "NaN"},
        {"tuning.ranges": {"eps": [math.nan, 0.1]}, "training.mode": "tune"},
        {"tuning.ranges": {"eps": {"min": 0, "max": math.inf}}, "training.mode": "tune"},
        {"dataset.source": ["http://[bad/x.zip"]},
        {"dataset.source": ["https://host:port/x.zip"]},
        {"dataset.source": ["https://host:99999/x.zip"]},
        {"training.trials": [{"name": "a", "hyperparameters": {"lr_scheduler_step": "8" * 5000}}]},
    ],
    ids=lambda conf: ascii(str(conf))[:40] if isinstance(conf, str) else None,
)
def test_what_no_field_can_hold_is_a_problem_that_every_log_can_show(conf: dict[str, Any]) -> None:
    problems = RunConf.read(conf)[1]
    assert problems
    text = str(RunConfError(problems))
    assert text.encode().isascii()
    assert all(len(line) < 400 for line in text.splitlines())


def test_a_value_nested_a_thousand_deep_is_a_problem() -> None:
    deep: Any = 1
    for _ in range(1000):
        deep = [deep]
    for conf in ({"tuning.ranges": {"eps": deep}}, {"dataset.labels": deep}, {"training.mode": deep}, {"a": deep}):
        assert len(str(RunConfError(RunConf.read(conf)[1]))) < 500


def test_a_contradiction_with_a_field_that_is_wrong_itself_is_none() -> None:
    """The default of a wrong field is not what the person asked for."""
    conf = {
        f"{HYPERPARAMETERS}.image_shape": "224x224",
        f"{HYPERPARAMETERS}.num_layers": 50,
        f"{HYPERPARAMETERS}.top_k": 5,
        "dataset.multi_label": True,
        "dataset.sorce": "s3://bucket/a.rec",
        "dataset.packing.pass_through": True,
        "dataset.packing.resize": 8,
    }
    assert {problem.field for problem in RunConf.read(conf)[1]} == {
        f"{HYPERPARAMETERS}.image_shape",
        f"{HYPERPARAMETERS}.top_k",
        "dataset.sorce",
    }


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
            {"training": {"hyperparameters": {"flavour": 1}}},
            "training.hyperparameters.flavour = 1: no such field; docs/reference/run-conf.md lists them all",
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
            "incremental.hyperparameters.num_layers = 18: is fixed by the base job: set "
            "training.hyperparameters.num_layers",
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
            "must be a list of texts between commas such as train-model-tune-0123456789, at most 5",
        ),
        (
            {"resources.max_cost": 0},
            "resources.max_cost = 0: must be a number above 0, or empty",
        ),
        ({"training": "tune"}, "training = tune: is a section: give a JSON object with its fields"),
        ({"training.mode": "guess"}, "training.mode = guess: must be one of train, tune, both, tune_then_train, none"),
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
            "training.hyperparameters.image_shape = 28x28: must be a text such as 3,224,224; did you mean 3,28,28?",
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
        ({"dataset.labels": {"cat": 0}}, "dataset.labels = {'cat': 0}: must be a list of texts between commas"),
        (
            {"dataset.split.train": 1},
            "dataset.split.train = 1: must be a number above 0 and below 1",
        ),
        (
            {"resources.instance_type": "ml.m5.large"},
            "resources.instance_type = ml.m5.large: the built-in algorithm trains on the families p2, p3, p3dn, g4dn "
            "and g5: choose one of these",
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
        f"{HYPERPARAMETERS}.num_layers": 20,
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
        "  training.mode = guess: must be one of train, tune, both, tune_then_train, none\n"
        "  endpoint.keep = maybe: must be true or false"
    )
