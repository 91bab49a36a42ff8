"""What is sent: the packed test images, or their sources as a client has them that packs nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest

from include.datasets.errors import DatasetError
from include.datasets.image_objects import record_id_of, unsent_images, write_source_test_images
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion, held_out_images
from include.evaluation.comparison import ComparisonError, same_images
from include.evaluation.endpoint_accuracy import endpoint_evaluation
from include.evaluation.evaluate import ChampionAnswers, evaluate
from include.evaluation.held_out_answers import HeldOutAnswers, kept_at
from include.evaluation.prediction import LARGEST_BODY, PredictionError, write_manifest
from include.run_conf import DatasetConf, EvaluationConf, PackingConf
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from tests.support.documents import VARIABLE, described_training_job, settings
from tests.unit.evaluation.conftest import LEVELS, classify, square
from tests.unit.evaluation.test_evaluate import BEST, CHANNELS, logs_of
from tests.unit.pages.reading import ReadPage

BUCKET = VARIABLE["data_bucket"]
SOURCE = EvaluationConf(images="source")
GREY = "mixed/test/grey"
UNREAD = {f"{GREY}/a.gif": ".gif", f"{GREY}/b.avif": ".avif"}
LARGE, JPEGS = f"{GREY}/c.png", [f"mixed/test/{label}/{number:02d}.jpg" for label in LEVELS for number in (90, 91)]


@pytest.fixture(scope="module")
def mixed(world: Any) -> DatasetVersion:
    """A version whose test split has JPEGs, a GIF, an AVIF, and a PNG of more bytes than a request holds."""
    s3 = world.s3
    for label in LEVELS:
        for split, numbers in (("train", range(100, 104)), ("validation", range(200, 202)), ("test", (90, 91))):
            for number in numbers:
                s3.put_object(Bucket=BUCKET, Key=f"mixed/{split}/{label}/{number:02d}.jpg", Body=square(label, number))
    plain = np.full((60, 60, 3), LEVELS["grey"], np.uint8)
    for place, (key, kind) in enumerate(UNREAD.items()):
        s3.put_object(Bucket=BUCKET, Key=key, Body=cv2.imencode(kind, plain + np.uint8(place))[1].tobytes())
    noise = np.random.default_rng(1).integers(108, 148, (1800, 1900, 3), dtype=np.uint8)
    body = cv2.imencode(".png", noise)[1].tobytes()
    assert len(body) > LARGEST_BODY
    s3.put_object(Bucket=BUCKET, Key=LARGE, Body=body)
    plan = plan_version(
        s3,
        DatasetConf(
            name="mixed",
            source=[f"s3://{BUCKET}/mixed/"],
            layout="split_folders",
            packing=PackingConf(resize=28),
        ),
        data_bucket=BUCKET,
        run_id="run",
        run_after=datetime(2026, 1, 3, tzinfo=UTC),
    )
    return publish_version(s3, plan, [pack_shard(s3, plan, shard) for shard in plan.shards])


def test_a_gif_an_avif_and_a_large_image_evaluate_as_they_are_packed(
    world: Any, runtime: Any, mixed: DatasetVersion
) -> None:
    found = endpoint_evaluation(runtime, world.s3, endpoint="e", dataset=mixed)
    assert (found.sent, found.images, found.not_sent, found.accuracy) == ("packed", len(JPEGS) + 3, 0, 1.0)


def test_of_the_sources_those_that_no_client_gets_an_answer_for_are_counted_and_named(
    world: Any, runtime: Any, mixed: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[bytes] = []
    invoke = runtime.invoke_endpoint

    def keep_body(**asked: Any) -> Any:
        bodies.append(asked["Body"])
        return invoke(**asked)

    monkeypatch.setattr(runtime, "invoke_endpoint", keep_body)
    found = endpoint_evaluation(runtime, world.s3, endpoint="e", dataset=mixed, evaluation=SOURCE)
    assert (found.sent, found.images, found.not_sent) == ("source", len(JPEGS), 3)
    reasons = {image.key: image.reason for image in found.unsent}
    assert set(reasons) == {*UNREAD, LARGE}
    assert reasons[f"{GREY}/a.gif"] == "GIF: the algorithm reads JPEG, PNG, BMP and TIFF"
    assert reasons[LARGE].endswith(f" bytes, a request may have {LARGEST_BODY}")
    assert sorted(bodies) == sorted(world.read(f"s3://{BUCKET}/{key}") for key in JPEGS), "byte for byte"


@pytest.fixture(scope="module")
def copied(world: Any, mixed: DatasetVersion) -> Any:
    """The source images as the first evaluation copied them; one was replaced and one deleted before, for a moment."""
    s3, (replaced, deleted, *_) = world.s3, JPEGS
    before = {key: world.read(f"s3://{BUCKET}/{key}") for key in (replaced, deleted)}
    s3.put_object(Bucket=BUCKET, Key=replaced, Body=square("light", 999))
    s3.delete_object(Bucket=BUCKET, Key=deleted)
    images, unsent = write_source_test_images(s3, mixed, largest=LARGEST_BODY)
    for key, body in before.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    return images, unsent


def test_sources_that_changed_since_are_named_and_all_models_are_sent_the_same(
    world: Any, mixed: DatasetVersion, copied: Any
) -> None:
    images, unsent = copied
    reasons = {image.key: image.reason for image in unsent}
    assert reasons[JPEGS[0]] == "the source image was replaced since the version was built"
    assert reasons[JPEGS[1]] == "the source image was deleted since the version was built"
    assert len(images.names) == len(JPEGS) - 2
    again, still = write_source_test_images(world.s3, mixed, largest=LARGEST_BODY)
    assert (again, still) == (images, unsent), "also when the sources are back"
    assert unsent_images(world.s3, mixed) == unsent


def test_a_split_of_which_nothing_can_be_sent_says_what_to_set(world: Any, runtime: Any, mixed: DatasetVersion) -> None:
    other = mixed.model_copy(update={"uri": mixed.uri.replace("/mixed/", "/nothing/")})
    for name in ("test/test.rec", "manifest.parquet"):
        world.s3.put_object(Bucket=BUCKET, Key=f"{other.layout.prefix}{name}", Body=world.read(f"{mixed.uri}{name}"))
    with pytest.raises(
        DatasetError, match=r"evaluation\.images = source: none of the 9 test images .* set it to packed"
    ):
        write_source_test_images(world.s3, other, largest=10)
    alone = EvaluationConf(images="source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.evaluation.endpoint_accuracy.LARGEST_BODY", 10)
        with pytest.raises(PredictionError, match=r"None of the 9 test images .*: set evaluation\.images to packed\."):
            endpoint_evaluation(runtime, world.s3, endpoint="e", dataset=mixed, evaluation=alone)


def evaluated(world: Any, mixed: DatasetVersion, images: Any, job: str, champion: ChampionAnswers | None = None) -> Any:
    """The evaluation of a good model whose transform job was sent the copied sources."""
    write_manifest(world.s3, images, settings=settings(), job=f"transform-{job}")
    for uri in images.uris:
        key = f"transform/transform-{job}/answers/{uri.rpartition('/')[2]}.out"
        world.s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps(classify(world.read(uri))).encode())
    return evaluate(
        world.s3,
        world.client("logs"),
        job=JobResult.of_training_job(described_training_job(job, InputDataConfig=CHANNELS)),
        best=BEST,
        transform_job=f"transform-{job}",
        dataset=mixed,
        settings=settings(),
        run=Run("train_model", job),
        champion=champion,
        sent="source",
    )


def test_an_evaluation_on_sources_says_so_and_compares_with_answers_to_the_same_bytes(
    world: Any, mixed: DatasetVersion, copied: Any, logs_of_training: None
) -> None:
    images, unsent = copied
    first = evaluated(world, mixed, images, "first-job")
    assert first.images == len(images.names)
    kept = kept_at(settings(), mixed, job="first-job", artifact=_artifact("first-job"), sent="source")
    assert kept != kept_at(settings(), mixed, job="first-job", artifact=_artifact("first-job"))
    second = evaluated(world, mixed, images, "second-job", ChampionAnswers(kept, model="first-job"))
    assert second.comparison_uri
    sent = json.loads(world.read(second.metrics_uri))["sent"]
    assert (sent["kind"], len(sent["unsent"])) == ("source", len(unsent))
    text = ReadPage(world.read(second.report_uri).decode()).text
    assert "each test image as it is in its source, without the steps of packing." in text
    assert f"5 of {len(unsent) + len(images.names)} images could not be sent and do not count." in text
    packed = [image for image in held_out_images(world.s3, mixed) if image.id in map(record_id_of, images.uris)]
    theirs = HeldOutAnswers.load(world.s3, kept)
    of_packed = HeldOutAnswers.of(
        [(image.id, image.key, image.labels) for image in packed],
        [classify(image.image_bytes) for image in packed],
        model="other",
        dataset=mixed.uri,
        labels=mixed.labels,
        multi_label=False,
    )
    with pytest.raises(ComparisonError, match=r"was sent the source images and other the packed ones"):
        same_images(theirs, of_packed)


def _artifact(job: str) -> str:
    return str(JobResult.of_training_job(described_training_job(job, InputDataConfig=CHANNELS)).artifact)


@pytest.fixture
def logs_of_training(world: Any) -> None:
    """The log group of training jobs, which an evaluation reads epochs from; moto's state outlives its server."""
    logs_of(world)
