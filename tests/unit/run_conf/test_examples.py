"""The run confs of the write-ups, as docs/how-to/write-ups.md links them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.algorithms.kinds import algorithm_of
from include.preflight.dataset_checks import dataset_problems
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from include.training.job_requests import training_request, tuning_request
from tests.support.documents import WRITE_UPS, dataset_version, settings

RUN = Run("image_classification", "manual__2026-01-02")


def example(name: str) -> RunConf:
    return RunConf.from_conf(json.loads(WRITE_UPS[name].read_text(encoding="utf-8")))


def test_every_write_up_has_an_example() -> None:
    assert sorted(WRITE_UPS) == [
        "caltech-256",
        "caltech-256-archive",
        "cats-and-dogs",
        "custom-container",
        "dog-breeds",
        "dog-breeds-script",
        "multi-label-334",
        "multi-label-50",
    ]


def test_caltech_trains_alike_from_records_and_from_its_archive() -> None:
    records, archive = (json.loads(WRITE_UPS[name].read_text()) for name in ("caltech-256", "caltech-256-archive"))
    assert records | {"dataset": {}} == archive | {"dataset": {}}


@pytest.mark.parametrize("name", sorted(WRITE_UPS))
def test_an_example_is_valid_and_fits_a_dataset_of_its_kind(name: str) -> None:
    conf = example(name)
    counts = {"train": 15420, "validation": 7000, "test": 7000}
    version = dataset_version(counts=counts, smallest_side=256, multi_label=conf.dataset.multi_label)
    assert dataset_problems(conf, version) == []


def sent(name: str, **changes: Any) -> dict[str, str]:
    conf = example(name)
    version = dataset_version(multi_label=conf.dataset.multi_label, **changes)
    request = training_request("job", algorithm=algorithm_of(conf, settings()), dataset=version, run=RUN)
    hyperparameters: dict[str, str] = request["HyperParameters"]
    return hyperparameters


def test_the_base_job_of_caltech_is_sent_what_the_write_up_sends() -> None:
    labels = [f"{number:03d}" for number in range(257)]
    counts = {"train": 257 * 60, "validation": 7594, "test": 7593}
    assert sent("caltech-256", labels=labels, counts=counts) == {
        "num_layers": "18",
        "image_shape": "3,224,224",
        "num_classes": "257",
        "num_training_samples": "15420",
        "mini_batch_size": "256",
        "epochs": "10",
        "learning_rate": "0.1",
        "top_k": "2",
        "multi_label": "0",
    }


def test_the_multi_label_job_is_sent_what_the_write_up_sends() -> None:
    labels = [f"label {number}" for number in range(334)]
    counts = {"train": 116945, "validation": 20000, "test": 10000}
    assert sent("multi-label-334", labels=labels, counts=counts) == {
        "num_layers": "152",
        "num_classes": "334",
        "num_training_samples": "116945",
        "augmentation_type": "crop_color_transform",
        "epochs": "5",
        "image_shape": "3,96,96",
        "learning_rate": "0.001",
        "mini_batch_size": "256",
        "multi_label": "1",
        "use_weighted_loss": "1",
        "optimizer": "adam",
    }


def test_50_labels_train_alike() -> None:
    many, few = (
        json.loads(WRITE_UPS[name].read_text(encoding="utf-8")) for name in ("multi-label-334", "multi-label-50")
    )
    assert many | {"dataset": {}} == few | {"dataset": {}}


def tuned(name: str) -> dict[str, Any]:
    counts = {"train": 1000, "validation": 400, "test": 400}
    version = dataset_version(counts=counts, multi_label=example(name).dataset.multi_label)
    return tuning_request("tuning", algorithm=algorithm_of(example(name), settings()), dataset=version, run=RUN)


def test_tuning_jobs_vary_what_the_write_ups_vary() -> None:
    several = tuned("multi-label-334")["HyperParameterTuningJobConfig"]
    assert several["ParameterRanges"]["IntegerParameterRanges"] == [
        {"Name": "mini_batch_size", "MinValue": "126", "MaxValue": "256", "ScalingType": "Auto"}
    ]
    limits = several["ResourceLimits"]
    assert (limits["MaxNumberOfTrainingJobs"], limits["MaxParallelTrainingJobs"]) == (2, 1)
    dogs = tuned("dog-breeds")["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert dogs["CategoricalParameterRanges"] == [{"Name": "mini_batch_size", "Values": ["32", "64", "128"]}]
    pets = tuned("cats-and-dogs")["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert {span["Name"] for span in pets["ContinuousParameterRanges"]} == {
        "beta_1",
        "beta_2",
        "eps",
        "gamma",
        "learning_rate",
        "momentum",
        "weight_decay",
    }
