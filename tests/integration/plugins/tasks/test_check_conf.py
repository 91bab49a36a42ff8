"""Wrong run confs, each through the task that checks them, against a real local AWS: told in full, nothing started."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from typing import Any

import pytest

from image_classification import context
from image_classification.tasks import check_conf
from include.preflight import Findings
from include.problems import ProblemsError
from include.settings import Settings
from tests.support.documents import SMALL_NETWORK
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import SETTINGS, left_out, run_as_task
from tests.support.served_models import IMAGE, deployed, published, registered

HYPER = "training.hyperparameters"
TUNE = {"training.mode": "tune"}
GIVEN = {**SMALL_NETWORK, "dataset.source": f"s3://{BUCKET}/data/"}
TEN_CLASSES = [f"class-{number}" for number in range(10)]
STARTS = ("CreateTrainingJob", "CreateHyperParameterTuningJob", "CreateTransformJob", "CreateEndpoint", "CreateModel")

WRONG: list[tuple[str, dict[str, Any], str, Any, str]] = [
    # wrong type
    ("epochs are no number", {f"{HYPER}.epochs": "many"}, f"{HYPER}.epochs", "many", "a whole number"),
    ("epochs are a switch", {f"{HYPER}.epochs": True}, f"{HYPER}.epochs", True, "a whole number"),
    ("half an epoch", {f"{HYPER}.epochs": 1.5}, f"{HYPER}.epochs", 1.5, "a whole number"),
    (
        "a rate is a word",
        {f"{HYPER}.learning_rate": "small"},
        f"{HYPER}.learning_rate",
        "small",
        "a number from 0 to 1",
    ),
    ("a switch is a word", {"endpoint.keep": "maybe"}, "endpoint.keep", "maybe", "true or false"),
    ("a section is a word", {"tuning": "Bayesian"}, "tuning", "Bayesian", "give a JSON object"),
    ("ranges are a list", {"tuning.ranges": [1, 2]}, "tuning.ranges", [1, 2], "must be a JSON object"),
    ("trials are a name", {"training.trials": "deep"}, "training.trials", "deep", "a list of JSON objects"),
    ("a range is a number", {"tuning.ranges.eps": 0.1}, "tuning.ranges.eps", 0.1, "a list of values or"),
    # out of range
    ("no epoch", {f"{HYPER}.epochs": 0}, f"{HYPER}.epochs", 0, "of at least 1"),
    ("a rate above 1", {f"{HYPER}.learning_rate": 1.5}, f"{HYPER}.learning_rate", 1.5, "from 0 to 1"),
    ("a momentum below 0", {f"{HYPER}.momentum": -0.1}, f"{HYPER}.momentum", -0.1, "from 0 to 1"),
    ("19 layers", {f"{HYPER}.num_layers": 19}, f"{HYPER}.num_layers", 19, "one of 18, 20, 32"),
    ("top 1", {f"{HYPER}.top_k": 1}, f"{HYPER}.top_k", 1, "at least 2"),
    ("an unknown optimizer", {f"{HYPER}.optimizer": "adamw"}, f"{HYPER}.optimizer", "adamw", "one of sgd, adam"),
    ("a shape in words", {f"{HYPER}.image_shape": "28x28"}, f"{HYPER}.image_shape", "28x28", "such as 3,224,224"),
    (
        "a day of 29 days",
        {"resources.max_runtime_seconds": 2505600},
        "resources.max_runtime_seconds",
        2505600,
        "2419200",
    ),
    ("no money", {"resources.max_cost": 0}, "resources.max_cost", 0, "a number above 0"),
    ("six parents", {"tuning.warm_start.from": list("abcdef")}, "tuning.warm_start.from", list("abcdef"), "at most 5"),
    ("a target above 1", {"tuning.completion.target": 90}, "tuning.completion.target", 90, "above 0 to 1"),
    # names
    ("two words", {"dataset.name": "two words"}, "dataset.name", "two words", "letters, digits and hyphens"),
    ("a long endpoint", {"endpoint.name": "e" * 64}, "endpoint.name", "e" * 64, "at most 63 characters"),
    (
        "a machine without GPU",
        {"resources.instance_type": "ml.m5.xlarge"},
        "resources.instance_type",
        "ml.m5.xlarge",
        "p2, p3",
    ),
    (
        "no such machine",
        {"resources.instance_type": "ml.g5.3xlarge"},
        "resources.instance_type",
        "ml.g5.3xlarge",
        "did you mean ml.g5",
    ),
    (
        "no such endpoint machine",
        {"endpoint.instance_type": "ml.m5.small"},
        "endpoint.instance_type",
        "ml.m5.small",
        "did you mean",
    ),
    # unknown keys
    ("a mistyped section", {"trainig": {"mode": "tune"}}, "trainig", {"mode": "tune"}, "did you mean training?"),
    (
        "a mistyped field",
        {f"{HYPER}.lerning_rate": 0.1},
        f"{HYPER}.lerning_rate",
        0.1,
        f"did you mean {HYPER}.learning_rate?",
    ),
    ("a derived field", {f"{HYPER}.num_classes": 10}, f"{HYPER}.num_classes", 10, "follows from the dataset version"),
    (
        "a held field",
        {"incremental.hyperparameters.num_layers": 18},
        "incremental.hyperparameters.num_layers",
        18,
        "is fixed by the base job",
    ),
    (
        "the same field twice",
        {"endpoint": {"keep": True}, "endpoint.keep": False},
        "endpoint.keep",
        False,
        "is given twice",
    ),
    # contradictions
    (
        "a deep network for small images",
        {f"{HYPER}.num_layers": 152},
        f"{HYPER}.num_layers",
        152,
        "take 20, 32, 44, 56, 110 layers",
    ),
    ("shares of 110 %", {"dataset.split.test": 0.2}, "dataset.split", "0.8 + 0.1 + 0.2", "must add up to 1"),
    (
        "checkpoints after the end",
        {f"{HYPER}.checkpoint_frequency": 9},
        f"{HYPER}.checkpoint_frequency",
        9,
        "at most the epochs (5)",
    ),
    ("two machines alone", {"resources.instance_count": 2}, "resources.instance_count", 2, "kv_store"),
    ("a wait without spot", {"resources.max_wait_seconds": 60}, "resources.max_wait_seconds", 60, "set resources.spot"),
    (
        "a grid over a range",
        {**TUNE, "tuning.strategy": "Grid", "tuning.ranges.eps": {"min": 0.1, "max": 1}},
        "tuning.ranges.eps",
        "0.1 to 1 (Auto)",
        "Grid needs a list",
    ),
    (
        "logarithms of nothing",
        {**TUNE, "tuning.ranges.momentum": {"min": 0, "max": 0.9, "scaling": "Logarithmic"}},
        "tuning.ranges.momentum",
        "0 to 0.9 (Logarithmic)",
        "above 0",
    ),
    (
        "Hyperband that stops twice",
        {**TUNE, "tuning.strategy": "Hyperband", "tuning.early_stopping": True},
        "tuning.early_stopping",
        True,
        "switch it off",
    ),
    (
        "a model nobody makes",
        {"training.continue_with": "tune"},
        "training.continue_with",
        "tune",
        "set it to best or train",
    ),
    (
        "trials of a search",
        {**TUNE, "training.trials": [{"name": "a"}]},
        "training.trials",
        "1 trials",
        "set it to train or both",
    ),
    (
        "two trials of a name",
        {"training.trials": [{"name": "a"}, {"name": "a"}]},
        "training.trials.1.name",
        "a",
        "give each its own name",
    ),
    (
        "a trial's wrong depth",
        {"training.trials": [{"name": "a", "hyperparameters": {"num_layers": 18}}]},
        "training.trials.0.hyperparameters.num_layers",
        18,
        "take 20, 32",
    ),
    # what only AWS can tell
    (
        "no images",
        {"dataset.source": f"s3://{BUCKET}/nothing/"},
        "dataset.source",
        f"s3://{BUCKET}/nothing/",
        "upload one folder",
    ),
    (
        "an unpublished version",
        {"dataset.version": "20260102T030405Z-0a1b2c3d"},
        "dataset.version",
        "20260102T030405Z-0a1b2c3d",
        "name a finished version",
    ),
    (
        "a trial's unknown dataset",
        {"training.trials": [{"name": "a", "dataset": "pets"}]},
        "training.trials.0.dataset",
        "pets",
        "build one first",
    ),
    (
        "an unknown parent",
        {**TUNE, "tuning.warm_start.from": "nobody"},
        "tuning.warm_start.from",
        "nobody",
        "no such tuning job",
    ),
    ("a limit without prices", {"resources.max_cost": 5}, "resources.max_cost", 5.0, "name it in settings.prices"),
    ("a volume beyond the disk", {"resources.volume_gb": 500}, "resources.volume_gb", 500, "its own disk of 125 GB"),
    (
        "a batch below the GPUs",
        {"resources.instance_type": "ml.p3.16xlarge", f"{HYPER}.mini_batch_size": 4},
        f"{HYPER}.mini_batch_size",
        4,
        "8 GPUs",
    ),
]


def checked(conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **given: Any) -> dict[str, Any]:
    """What `check_conf` hands on for a run that was started with this conf."""
    run_as_task(monkeypatch, conf)
    document: dict[str, Any] = check_conf.check_conf.function(**given)  # type: ignore[attr-defined]
    return document


def started(aws: RunningLocalAws) -> dict[str, int]:
    """How often something paid was asked for since the server started."""
    with urllib.request.urlopen(f"{aws.url}/_local_aws/calls", timeout=10) as answer:
        calls = json.load(answer)
    return {name: count for name, count in _flat(calls).items() if name.endswith(STARTS)}


def _flat(calls: Any) -> dict[str, int]:
    return {name: count for name, count in calls.items() if isinstance(count, int)}


def test_a_good_conf_passes_in_a_word_or_two(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    document = checked(GIVEN, monkeypatch)

    assert document["dataset"]["source"] == [f"s3://{BUCKET}/data/"]
    told = [record for record in caplog.records if record.name.startswith("include.preflight")]
    assert all(record.levelname == "INFO" for record in told)
    assert len(told) <= 3


@pytest.mark.parametrize(
    ("conf", "expected"),
    [pytest.param(conf, (*expected,), id=name.replace(" ", "-")) for name, conf, *expected in WRONG],
)
def test_a_wrong_conf_is_told_with_field_value_and_remedy_before_anything_starts(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, conf: dict[str, Any], expected: tuple[str, Any, str]
) -> None:
    field, value, remedy = expected
    before = started(aws)

    with pytest.raises(ProblemsError) as error:
        checked({**GIVEN, **conf}, monkeypatch)

    told = {problem.field: problem for problem in error.value.problems}
    assert field in told, str(error.value)
    assert told[field].value == value
    assert remedy in told[field].remedy
    assert started(aws) == before


def test_weights_that_the_algorithm_lacks_are_refused_before_anything_starts(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = started(aws)
    preset = {"preset": "photographs", "dataset.source": f"s3://{BUCKET}/data/"}
    run_as_task(monkeypatch, preset)
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "imagenet_weights": False}))

    with pytest.raises(ProblemsError) as error:
        check_conf.check_conf.function()  # type: ignore[attr-defined]

    found = {problem.field: problem for problem in error.value.problems}[f"{HYPER}.use_pretrained_model"]
    assert (found.value, found.remedy.rpartition(": ")[2]) == (1, "set it to 0")
    assert started(aws) == before


def test_services_that_never_answer_hold_a_run_up_for_seconds(monkeypatch: pytest.MonkeyPatch, aws: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(ProblemsError) as error:
            checked(GIVEN, monkeypatch)

    assert time.monotonic() - began < 10  # 5 where nothing else runs
    assert [(problem.field, problem.value) for problem in error.value.problems] == [
        ("settings.data_bucket", BUCKET),
        ("settings.output_bucket", BUCKET),
    ]
    assert "S3 gives no answer within 3.5 s" in str(error.value)


def test_problems_of_conf_and_settings_come_in_one_message(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "region": "nowhere"}))

    with pytest.raises(ProblemsError) as error:
        checked({f"{HYPER}.epochs": 0, "endpoint.kepp": False}, monkeypatch)

    assert {problem.field for problem in error.value.problems} == {f"{HYPER}.epochs", "endpoint.kepp", "region"}


def test_what_does_not_depend_on_a_wrong_field_is_checked_all_the_same(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {**SETTINGS, "output_bucket": "a-bucket-nobody-made", "poll_seconds": "often"}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(absent))
    conf = {
        f"{HYPER}.epochs": "many",
        f"{HYPER}.lr": 0.1,
        "training.trials": [{"name": "a", "hyperparameters": {"num_layers": 19}}],
        "dataset.split.seed": -1,
        "resources.instance_type": "ml.p3.16xlarge",
        f"{HYPER}.mini_batch_size": 4,
        "endpoint.instance_type": "ml.m5.lrage",
    }

    with pytest.raises(ProblemsError) as error:
        checked(conf, monkeypatch)

    told = {problem.field: problem.remedy for problem in error.value.problems}
    assert told.keys() == {
        f"{HYPER}.epochs",
        f"{HYPER}.lr",
        "training.trials.0.hyperparameters.num_layers",
        "dataset.split.seed",
        "poll_seconds",
        f"{HYPER}.mini_batch_size",
        "endpoint.instance_type",
        "settings.output_bucket",
    }
    assert told["endpoint.instance_type"].endswith("did you mean ml.m5.large?")


def test_the_source_is_looked_for_though_the_training_is_wrong(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"s3://{BUCKET}/nothing/"

    with pytest.raises(ProblemsError) as error:
        checked({"dataset.source": source, "training.mode": "tunes", "resources.spot": "perhaps"}, monkeypatch)

    told = [(problem.field, problem.remedy) for problem in error.value.problems]
    assert [field for field, _ in told] == ["training.mode", "resources.spot", "dataset.source"]
    assert told[0][1].endswith("did you mean tune?")


@pytest.mark.parametrize(
    "conf",
    [
        {"dataset.source": "bucket/nothing/"},
        {"dataset.sorce": f"s3://{BUCKET}/elsewhere/"},
        {"dataset": "pets"},
        {"resources.instance_type": "g4dn.xlarge"},
        {"resources.instance_typ": "ml.p3.16xlarge", f"{HYPER}.mini_batch_size": 4},
    ],
)
def test_no_default_is_held_against_a_person_who_wrote_something_else(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, conf: dict[str, Any]
) -> None:
    given = {} if any(field.startswith("dataset") for field in conf) else GIVEN

    with pytest.raises(ProblemsError) as error:
        checked({**given, **conf}, monkeypatch)

    assert [problem.field for problem in error.value.problems] == [next(iter(conf))]


def test_what_is_secret_in_a_refused_address_is_masked(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[str] = []
    monkeypatch.setattr(context, "mask_secret", hidden.append)
    address = "https://[bad/a.zip?X-Amz-Signature=0123456789abcdef"

    for source in (address, ["s3:/typed/wrong/", f"{address}1", 7], [f"{address}2", "bucket/"]):
        with pytest.raises(ProblemsError):
            checked({"dataset.source": source}, monkeypatch)

    assert "0123456789abcdef" in hidden


def test_machines_are_checked_where_the_settings_lead_to_no_aws(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", raising=False)

    with pytest.raises(ProblemsError) as error:
        checked({"endpoint.instance_type": "ml.m5.lrage"}, monkeypatch)

    assert {problem.field for problem in error.value.problems} == {"image_classification", "endpoint.instance_type"}


def test_a_dag_is_asked_about_its_own_stages_only(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = {"dataset.source": f"s3://{BUCKET}/nothing/", "endpoint.instance_type": "ml.m5.small"}

    with pytest.raises(ProblemsError) as error:
        checked(conf, monkeypatch, stages=("dataset",))

    assert [problem.field for problem in error.value.problems] == ["dataset.source"]
    assert checked(conf, monkeypatch, stages=())


def test_a_run_that_trains_from_scratch_looks_for_no_earlier_model(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_on: dict[str, Any] = {}
    run_as_task(monkeypatch, {}, handed_on=handed_on)
    check_conf.check_conf.function(stages=())  # type: ignore[attr-defined]

    assert left_out(handed_on) == {"training.find_start"}


@pytest.fixture(scope="module")
def ten_classes(running_aws: RunningLocalAws) -> str:
    """A dataset whose endpoint serves ten classes."""
    settings = Settings.from_variable({**SETTINGS, "image_uri": IMAGE})
    deployed(running_aws, settings, registered(running_aws, settings, "pets-10", labels=TEN_CLASSES))
    return "pets-10"


def test_a_run_with_other_classes_than_those_that_serve_is_refused_before_it_trains(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, ten_classes: str
) -> None:
    fewer = {**GIVEN, "dataset.name": ten_classes, "dataset.labels": TEN_CLASSES[:5]}

    with pytest.raises(ProblemsError) as error:
        checked(fewer, monkeypatch)

    assert [str(problem) for problem in error.value.problems] == [
        "dataset.labels = 5 classes: the endpoint pets-10 serves 10 classes, this run has 5: give the dataset another "
        "name, or set promotion.allow_label_change"
    ]
    for replacing_nothing in (
        {"promotion.allow_label_change": True},
        {"dataset.name": "pets-5"},
        {"dataset.labels": TEN_CLASSES},
        {"endpoint.deploy": False},
    ):
        assert checked({**fewer, **replacing_nothing}, monkeypatch)


def test_a_finished_version_of_other_classes_is_refused_and_so_is_one_of_a_trial(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, ten_classes: str
) -> None:
    version = published(aws, ten_classes, version="20260103T030405Z-0a1b2c3d", labels=TEN_CLASSES[:5])
    conf = {"dataset.name": ten_classes, "dataset.labels": TEN_CLASSES, **GIVEN}
    trials = [{"name": "own"}, {"name": "fewer", "dataset": f"{ten_classes}/{version.version}"}]

    for asked in (
        {"dataset.name": ten_classes, "dataset.version": version.version},
        {**conf, "training.trials": trials},
    ):
        with pytest.raises(ProblemsError, match="the endpoint pets-10 serves 10 classes, this run has 5"):
            checked(asked, monkeypatch)


def test_a_dag_that_trains_and_does_not_deploy_says_so_in_its_conf(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = {"dataset.name": "pets-10", "dataset.labels": TEN_CLASSES}
    monkeypatch.setattr("include.preflight.checking.examine_run", lambda *_, **__: Findings())

    assert checked(conf, monkeypatch, stages=("training",))["endpoint"]["deploy"] is False
    assert checked(conf, monkeypatch)["endpoint"]["deploy"] is True
