from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.sources.label_table import LabelTable, read_label_tables
from include.datasets.sources.table_formats import LabelTableError
from include.datasets.version import DatasetVersion
from include.retraining import dataset_conf
from include.run_conf import RunConf, RunConfError
from include.run_conf.dataset import GroundTruthConf
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.memory_s3 import MemoryS3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]
Line = dict[str, Any]


def one(path: str, name: str, confidence: float = 0.9, job: str = "species", **metadata: Any) -> Line:
    """A line of a single-label job."""
    told = {
        "class-name": name,
        "confidence": confidence,
        "type": "groundtruth/image-classification",
        "job-name": f"labeling-job/{job}",
        "human-annotated": "yes",
        "creation-date": "2026-10-18T22:18:13.527256",
    }
    return {"source-ref": path, job: 0, f"{job}-metadata": told | metadata}


def several(path: str, names: dict[str, float], **metadata: Any) -> Line:
    """A line of a multi-label job: names with their confidence, by any numbers."""
    numbers = {name: place * 3 + 1 for place, name in enumerate(names)}
    told = {
        "class-map": {str(number): name for name, number in numbers.items()},
        "confidence-map": {str(numbers[name]): confidence for name, confidence in names.items()},
        "type": "groundtruth/image-classification-multilabel",
        "human-annotated": "yes",
    }
    return {"source-ref": path, "scene": list(numbers.values()), "scene-metadata": told | metadata}


def text(*lines: Line) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


def read(*lines: Line, name: str = "output.manifest", **options: Any) -> LabelTable:
    bucket = MemoryS3()
    return read_label_tables(
        bucket.client, [bucket.put(name, text(*lines))], ground_truth=GroundTruthConf.model_validate(options)
    )


def told(table: LabelTable) -> dict[str, tuple[str, ...] | str]:
    """The labels of each path, or why it has none."""
    return {row.path: f"{row.status}: {row.reason}" if row.status else row.labels for row in table.rows}


@pytest.mark.parametrize("name", ["output.manifest", "labels.jsonl", "OUTPUT.MANIFEST"])
def test_a_single_label_job_names_classes(name: str) -> None:
    table = read(one("s3://b/1.jpg", "dog"), one("s3://b/2.jpg", "cat", 0.0), name=name)
    assert (table.classes, told(table)) == (("cat", "dog"), {"s3://b/1.jpg": ("dog",), "s3://b/2.jpg": ("cat",)})


def test_a_multi_label_job_names_classes_by_its_map() -> None:
    table = read(several("s3://b/1.jpg", {"sea": 0.9, "sun": 0.3}), several("s3://b/2.jpg", {}))
    assert (table.classes, told(table)) == (("sea", "sun"), {"s3://b/1.jpg": ("sea", "sun"), "s3://b/2.jpg": ()})


def test_labels_below_the_least_confidence_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    below = "skipped: its confidence is below dataset.ground_truth.minimum_confidence"
    table = read(one("1", "dog", 0.59), one("2", "cat", 0.6), one("3", "cat", confidence=None), minimum_confidence=0.6)  # type: ignore[arg-type]
    assert told(table) == {"1": below, "2": ("cat",), "3": below}
    assert "labels of attribute 'species', 2 of 3 lines left out (2: its confidence is below" in caplog.text
    table = read(
        several("1", {"sea": 0.9, "sun": 0.3}),
        several("2", {"sea": 0.1, "sun": 0.3}),
        several("3", {}),
        minimum_confidence=0.5,
    )
    assert told(table) == {"1": ("sea",), "2": below, "3": ()}
    assert "1 labels are below dataset.ground_truth.minimum_confidence; their images keep" in caplog.text


def test_labels_of_no_person_do_not_count() -> None:
    lines = [
        one("1", "dog"),
        one("2", "cat", **{"human-annotated": "no"}),
        one("3", "cat", **{"human-annotated": None}),
    ]
    machine = "skipped: no person labelled it (dataset.ground_truth.human_annotated_only)"
    assert told(read(*lines, human_annotated_only=True)) == {"1": ("dog",), "2": machine, "3": machine}
    assert told(read(*lines)) == {"1": ("dog",), "2": ("cat",), "3": ("cat",)}


def test_failed_and_waiting_images_are_unlabelled() -> None:
    failed: Line = {"source-ref": "2", "species-metadata": {"failure-reason": "ClientError: no consensus"}}
    table = read(one("1", "dog"), failed, {"source-ref": "3"})
    assert told(table) == {
        "1": ("dog",),
        "2": "unlabelled: Ground Truth could not label it: 'ClientError: no consensus'",
        "3": "unlabelled: Ground Truth has not labelled it",
    }


def box(path: str) -> Line:
    told = {"objects": [{"confidence": 0.8}], "class-map": {"0": "dog"}, "type": "groundtruth/object-detection"}
    return {"source-ref": path, "box": {"annotations": []}, "box-metadata": told}


def test_of_chained_jobs_the_classification_counts_or_the_named_one() -> None:
    assert told(read(one("1", "dog") | box("1"))) == {"1": ("dog",)}
    both = one("1", "dog") | one("1", "indoors", job="place")
    assert told(read(both, label_attribute="place")) == {"1": ("indoors",)}
    with pytest.raises(LabelTableError, match=r"has 2 label attributes \('species' .*'place' .*: name one in"):
        read(both)
    with pytest.raises(LabelTableError, match=r"has no label attribute 'colour' \(it has 'species' .*label_attribute"):
        read(both, label_attribute="colour")


def test_a_custom_job_counts_where_it_is_named() -> None:
    custom = one("1", "dog", type="groundtruth/custom")
    assert told(read(custom, label_attribute="species")) == {"1": ("dog",)}
    with pytest.raises(LabelTableError, match=r"no labels of an image classification job .*'species' \(ground"):
        read(custom)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (one("1", "dog") | {"source": "The food was good"}, ""),
        ({"source": "The food was good", "species-metadata": {}}, r"line 2: has its data in the line \(source = 'The"),
        ({"species-metadata": {}}, "line 2: source-ref = None: write the image's address"),
        (one(3, "dog"), "line 2: source-ref = 3: write the image's address"),  # type: ignore[arg-type]
        (one("1", ""), "line 2: its metadata has class-name = '': write the name"),
        (one("1", "dog", **{"class-name": ["dog"]}), r"line 2: its metadata has class-name = \['dog'\]"),
        (several("1", {"sea": 1}, **{"class-map": {}}) | one("1", "x", **{"class-map": 4}), "is not a list of numbers"),
    ],
)
def test_wrong_lines_are_named(line: Line, message: str) -> None:
    if not message:
        assert len(read(one("0", "cat"), line).rows) == 2
        return
    with pytest.raises(LabelTableError, match=message):
        read(one("0", "cat"), line, label_attribute="species")


def test_a_number_that_the_map_does_not_name_is_told() -> None:
    line = several("1", {"sea": 0.5})
    line["scene"] = [1, 7]
    with pytest.raises(LabelTableError, match=r"line 1: 'scene' has 7, which its class-map does not name"):
        read(line)


def test_labels_of_other_tasks_are_refused() -> None:
    with pytest.raises(LabelTableError, match=r"no labels of an image classification job .*'box' \(groundtruth/object"):
        read(box("1"))
    with pytest.raises(LabelTableError, match=r"'box' is of type 'groundtruth/object-detection', not of image class"):
        read(box("1"), label_attribute="box")


def test_a_column_split_and_the_files_name_say_the_split() -> None:
    table = read(one("1", "dog") | {"split": "test"}, one("2", "cat"), name="animals-train.manifest")
    assert {row.path: row.split for row in table.rows} == {"1": "test", "2": "train"}


NAMES = ["1.jpg", "a b.jpg", "ü%20+.jpg", "c&d=e.jpg", "日本.jpg", "low.jpg", "machine.jpg", "failed.jpg"]


def manifest(bucket: Bucket, photos: Bucket) -> dict[str, Any]:
    for number, name in enumerate([*NAMES, *(f"{number}.jpg" for number in range(10, 16))]):
        photos.put(f"user/{name}", jpeg(seed=number))
    at = f"s3://{photos.name}/user/"
    lines = [one(f"{at}{name}", "cat") for name in NAMES[:5]]
    lines += [one(f"{at}{number}.jpg", "dog") for number in range(10, 16)]
    lines += [one(f"{at}low.jpg", "dog", 0.2), one(f"{at}machine.jpg", "cat", **{"human-annotated": "no"})]
    lines += [{"source-ref": f"{at}failed.jpg", "species-metadata": {"failure-reason": "no consensus"}}]
    bucket.put("job/manifests/output/output.manifest", text(*lines))
    return {"label_tables": [f"s3://{bucket.name}/job/manifests/output/output.manifest"]}


def test_a_manifest_of_images_in_another_bucket_makes_a_version_that_grows(
    s3: S3Client, bucket: Bucket, rows: Rows
) -> None:
    photos = Bucket(s3, f"{bucket.name}-photos")
    s3.create_bucket(Bucket=photos.name)
    options = {"minimum_confidence": 0.5, "human_annotated_only": True}
    conf = bucket.conf(**manifest(bucket, photos), ground_truth=options, max_bad_fraction=0)
    version = bucket.build(conf)
    assert (version.labels, version.statuses) == (["cat", "dog"], {"packed": 11, "skipped": 2, "unlabelled": 1})
    found = rows(version)
    assert found["user/low.jpg"]["reason"] == "its confidence is below dataset.ground_truth.minimum_confidence"
    assert {row["bucket"] for row in found.values()} == {photos.name}
    page = bucket.get(version.layout.report).decode()
    assert "minimum confidence 0.5, human annotated only" in page
    assert "no person labelled it" in page
    again = dataset_conf(bucket.conf(), version)
    assert again.ground_truth == GroundTruthConf.model_validate(options)
    assert bucket.build(again, "manual__2", parent=version.uri).statuses == version.statuses


def test_options_without_a_manifest_are_refused() -> None:
    asked = {"dataset.label_tables": ["s3://bucket/labels.csv"], "dataset.ground_truth.minimum_confidence": 0.5}
    with pytest.raises(RunConfError, match=r"ground_truth\.minimum_confidence = 0\.5: is for output manifests of"):
        RunConf.from_conf(asked)
    asked["dataset.label_tables"] = ["s3://bucket/output.manifest"]
    assert RunConf.from_conf(asked).dataset.ground_truth.minimum_confidence == 0.5
