from __future__ import annotations

from typing import Any

import pytest

from include.deployment.prediction import (
    LARGEST_BODY,
    PredictionError,
    content_type,
    predict_held_out,
    prediction_of,
    probabilities,
)
from include.evaluation.endpoint import endpoint_evaluation


def test_the_endpoint_is_measured_on_every_held_out_image(world: Any, runtime: Any) -> None:
    measured = endpoint_evaluation(runtime, world.s3, endpoint="shades", dataset=world.dataset, threads=2)
    assert (measured.images, measured.accuracy) == (world.dataset.counts.test, 1.0)


def test_held_out_images_are_predicted_by_class_name(world: Any, runtime: Any) -> None:
    predictions = predict_held_out(runtime, world.s3, endpoint="shades", dataset=world.dataset, limit=3)
    assert len(predictions) == 3
    for prediction in predictions:
        assert prediction.image == f"images/{prediction.expected}/{prediction.image[-6:]}"
        assert prediction.label == prediction.expected
        assert prediction.correct
        assert 0.5 < prediction.probability <= 1


def test_a_model_with_other_classes_is_noticed(world: Any, runtime: Any) -> None:
    other = world.dataset.model_copy(update={"labels": ["a", "b"]})
    with pytest.raises(PredictionError) as refused:
        predict_held_out(runtime, world.s3, endpoint="shades", dataset=other, limit=1)
    assert str(refused.value) == (
        "endpoint shades answered 3 probabilities, the dataset has 2 classes: it serves a model of another dataset."
    )


def test_an_image_too_large_for_an_endpoint_is_not_sent(runtime: Any) -> None:
    with pytest.raises(PredictionError, match="holds 6291457 bytes, an endpoint takes at most 6291456"):
        probabilities(runtime, endpoint="shades", image=bytes(LARGEST_BODY + 1))


def test_a_multi_label_image_expects_all_its_classes() -> None:
    prediction = prediction_of("1.jpg", [0.9, 0.1, 0.8], (1, 0, 1), ["sun", "rain", "sea"], multi_label=True)
    assert (prediction.expected, prediction.label, prediction.correct) == ("sun, sea", "sun", True)


@pytest.mark.parametrize(
    ("image", "expected"),
    [(b"\xff\xd8\xff\xe0", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"BM", "application/x-image")],
)
def test_the_content_type_follows_from_the_bytes(image: bytes, expected: str) -> None:
    assert content_type(image) == expected
