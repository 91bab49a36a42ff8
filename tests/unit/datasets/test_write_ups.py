"""The datasets of the write-ups, built from the examples' own run confs over small stand-ins of their images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.version import DatasetVersion
from include.run_conf import RunConf
from include.training.preflight import dataset_problems
from tests.unit.datasets.conftest import Bucket
from tests.unit.recordio.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.fixture
def example(bucket: Bucket) -> Callable[..., RunConf]:
    """Read an example with the test's bucket for its own, and other figures where the stand-in is smaller."""

    def read(name: str, **changes: Any) -> RunConf:
        text = (EXAMPLES / f"{name}.json").read_text(encoding="utf-8")
        conf = json.loads(text.replace("s3://my-bucket/", f"s3://{bucket.name}/"))
        for field, value in changes.items():
            section, leaf = field.split("__")
            conf["dataset"].setdefault(section, {})[leaf] = value
        return RunConf.from_conf(conf)

    return read


def put(bucket: Bucket, keys: Iterable[str]) -> None:
    for number, key in enumerate(keys):
        bucket.put(key, jpeg(240, 260, seed=number))


def trains(conf: RunConf, version: DatasetVersion) -> bool:
    """Whether all that stands between the dataset and its training is that the stand-in has fewer images."""
    problems = dataset_problems(conf, version)
    return all(problem.field.endswith("mini_batch_size") for problem in problems)


def test_caltech_trains_on_the_same_number_of_images_of_each_class(
    bucket: Bucket, example: Callable[..., RunConf]
) -> None:
    sizes = {"001.ak47": 9, "002.american-flag": 12, "257.clutter": 10}
    put(
        bucket,
        (f"caltech-256/256_ObjectCategories/{name}/{n:04d}.jpg" for name, of in sizes.items() for n in range(of)),
    )
    conf = example("caltech-256", split__train_per_class=6)

    version = bucket.build(conf.dataset)

    assert version.labels == list(sizes)
    assert {label: counts.train for label, counts in version.class_counts.items()} == dict.fromkeys(sizes, 6)
    assert version.num_training_samples == 18
    assert version.smallest_side == 256
    assert trains(conf, version)


def test_cats_and_dogs_are_packed_as_they_are_with_test_images_as_validation(
    bucket: Bucket, rows: Rows, example: Callable[..., RunConf]
) -> None:
    folders = {"train": 10, "test": 4}
    put(
        bucket, (f"dataset_dogs_cats/{f}/{pet}/{n}.jpg" for f, of in folders.items() for pet in "cd" for n in range(of))
    )
    conf = example("cats-and-dogs")

    version = bucket.build(conf.dataset)

    assert (version.counts.validation, version.counts.train + version.counts.test) == (8, 20)
    validation = {key.split("/")[1] for key, row in rows(version).items() if row["split"] == "validation"}
    assert validation == {"test"}
    assert version.packing.pass_through
    assert version.smallest_side == 240
    assert trains(conf, version)


def test_dog_breeds_keep_their_splits(bucket: Bucket, rows: Rows, example: Callable[..., RunConf]) -> None:
    breeds = ("001.Affenpinscher", "002.Afghan_hound", "133.Yorkshire_terrier")
    folders = {"train": 5, "valid": 2, "test": 2}
    put(bucket, (f"dogImages/{f}/{breed}/{n}.jpg" for f, of in folders.items() for breed in breeds for n in range(of)))
    conf = example("dog-breeds")

    version = bucket.build(conf.dataset)

    assert version.labels == list(breeds)
    assert version.counts.model_dump() == {"train": 15, "validation": 6, "test": 6}
    assert trains(conf, version)


@pytest.mark.parametrize("classes", [334, 50])
def test_334_labels_and_50_of_them_are_versions_of_the_same_images(
    s3: S3Client, bucket: Bucket, example: Callable[..., RunConf], classes: int
) -> None:
    photos = Bucket(s3, f"{bucket.name}-user-content")
    s3.create_bucket(Bucket=photos.name)
    put(photos, (f"user/{number}.jpg" for number in range(48)))
    labels = [f"label {number}" for number in range(334)]
    lines = ["path,split," + ",".join(labels)]
    for number in range(48):
        flags = ["1" if (7 * number + 5 * label) % 11 < 3 else "0" for label in range(334)]
        lines.append(f"user/{number}.jpg,{'val' if number % 4 == 0 else 'train'}," + ",".join(flags))
    bucket.put("labels/334-labels.csv", "\n".join(lines).encode())
    conf = example("multi-label-334")
    dataset = conf.dataset.model_copy(update={"source": [f"s3://{photos.name}/"], "labels": labels[:classes]})

    version = bucket.build(dataset)

    assert (version.num_classes, version.multi_label) == (classes, True)
    assert version.counts.validation == 12
    assert version.counts.test > 0
    assert version.counts.total == 48
    assert version.smallest_side == 96
    assert all(problem.field != "dataset.split.test" for problem in dataset_problems(conf, version))


def test_flowers_are_split_in_three(bucket: Bucket, example: Callable[..., RunConf]) -> None:
    put(bucket, (f"flowers/{flower}/{number}.jpg" for flower in ("daisy", "rose", "tulip") for number in range(8)))
    conf = example("custom-container")

    version = bucket.build(conf.dataset)

    for counts in version.class_counts.values():
        assert counts.total == 8
        assert min(counts.train, counts.validation, counts.test) > 0
    assert trains(conf, version)
