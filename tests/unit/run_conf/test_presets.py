from __future__ import annotations

from typing import Any, get_args

import pytest

from include.preflight.dataset_checks import dataset_problems
from include.run_conf import PRESETS, PRESETS_FOLDER, Preset, RunConf, dataset_named_by, preset_conf
from tests.support.documents import dataset_version


def test_every_preset_has_a_file_and_a_purpose() -> None:
    assert {path.stem for path in PRESETS_FOLDER.iterdir()} == {*PRESETS} == {*get_args(Preset)}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_whole_run(name: Preset) -> None:
    conf, problems = RunConf.read({"preset": name})

    assert problems == []
    assert conf == RunConf.from_conf(preset_conf(name))
    assert RunConf.by_preset({"preset": name})["dataset.name"] == conf.dataset.name


def test_photographs_of_the_usual_size_fit_the_defaults_and_their_preset() -> None:
    version = dataset_version(smallest_side=256, counts={"train": 800, "validation": 100, "test": 100})

    for conf in ({}, {"preset": "photographs"}):
        assert dataset_problems(RunConf.from_conf(conf), version) == []


def test_what_is_given_goes_before_the_preset() -> None:
    conf = RunConf.from_conf({"preset": "digits", "training": {"mode": "train"}, "tuning.ranges": {"momentum": [0.9]}})

    assert conf.training.mode == "train"
    assert [*conf.tuning.ranges] == ["momentum"]
    assert conf.training.hyperparameters.epochs == 4


@pytest.mark.parametrize("empty", [None, "", "null"])
def test_an_empty_field_is_not_given(empty: Any) -> None:
    sent = {"preset": "photographs", "training.hyperparameters.use_pretrained_model": empty}

    conf = RunConf.from_conf(sent)

    assert conf.training.hyperparameters.use_pretrained_model == 1
    assert conf.dataset.name == "photographs"


def test_own_images_take_nothing_of_those_of_the_preset() -> None:
    own = {"preset": "caltech-256", "dataset.source": "s3://my-bucket/birds/"}

    conf = RunConf.from_conf({**own, "dataset.name": "birds"})

    assert (conf.dataset.labels, conf.dataset.split.train) == ([], 0.8)
    assert conf.training.hyperparameters.epochs == 10
    assert RunConf.from_conf({**own, "preset": "photographs"}).dataset.packing.resize == 256


def test_a_conf_that_was_read_is_whole_and_names_no_preset() -> None:
    conf = RunConf.from_conf({"preset": "multi-label-334", "training.hyperparameters.epochs": 3})
    document = conf.model_dump(mode="json")

    assert document["preset"] is None
    assert RunConf.from_conf(document) == conf
    assert RunConf.from_conf(conf.model_dump(mode="json", exclude_defaults=True)) == conf
    assert conf.changed_by({"training.hyperparameters.use_weighted_loss": None}).training.hyperparameters.epochs == 3


def test_a_value_of_the_preset_that_does_not_fit_names_it() -> None:
    _, problems = RunConf.read({"preset": "digits", "training.hyperparameters.image_shape": "3,224,224"})

    (problem,) = problems
    assert (problem.field, problem.value) == ("training.hyperparameters.num_layers", 20)
    assert problem.remedy.endswith("(the preset digits sets it)")


def test_an_unknown_preset_is_answered_with_the_one_that_was_meant() -> None:
    (problem,) = RunConf.read({"preset": "photograph"})[1]

    assert problem.remedy.startswith("must be one of photographs, digits")
    assert problem.remedy.endswith("did you mean photographs?")


def test_changes_of_another_conf_take_no_preset() -> None:
    changes, problems = RunConf.read_changes({"preset": "digits", "endpoint.instance_count": 2})

    assert [problem.field for problem in problems] == ["preset"]
    assert changes.model_dump(exclude_unset=True) == {"endpoint": {"instance_count": 2}}


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({}, ""),
        ({"dataset.name": "pets"}, "pets"),
        ({"dataset": {"name": "pets"}, "preset": "digits"}, "pets"),
        ({"preset": "dog-breeds-script", "dataset.name": None}, "dog-breeds"),
        ({"preset": "digits", "dataset": {"source": "s3://my-bucket/photos/"}}, ""),
        ({"preset": "nobody's", "dataset": "pets"}, ""),
    ],
)
def test_the_dataset_of_a_conf_is_known_without_reading_it(conf: dict[str, Any], named: str) -> None:
    assert dataset_named_by(conf) == named
