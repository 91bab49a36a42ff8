from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.datasets.version import DatasetVersion
from include.preflight import PreflightError
from include.preflight.checking import check
from include.preflight.dataset_checks import dataset_notes, dataset_problems
from include.recordio.format import encode_image_record, encode_record
from include.run_conf import RunConf
from include.training.best_model import BestModel, label_set_fingerprint
from tests.support.documents import SMALL_NETWORK, dataset_version, settings

TUNE = {"training.mode": "tune"}
PARENT = BestModel(
    job="champion",
    objective="validation:accuracy",
    value=0.9,
    artifact="s3://models-of-acme/jobs/champion/output/model.tar.gz",
    hyperparameters={"num_layers": "18", "image_shape": "3,32,32", "num_classes": "4", "mini_batch_size": "64"},
)


def messages(conf: dict[str, Any], **changes: Any) -> list[str]:
    parent = changes.pop("parent", None)
    whole = {**SMALL_NETWORK, "training.hyperparameters.mini_batch_size": 16, **conf}
    return [
        str(problem)
        for problem in dataset_problems(RunConf.from_conf(whole), dataset_version(**changes), parent=parent)
    ]


def test_a_fitting_dataset_has_no_problems() -> None:
    assert messages({}) == []


TOO_FEW = "the train channel has 80 images, the validation channel 20: use at most 20"


@pytest.mark.parametrize(
    ("conf", "data", "message"),
    [
        (
            {"training.hyperparameters.mini_batch_size": 32},
            {},
            f"training.hyperparameters.mini_batch_size = 32: {TOO_FEW}",
        ),
        (
            {**TUNE, "tuning.ranges.mini_batch_size": {"min": 8, "max": 64}},
            {},
            f"tuning.ranges.mini_batch_size = 64: {TOO_FEW}",
        ),
        (
            {**TUNE, "tuning.ranges.mini_batch_size": [8, 128]},
            {},
            f"tuning.ranges.mini_batch_size = 128: {TOO_FEW}",
        ),
        (
            {"incremental.hyperparameters.mini_batch_size": 24},
            {},
            f"incremental.hyperparameters.mini_batch_size = 24: {TOO_FEW}",
        ),
        (
            {},
            {"smallest_side": 20},
            "training.hyperparameters.image_shape = 3,28,28: the smallest side of a packed image is 20 pixels: "
            "set dataset.packing.resize to at least 28, or a smaller image_shape",
        ),
        (
            {"training.hyperparameters.top_k": 4},
            {},
            "training.hyperparameters.top_k = 4: must be at most the 3 classes",
        ),
        (
            {"training.hyperparameters.top_k": 2},
            {"multi_label": True},
            "training.hyperparameters.top_k = 2: the dataset version is multi-label, where several classes are right: "
            "leave it empty",
        ),
        (
            {"dataset.multi_label": True, "training.hyperparameters.use_weighted_loss": 1},
            {},
            "training.hyperparameters.use_weighted_loss = 1: is for multi-label datasets, and this version has one "
            "label per image: leave it empty",
        ),
        (
            {},
            {"counts": {"train": 80, "validation": 20, "test": 0}},
            "dataset.split.test = 0: no image of pets/20260102T030405Z-0a1b2c3d is in this split: add images",
        ),
        (
            {},
            {
                "class_counts": {
                    "cat": {"train": 40},
                    "dog": {"train": 40},
                    "owl": {"train": 0, "validation": 1},
                }
            },
            "dataset.labels = owl: no training image shows this: add images or leave the class out",
        ),
        (
            {},
            {"labels": ["cat"]},
            "dataset.labels = ['cat']: pets/20260102T030405Z-0a1b2c3d needs at least two classes",
        ),
    ],
)
def test_what_data_and_conf_do_not_agree_on_is_told(conf: dict[str, Any], data: dict[str, Any], message: str) -> None:
    assert messages(conf, **data) == [message]


def shape_messages(shape: str, **data: Any) -> list[str]:
    height = int(shape.split(",")[1])
    layers = 20 if height <= 28 else 18
    conf = {"training.hyperparameters.image_shape": shape, "training.hyperparameters.num_layers": layers}
    return messages(conf, smallest_side=min(data["smallest_height"], data["smallest_width"]), **data)


@pytest.mark.parametrize(
    ("shape", "height", "width"),
    [("3,32,48", 32, 48), ("3,48,32", 48, 32), ("3,24,90", 30, 90), ("1,90,24", 90, 24), ("3,28,28", 28, 28)],
)
def test_images_of_a_shape_that_is_not_square_fit_a_network_of_that_shape(shape: str, height: int, width: int) -> None:
    packing = {"color": int(shape[0] == "3")}
    assert shape_messages(shape, smallest_height=height, smallest_width=width, packing=packing) == []


@pytest.mark.parametrize(
    ("shape", "height", "width", "packing", "told"),
    [
        (
            "3,32,48",
            48,
            32,
            {},
            "the smallest width of a packed image is 32 pixels, below 48: set dataset.packing.resize to at least 48, "
            "or a smaller image_shape",
        ),
        (
            "3,32,48",
            24,
            40,
            {"resize": 24},
            "the smallest height of a packed image is 24 pixels, below 32, the smallest width of a packed image is 40 "
            "pixels, below 48: set dataset.packing.resize to at least 32, or a smaller image_shape",
        ),
        (
            "3,40,20",
            30,
            30,
            {"resize": 30, "center_crop": True},
            "the smallest height of a packed image is 30 pixels, below 40: set dataset.packing.resize to at least 40, "
            "or a smaller image_shape",
        ),
        (
            "3,40,20",
            30,
            90,
            {"pass_through": True},
            "the smallest height of a packed image is 30 pixels, below 40: leave images below 20 x 40 (width x height) "
            "out of the source, or set a smaller image_shape",
        ),
    ],
)
def test_height_is_compared_with_height_and_width_with_width(
    shape: str, height: int, width: int, packing: dict[str, Any], told: str
) -> None:
    found = shape_messages(shape, smallest_height=height, smallest_width=width, packing=packing)
    assert found == [f"training.hyperparameters.image_shape = {shape}: {told}"]


@pytest.mark.parametrize(("largest", "fits"), [(None, True), (100_000_000, True), (100_000_001, False)])
def test_a_test_image_that_no_batch_transform_sends_is_told_before_anything_is_trained(
    largest: int | None, fits: bool
) -> None:
    found = messages({}, largest_test_image=largest, packing={"encoding": ".png", "resize": 7000})
    assert (
        found == []
        if fits
        else [
            f"dataset.packing = shorter side 7000 pixels, PNG: the largest packed test image has {largest} bytes, and "
            "the batch transform that measures the model sends at most 100 MB: set dataset.packing.resize, or "
            "dataset.packing.encoding to jpg"
        ]
    )


@pytest.mark.parametrize(("largest", "is_told"), [(None, False), (6_291_456, False), (6_291_457, True)])
def test_a_test_image_that_only_a_batch_transform_takes_is_worth_a_note(largest: int | None, is_told: bool) -> None:
    notes = list(dataset_notes(RunConf(), dataset_version(largest_test_image=largest)))
    told = (
        f"the largest packed test image has {largest} bytes, and a request to an endpoint may have 6291456: the batch "
        "transform takes it, deployment.predict and evaluate_endpoint leave it out"
    )
    assert notes == ([told] if is_told else [])


GRAY = "training.hyperparameters.image_shape"


@pytest.mark.parametrize(
    ("shape", "color", "told"),
    [
        ("3,28,28", 1, ""),
        ("1,28,28", 0, ""),
        ("3,28,28", -1, ""),
        ("1,28,28", -1, ""),
        (
            "1,28,28",
            1,
            "has one channel, and images are packed with three: set dataset.packing.color to 0, or the first number "
            "to 3",
        ),
        (
            "3,28,28",
            0,
            "has three channels, and images are packed with one: set dataset.packing.color to 1, or the first number "
            "to 1",
        ),
    ],
)
def test_the_channels_of_the_network_meet_those_of_the_packed_images(
    s3: Any, shape: str, color: int, told: str
) -> None:
    expected = [f"{GRAY} = {shape}: {told}"] if told else []
    assert messages({GRAY: shape}, packing={"color": color}) == expected
    conf = {GRAY: shape, "dataset.packing.color": color}
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"1")
    if told:
        assert refused(s3, conf) == expected
    else:
        assert check(RunConf.from_conf({**SMALL_NETWORK, **conf}), settings(), s3=s3).problems == ()


def test_images_that_are_packed_as_they_are_have_the_channels_that_the_network_asks_for() -> None:
    for shape in ("1,28,28", "3,28,28"):
        assert messages({GRAY: shape}, packing={"pass_through": True}) == []


def test_packing_of_a_run_that_builds_no_version_says_nothing_of_its_channels(s3: Any) -> None:
    version = dataset_version(packing={"color": 0}, counts={"train": 80, "validation": 40, "test": 20})
    conf = {**SMALL_NETWORK, GRAY: "1,28,28", "dataset.name": "pets", "dataset.version": version.version}
    s3.put_object(Bucket="images-of-acme", Key=version.layout.document, Body=version.model_dump_json().encode())
    for split in ("train", "validation"):
        record = encode_record(encode_image_record([0.0], 0, b"image"))
        s3.put_object(Bucket="images-of-acme", Key=version.layout.records(split), Body=record)  # type: ignore[arg-type]
    assert check(RunConf.from_conf(conf), settings(), s3=s3).problems == ()
    training = ("training", "endpoint")
    assert (
        check(
            RunConf.from_conf({**SMALL_NETWORK, GRAY: "1,28,28", "dataset.name": "pets"}),
            settings(),
            s3=s3,
            stages=training,
        ).problems
        == ()
    )


def test_each_trial_meets_the_packed_images(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"1")
    trials = [
        {"name": "gray", "hyperparameters": {"image_shape": "1,28,28"}},
        {"name": "colours"},
    ]
    found = refused(s3, {"training.trials": trials, "dataset.packing.color": 0})
    remedy = (
        "has three channels, and images are packed with one: set dataset.packing.color to 1, or the first number to 1"
    )
    assert found == [f"{GRAY} = 3,28,28: {remedy}"]
    found = refused(s3, {"training.trials": trials})
    remedy = (
        "has one channel, and images are packed with three: set dataset.packing.color to 0, or the first number to 3"
    )
    assert found == [f"training.trials.0.hyperparameters.image_shape = 1,28,28: {remedy}"]


def test_a_champion_of_one_channel_trains_on_with_the_images_it_learned_from() -> None:
    hyperparameters = {**PARENT.hyperparameters, "image_shape": "1,28,28", "num_classes": "3", "mini_batch_size": "16"}
    parent = PARENT.model_copy(update={"hyperparameters": hyperparameters})
    assert messages({}, parent=parent, packing={"color": 1}) == []
    colours = PARENT.model_copy(update={"hyperparameters": {**hyperparameters, "image_shape": "3,28,28"}})
    (message,) = messages({}, parent=colours, packing={"color": 0})
    assert message.startswith(f"{GRAY} = 3,28,28 of champion: has three channels, and images are packed with one")


def test_of_a_version_from_before_both_sides_were_kept_only_what_is_certain_is_refused() -> None:
    wide = {"training.hyperparameters.image_shape": "3,28,48"}
    assert messages(wide, smallest_side=28) == []
    assert messages(wide, smallest_side=27) == [
        "training.hyperparameters.image_shape = 3,28,48: the smallest side of a packed image is 27 pixels: "
        "set dataset.packing.resize to at least 48, or a smaller image_shape"
    ]


def test_a_parent_that_does_not_fit_asks_for_a_full_training() -> None:
    assert messages({}, parent=PARENT) == [
        "training.hyperparameters.image_shape = 3,32,32 of champion: the smallest side of a packed image is 28 pixels: "
        "set dataset.packing.resize to at least 32, or a smaller image_shape",
        "dataset.labels = 3 classes: the parent model champion knows 4; classes cannot be added: run a full training",
        f"incremental.hyperparameters.mini_batch_size = 64: {TOO_FEW}",
    ]


def test_a_parent_with_the_same_number_of_other_classes_asks_for_a_full_training() -> None:
    hyperparameters = {**PARENT.hyperparameters, "image_shape": "3,28,28", "num_classes": "3", "mini_batch_size": "16"}
    parent = PARENT.model_copy(
        update={"hyperparameters": hyperparameters, "label_set": label_set_fingerprint(["dog", "cat", "owl"])}
    )
    assert messages({}, parent=parent) == [
        "dataset.labels = cat, dog, owl: the parent model champion knows other classes, or in another order: "
        "run a full training"
    ]
    same = parent.model_copy(update={"label_set": label_set_fingerprint(["cat", "dog", "owl"])})
    assert messages({}, parent=same) == []


def test_a_parent_trained_with_labels_of_another_kind_asks_for_a_full_training() -> None:
    hyperparameters = {**PARENT.hyperparameters, "image_shape": "3,28,28", "num_classes": "3", "mini_batch_size": "16"}
    parent = PARENT.model_copy(update={"hyperparameters": {**hyperparameters, "multi_label": "1"}})
    assert messages({}, parent=parent) == [
        "dataset.multi_label = False: the parent model champion was trained otherwise: run a full training"
    ]
    assert messages({}, parent=parent, multi_label=True) == []


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", region_name="eu-central-1")
        for bucket in ("images-of-acme", "models-of-acme"):
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client


def refused(s3: Any, conf: dict[str, Any], **given: Any) -> list[str]:
    with pytest.raises(PreflightError) as error:
        check(RunConf.from_conf({**SMALL_NETWORK, **conf}), given.pop("given", settings()), s3=s3, **given)
    return [str(problem) for problem in error.value.problems]


def test_images_in_reachable_buckets_pass(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"jpeg")
    check(RunConf(), settings(), s3=s3)


def test_an_empty_source_is_told(s3: Any) -> None:
    assert refused(s3, {"dataset.source": "s3://images-of-acme/pets"}) == [
        "dataset.source = s3://images-of-acme/pets/: has no objects: upload one folder for each class"
    ]


def test_an_empty_source_of_split_folders_is_told_how_to_fill_it(s3: Any) -> None:
    assert refused(s3, {"dataset.source": "s3://images-of-acme/dogs/", "dataset.layout": "split_folders"}) == [
        "dataset.source = s3://images-of-acme/dogs/: has no objects: upload train/CLASS/"
    ]


def test_a_label_table_stands_for_the_source(s3: Any) -> None:
    conf = {"dataset.label_tables": "s3://images-of-acme/labels.csv", "dataset.multi_label": True}
    assert refused(s3, conf) == [
        "dataset.label_tables = s3://images-of-acme/labels.csv: is not there: upload it or correct it"
    ]
    s3.put_object(Bucket="images-of-acme", Key="labels.csv", Body=b"path,sun,sea")
    check(RunConf.from_conf(conf), settings(), s3=s3)


def test_every_document_of_a_source_has_to_be_there(s3: Any) -> None:
    conf = {
        "dataset.source": "s3://images-of-acme/pets/",
        "dataset.image_list": "s3://images-of-acme/s3-paths.txt",
        "dataset.inventory": "s3://images-of-acme/manifest.json",
        "dataset.labels_file": "s3://images-of-acme/labels.txt",
    }
    assert refused(s3, conf) == [
        f"{field} = {conf[field]}: is not there: upload it or correct it" for field in list(conf)[1:]
    ]


def test_several_labels_without_a_table_are_told(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"jpeg")
    assert refused(s3, {"dataset.multi_label": True}) == [
        "dataset.multi_label = True: folders give an image one label: name dataset.label_tables"
    ]


def test_missing_buckets_are_told_together(s3: Any) -> None:
    assert refused(s3, {}, given=settings(data_bucket="no-such-data", output_bucket="no-such-output")) == [
        "settings.data_bucket = no-such-data: does not exist: create it or correct the setting",
        "settings.output_bucket = no-such-output: does not exist: create it or correct the setting",
    ]


def test_a_region_without_the_algorithm_is_told(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"jpeg")
    assert refused(s3, {}, given=settings(region="eu-centrl-1")) == [
        "settings.region = eu-centrl-1: AWS offers no image classification here: "
        "correct it, or name a container of your own as image_uri"
    ]
    check(RunConf(), settings(region="eu-centrl-1", image_uri="acme/image-classification:2"), s3=s3)


def test_a_region_whose_debugger_evaluates_no_rules_is_told(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"jpeg")
    conf = {"training.debugger.rules": {"Overfit": {}, "ProfilerReport": {}}}
    assert (
        "training.debugger.rules = Overfit, ProfilerReport: SageMaker Debugger evaluates no rules in region "
        "eu-central-2: leave them out"
    ) in refused(s3, conf, given=settings(region="eu-central-2"))


def test_a_machine_that_is_not_offered_is_told(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"jpeg")
    assert refused(s3, {"resources.instance_type": "ml.g5.3xlarge", "endpoint.instance_type": "ml.m5.small"}) == [
        "resources.instance_type = ml.g5.3xlarge: SageMaker offers no such machine for this; "
        "did you mean ml.g5.xlarge?",
        "endpoint.instance_type = ml.m5.small: SageMaker offers no such machine for this; did you mean ml.m5.large?",
    ]


def test_a_source_in_a_missing_bucket_is_told(s3: Any) -> None:
    (message,) = refused(s3, {"dataset.source": "s3://elsewhere/images/"})
    assert message.startswith("dataset.source = s3://elsewhere/images/: cannot be listed (NoSuchBucket: ")
    assert "NoSuchBucket" in message


def test_a_version_that_was_never_published_is_told(s3: Any) -> None:
    assert refused(s3, {"dataset.name": "pets", "dataset.version": "20260102T030405Z-0a1b2c3d"}) == [
        "dataset.version = 20260102T030405Z-0a1b2c3d: "
        "s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/dataset.json does not exist: "
        "name a finished version or leave it empty"
    ]


def put_records(s3: Any, dataset: DatasetVersion, labels: tuple[float, ...] = (1.0,)) -> None:
    for split in ("train", "validation"):
        body = encode_record(encode_image_record(labels, 0, b"jpeg"))
        s3.put_object(Bucket="images-of-acme", Key=f"{dataset.layout.prefix}{split}/{split}.rec", Body=body)


def test_a_dataset_version_in_hand_is_checked_instead_of_the_source(s3: Any) -> None:
    put_records(s3, dataset_version())
    assert refused(s3, {}, dataset=dataset_version()) == [f"training.hyperparameters.mini_batch_size = 32: {TOO_FEW}"]


def test_each_trial_is_held_against_its_own_version(s3: Any) -> None:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"jpeg")
    version = dataset_version()
    put_records(s3, version)
    s3.put_object(Bucket="images-of-acme", Key=version.layout.document, Body=version.model_dump_json().encode())
    trials = [
        {"name": "large", "dataset": "pets", "hyperparameters": {"mini_batch_size": 24}},
        {"name": "small", "dataset": f"pets/{version.version}", "hyperparameters": {"mini_batch_size": 8}},
        {"name": "gone", "dataset": "pets/20250102T030405Z-0a1b2c3d"},
    ]
    assert refused(s3, {"training.trials": trials, "incremental.enabled": False}) == [
        f"training.trials.0.hyperparameters.mini_batch_size = 24: {TOO_FEW}",
        "training.trials.2.dataset = 20250102T030405Z-0a1b2c3d: "
        "s3://images-of-acme/datasets/pets/20250102T030405Z-0a1b2c3d/dataset.json does not exist: "
        "name a finished version or leave it empty",
    ]


def test_training_alone_needs_a_finished_version(s3: Any) -> None:
    assert refused(s3, {"dataset.name": "pets"}, stages=("training",)) == [
        "dataset.name = pets: s3://images-of-acme/datasets/pets/ has no finished version: build one first, or "
        "correct the name"
    ]


def test_classes_and_batch_sizes_are_checked_beside_wrong_fields() -> None:
    wrong = {
        "training.hyperparameters": {
            "num_layers": 20,
            "image_shape": "3,28,28",
            "epochs": "many",
            "mini_batch_size": 32,
            "top_k": 9,
            "lr": 1,
        },
        "incremental.hyperparameters": {"mini_batch_size": 64, "optimizer": "lion"},
        "dataset.split.train": 3,
    }
    conf, told = RunConf.read(wrong)
    assert len(told) == 4

    found = {problem.field for problem in dataset_problems(conf, dataset_version())}

    assert found == {
        "training.hyperparameters.mini_batch_size",
        "training.hyperparameters.top_k",
        "incremental.hyperparameters.mini_batch_size",
    }


def test_nothing_is_said_of_a_batch_that_is_wrong_itself() -> None:
    conf, _ = RunConf.read({**SMALL_NETWORK, "training.hyperparameters": {"mini_batch_size": "big", "top_k": 9}})

    found = [problem.field for problem in dataset_problems(conf, dataset_version())]

    assert found == ["training.hyperparameters.top_k"]
