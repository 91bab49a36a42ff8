"""Predictions of the images under a prefix: a real S3, and answers as a transform job leaves them."""

from __future__ import annotations

import io
import json
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from include.datasets.errors import DatasetError
from include.datasets.version import DatasetVersion
from include.evaluation import batch_prediction
from include.evaluation.batch_prediction import (
    BatchPredictions,
    NoImagesError,
    PackedShard,
    PredictingModel,
    PredictionLayout,
    pack_image_shard,
    packed_images,
    plan_images,
    write_predictions,
)
from include.evaluation.prediction import PredictionError, TransformError, read_manifest, write_manifest
from include.recordio.images import pack_image
from include.run_conf.endpoint import PredictionConf
from include.sagemaker.containers import ModelContainer
from include.sagemaker.naming import Run
from tests.support.documents import settings
from tests.unit.evaluation.conftest import LEVELS, classify, square

SHARD = 3
GIF = cv2.imencode(".gif", np.full((40, 60, 3), 215, np.uint8))[1].tobytes()
PHOTOS = {
    "new/a dark.jpg": square("<b>dark", 101),
    "new/b/grey.jpg": square("grey", 101),
    "new/c.gif": GIF,
    "new/d.jpg": b"no image",
    "new/e empty.jpg": b"",
    "new/f light.jpg": square("light", 101),
    "new/.hidden/g.jpg": square("light", 102),
    "new/h/": b"",
}
SHOWN = {"new/a dark.jpg": "<b>dark", "new/b/grey.jpg": "grey", "new/c.gif": "light", "new/f light.jpg": "light"}
BAD = {"new/d.jpg": "not_an_image", "new/e empty.jpg": "empty"}


@pytest.fixture(scope="module")
def photos(world: Any) -> str:
    """The address of new images of every kind."""
    world.s3.create_bucket(Bucket="photos-of-acme")
    for key, body in PHOTOS.items():
        world.s3.put_object(Bucket="photos-of-acme", Key=key, Body=body)
    return "s3://photos-of-acme/new/"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_prediction, "SHARD_IMAGES", SHARD)


def layout_of(run: str) -> PredictionLayout:
    return PredictionLayout.of(settings(), Run("predict_images", run))


def predict(
    world: Any, source: str, *, run: str = "run", model: DatasetVersion | None = None, left_out: int = 0, **asked: Any
) -> BatchPredictions:
    """All steps of a run; the transform job's part is played here, but for so many answers that are left out."""
    s3, layout, job = world.s3, layout_of(run), f"job-{run}"
    dataset = model or world.dataset
    packed = [pack_image_shard(s3, shard, layout, dataset.packing) for shard in plan_images(s3, source, layout)]
    images = packed_images(s3, packed, layout)
    write_manifest(s3, images, settings=settings(), job=job)
    uris = read_manifest(s3, settings=settings(), job=job)
    for uri in uris[left_out:]:
        name = uri.removeprefix(layout.images_uri)
        answer = json.dumps(classify(world.read(uri))).encode()
        s3.put_object(Bucket=layout.bucket, Key=f"transform/{job}/answers/{name}.out", Body=answer)
    return write_predictions(
        s3,
        packed,
        job=job,
        asked=PredictionConf(source=source, **asked),
        model=PredictingModel(
            name="pets version 3",
            container=ModelContainer(image="image-classification:1", artifact="s3://models-of-acme/a.tar.gz"),
            dataset=dataset,
        ),
        settings=settings(),
        layout=layout,
    )


def table(world: Any, uri: str) -> Any:
    return pq.ParquetFile(io.BytesIO(world.read(uri))).read()


def test_every_image_under_the_prefix_has_a_row_with_names_and_probabilities(world: Any, photos: str) -> None:
    written = predict(world, photos, top_k=2)

    rows = table(world, written.uri).to_pylist()
    assert written.uri == f"s3://models-of-acme/{layout_of('run').prefix}predictions.parquet"
    assert [row["key"] for row in rows] == sorted({**SHOWN, **BAD})
    assert {row["key"]: row["label"] for row in rows if row["label"]} == SHOWN
    assert {row["key"]: row["status"] for row in rows if not row["label"]} == BAD
    for row in rows:
        if row["status"] == "packed":
            assert row["labels"] == [row["label"]]
            assert row["top_labels"][0] == row["label"]
            assert len(row["top_labels"]) == len(row["top_probabilities"]) == 2
            assert row["top_probabilities"][0] == row["probability"] >= row["top_probabilities"][1]
        else:
            assert row["reason"]
            assert (row["probability"], row["labels"], row["top_labels"]) == (None, None, None)


def test_the_table_says_which_model_saw_this(world: Any, photos: str) -> None:
    facts = table(world, predict(world, photos, run="facts").uri).schema.metadata

    assert facts == {
        b"model": b"pets version 3",
        b"dataset_version": world.dataset.uri.encode(),
        b"transform_job": b"job-facts",
        b"source": photos.encode(),
    }


def test_the_note_counts_labels_and_what_could_not_be_predicted(world: Any, photos: str) -> None:
    written = predict(world, photos, run="note")

    assert (written.images, written.predicted, written.bad) == (6, 4, {"not_an_image": 1, "empty": 1})
    assert written.note == (
        "4 of 6 images predicted: light 2, <b>dark 1, grey 1; not predicted: 1 not_an_image, 1 empty"
    )


def test_what_is_sent_is_the_packed_image_and_it_is_removed_when_the_table_is_there(world: Any, photos: str) -> None:
    layout = layout_of("sent")
    (first, *_) = plan_images(world.s3, photos, layout)
    packed = pack_image_shard(world.s3, first, layout, world.dataset.packing)

    assert packed == PackedShard(index=0, packed=3, largest=packed.largest)
    images = packed_images(world.s3, [packed], layout)
    assert images.names == ["00000/00000.jpg", "00000/00001.jpg", "00000/00002.jpg"]
    assert world.read(images.uris[2]) == pack_image(GIF, world.dataset.packing).data
    assert images.largest == max(len(world.read(uri)) for uri in images.uris)

    predict(world, photos, run="sent")

    listed = world.s3.list_objects_v2(Bucket=layout.bucket, Prefix=layout.images)
    assert listed["KeyCount"] == 0


def test_a_retried_step_gives_the_same(world: Any, photos: str) -> None:
    layout = layout_of("again")
    shards = plan_images(world.s3, photos, layout)
    first = [pack_image_shard(world.s3, shard, layout, world.dataset.packing) for shard in shards]

    assert plan_images(world.s3, photos, layout) == shards
    assert [pack_image_shard(world.s3, shard, layout, world.dataset.packing) for shard in shards] == first


def test_the_table_lies_where_it_was_asked_for(world: Any, photos: str) -> None:
    assert predict(world, photos, run="there", output="s3://photos-of-acme/seen").uri == (
        "s3://photos-of-acme/seen/predictions.parquet"
    )


def test_an_image_of_several_labels_shows_those_from_the_threshold_on(world: Any, photos: str) -> None:
    several = world.dataset.model_copy(update={"multi_label": True})

    low = table(world, predict(world, photos, run="low", model=several, threshold=0.0).uri).to_pylist()
    high = table(world, predict(world, photos, run="high", model=several, threshold=1.0).uri).to_pylist()

    assert {len(row["labels"]) for row in low if row["status"] == "packed"} == {len(LEVELS)}
    assert {len(row["labels"]) for row in high if row["status"] == "packed"} == {0}
    assert all(row["label"] for row in high if row["status"] == "packed")


@pytest.mark.usefixtures("photos")
def test_images_of_which_none_can_be_packed_start_no_job(world: Any) -> None:
    layout = layout_of("bad")
    world.s3.put_object(Bucket="photos-of-acme", Key="broken/a.jpg", Body=b"no image")
    (shard,) = plan_images(world.s3, "s3://photos-of-acme/broken/", layout)
    packed = pack_image_shard(world.s3, shard, layout, world.dataset.packing)

    with pytest.raises(NoImagesError, match="could be packed, and no job was started: 1 not_an_image"):
        packed_images(world.s3, [packed], layout)


def test_an_image_that_no_transform_sends_is_named_in_the_table(
    world: Any, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_prediction, "LARGEST_PAYLOAD", 0)
    layout = layout_of("large")
    (first, *_) = plan_images(world.s3, photos, layout)

    assert pack_image_shard(world.s3, first, layout, world.dataset.packing).bad == {"too_large": 3}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://photos-of-acme/none/", "there is no image under this prefix"),
        ("s3://no-such-bucket-of-acme/", "there is no bucket no-such-bucket-of-acme"),
        ("s3://photos-of-acme/cold/", r"1 of 2 images to pack are archived.*(?s:.*)restore-object"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_images_that_cannot_be_read_are_refused_before_anything_is_packed(
    world: Any, source: str, message: str
) -> None:
    for name, storage_class in (("a.jpg", "STANDARD"), ("b.jpg", "GLACIER")):
        key = f"cold/{name}"
        world.s3.put_object(Bucket="photos-of-acme", Key=key, Body=b"1", StorageClass=storage_class)

    with pytest.raises((NoImagesError, DatasetError), match=message):
        plan_images(world.s3, source, layout_of("refused"))


def test_more_images_than_one_run_holds_are_refused(world: Any, photos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_prediction, "MOST_SHARDS", 1)
    with pytest.raises(NoImagesError, match="there are more than 3 images, the limit of one run"):
        plan_images(world.s3, photos, layout_of("many"))


def test_an_image_without_an_answer_is_an_error_and_leaves_no_table(world: Any, photos: str) -> None:
    with pytest.raises(TransformError, match="job-lost left no answer for 1 of 3 images"):
        predict(world, photos, run="lost", left_out=1)

    layout = layout_of("lost")
    assert world.s3.list_objects_v2(Bucket=layout.bucket, Prefix=layout.table("")[1])["KeyCount"] == 0


def test_answers_of_a_model_with_other_classes_are_an_error(world: Any, photos: str) -> None:
    other = world.dataset.model_copy(update={"labels": ["a", "b"]})
    with pytest.raises(PredictionError, match="the dataset has 2 classes"):
        predict(world, photos, run="other", model=other)
