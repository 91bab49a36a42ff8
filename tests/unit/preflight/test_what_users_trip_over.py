"""The troubles that users of the algorithm report after minutes of paid time, each told before a run starts."""

from __future__ import annotations

from typing import Any

import pytest

from include.datasets.version import DatasetVersion
from include.preflight import Findings, PreflightError
from include.preflight.checking import check
from include.recordio.format import encode_image_record, encode_record
from include.run_conf import RunConf, RunConfError
from tests.support.documents import SMALL_NETWORK, dataset_version, settings
from tests.unit.preflight.services import client, clients, prices, quotas
from tests.unit.preflight.test_access import Iam, sts

SMALL = {**SMALL_NETWORK, "training.hyperparameters.mini_batch_size": 16}


@pytest.fixture
def images(s3: Any) -> Any:
    s3.put_object(Bucket="images-of-acme", Key="images/cat/1.jpg", Body=b"jpeg")
    return s3


def publish(s3: Any, dataset: DatasetVersion, *, labels: tuple[float, ...] = (1.0,), empty: str = "") -> DatasetVersion:
    record = encode_record(encode_image_record(labels, 0, b"jpeg"))
    for split in ("train", "validation"):
        body = b"" if split == empty else record
        s3.put_object(Bucket="images-of-acme", Key=f"{dataset.layout.prefix}{split}/{split}.rec", Body=body)
    return dataset


def told(s3: Any, conf: dict[str, Any], installation: dict[str, Any] | None = None, **given: Any) -> list[str]:
    with pytest.raises(PreflightError) as error:
        check(RunConf.from_conf({**SMALL, **conf}), settings(**(installation or {})), s3=s3, **given)
    return [str(problem) for problem in error.value.problems]


def passes(s3: Any, conf: dict[str, Any], **given: Any) -> Findings:
    return check(RunConf.from_conf({**SMALL, **conf}), settings(), s3=s3, **given)


def test_fewer_images_than_a_batch_in_either_channel(s3: Any) -> None:
    version = publish(s3, dataset_version())
    assert told(s3, {"training.hyperparameters.mini_batch_size": 24}, dataset=version) == [
        "training.hyperparameters.mini_batch_size = 24: the train channel has 80 images, the validation channel 20: "
        "use at most 20"
    ]
    tune = {"training.mode": "tune", "tuning.ranges.mini_batch_size": {"min": 8, "max": 64}}
    assert told(s3, tune, dataset=version) == [
        "tuning.ranges.mini_batch_size = 64: the train channel has 80 images, the validation channel 20: use at most 20"
    ]


def test_an_empty_record_file(s3: Any) -> None:
    version = publish(s3, dataset_version(), empty="train")
    assert told(s3, {}, dataset=version) == [
        f"dataset.version = {version.uri}train/train.rec: is empty, without records: build a new version"
    ]


def test_a_number_of_training_samples_that_somebody_counted() -> None:
    with pytest.raises(
        RunConfError, match=r"num_training_samples = 900: follows from the dataset version: leave it out"
    ):
        RunConf.from_conf({"training.hyperparameters.num_training_samples": 900})


def test_label_columns_that_are_not_as_many_as_classes(s3: Any) -> None:
    version = publish(s3, dataset_version(multi_label=True), labels=(1.0, 0.0))
    train, _ = told(s3, {"dataset.multi_label": True}, dataset=version)
    assert train == (
        f"dataset.version = {version.uri}train/train.rec: has 2 labels a record, and num_classes of this version "
        "asks for 3: build a new version"
    )
    passes(s3, {"dataset.multi_label": True}, dataset=publish(s3, version, labels=(1.0, 0.0, 0.0)))


def test_no_objects_under_an_address(s3: Any) -> None:
    assert told(s3, {"dataset.source": "s3://images-of-acme/pets/"}) == [
        "dataset.source = s3://images-of-acme/pets/: has no objects: upload one folder for each class"
    ]
    version = dataset_version()
    assert told(s3, {}, dataset=version)[0] == (
        f"dataset.version = {version.uri}train/: has no S3 objects: build a new version, or correct the name"
    )


def test_a_bucket_of_another_region(images: Any) -> None:
    assert told(images, {}, {"region": "eu-west-1"})[0] == (
        "settings.data_bucket = images-of-acme: is in eu-central-1, and jobs of eu-west-1 read buckets of eu-west-1 "
        "only: use a bucket of that region"
    )


def test_a_role_that_may_not_list_the_bucket(images: Any) -> None:
    services = clients(iam=Iam(denied=("s3:ListBucket",)), sts=sts())
    assert told(images, {}, clients=services) == [
        "settings.execution_role_arn = arn:aws:iam::123456789012:role/sagemaker-execution: may not s3:ListBucket on "
        "images-of-acme: allow it in the role's policy"
    ]


def test_a_quota_of_no_machine(images: Any) -> None:
    listed = quotas(
        ("ml.g4dn.xlarge for training job usage", 0),
        ("ml.m5.large for transform job usage", 4),
        ("ml.m5.large for endpoint usage", 4),
    )
    assert told(images, {}, clients=clients(service_quotas=listed)) == [
        "resources.instance_type = ml.g4dn.xlarge: the quota 'ml.g4dn.xlarge for training job usage' in eu-central-1 "
        "is 0 and the run needs 1: ask for more in Service Quotas, or use fewer machines or other ones"
    ]


def test_a_machine_that_the_region_does_not_have(images: Any) -> None:
    listed = prices([], [{"Training": 3.8}], [{"Hosting": 0.1, "Batch Transform": 0.1}])
    assert told(images, {"resources.instance_type": "ml.p3.2xlarge"}, clients=clients(pricing=listed)) == [
        "resources.instance_type = ml.p3.2xlarge: is not offered in eu-central-1: use another machine, or "
        "another region"
    ]


def test_a_hyperparameter_that_the_algorithm_would_refuse_after_its_start() -> None:
    with pytest.raises(RunConfError) as error:
        RunConf.from_conf({"training.hyperparameters": {"learning_rate": 3, "optimizer": "adamw", "num_layers": 19}})
    assert {problem.field: problem.value for problem in error.value.problems} == {
        "training.hyperparameters.num_layers": 19,
        "training.hyperparameters.learning_rate": 3,
        "training.hyperparameters.optimizer": "adamw",
    }


def test_images_below_the_network_s_input(s3: Any) -> None:
    version = publish(s3, dataset_version(smallest_side=24))
    assert told(s3, {}, dataset=version) == [
        "training.hyperparameters.image_shape = 3,28,28: the smallest side of a packed image is 24 pixels: "
        "set dataset.packing.resize to at least 28, or a smaller image_shape"
    ]


def test_labels_that_are_all_0(s3: Any) -> None:
    counts = {"cat": {"train": 80}, "dog": {}, "owl": {}}
    version = publish(s3, dataset_version(class_counts=counts))
    assert told(s3, {}, dataset=version) == [
        "dataset.labels = cat, dog, owl: every training image has the label cat (index 0): correct "
        "dataset.label_tables, or the folders of the source"
    ]


def test_a_class_without_images_that_would_shift_the_others(s3: Any) -> None:
    counts = {"cat": {"train": 40}, "dog": {}, "owl": {"train": 40}}
    version = publish(s3, dataset_version(class_counts=counts))
    assert told(s3, {}, dataset=version) == [
        "dataset.labels = dog: no training image shows this: add images or leave the class out"
    ]


def test_an_endpoint_that_sees_other_images_than_the_training(s3: Any) -> None:
    wide = publish(s3, dataset_version(mean_image={"width": 56, "height": 28, "bytes": 900}))
    (note,) = passes(s3, {}, dataset=wide).notes
    assert "its accuracy may be below the training's" in note
    assert "evaluate_endpoint measures it" in note
    square = publish(s3, dataset_version(mean_image={"width": 28, "height": 28, "bytes": 900}))
    assert passes(s3, {}, dataset=square).notes == ()


def test_services_that_do_not_answer_stop_no_run(images: Any) -> None:
    found = passes(images, {}, clients=clients(kms=client("kms")))
    assert found.problems == ()
    assert [note.partition(":")[0] for note in found.notes] == ["role", "quotas", "prices", "endpoint"]
