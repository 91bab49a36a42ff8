from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sagemaker_inference.errors import GenericInferenceToolkitError

import inference
from image_decoding import decode
from model_files import ModelDescription, save_model
from residual_network import ResidualNetwork
from tests.algorithms.conftest import Trained
from tests.algorithms.job import TRAIN_IMAGES, VALIDATION_IMAGES, encoded, one_corner, picture


def answer(
    model: inference.Model, body: bytes, content_type: str = "image/jpeg", accept: str = "application/json"
) -> str:
    """What the toolkit makes of the four functions."""
    image = inference.input_fn(bytearray(body), content_type)
    text, _ = inference.output_fn(inference.predict_fn(image, model), accept)
    return text


@pytest.fixture(scope="module")
def model(trained: Trained) -> inference.Model:
    return inference.model_fn(str(trained.job.model))


def test_an_image_gets_a_probability_for_each_class(model: inference.Model) -> None:
    probabilities = json.loads(answer(model, encoded(picture([1], 9_999))))

    assert len(probabilities) == 3
    assert sum(probabilities) == pytest.approx(1)
    assert probabilities.index(max(probabilities)) == 1


def test_the_endpoint_is_as_accurate_as_validation_was(model: inference.Model) -> None:
    records = list(one_corner(VALIDATION_IMAGES, first=TRAIN_IMAGES))
    answers = [json.loads(answer(model, image)) for _, image in records]
    right = sum(found.index(max(found)) == labels[0] for (labels, _), found in zip(records, answers, strict=True))

    assert right / len(records) == pytest.approx(model.description.accuracy)


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("image/jpeg", "JPEG"), ("image/png", "PNG"), ("application/x-image", "WEBP"), ("IMAGE/PNG; q=1", "PNG")],
)
def test_images_of_each_type_are_read(model: inference.Model, content_type: str, kind: str) -> None:
    assert len(json.loads(answer(model, encoded(picture([0], 1), kind), content_type))) == 3


def test_json_lines_wrap_the_prediction(model: inference.Model) -> None:
    image = inference.input_fn(encoded(picture([0], 1)), "image/jpeg")
    text, content_type = inference.output_fn(inference.predict_fn(image, model), "application/jsonlines")

    assert content_type == "application/jsonlines"
    assert text.endswith("}\n")
    assert len(json.loads(text)["prediction"]) == 3


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"x", "text/csv", 415, "send one image as image/jpeg, image/png, application/x-image"),
        (b"", "image/jpeg", 400, "the image is empty"),
        (b"no image", "image/png", 400, "the image cannot be decoded"),
    ],
)
def test_what_is_no_image_is_refused_with_a_status(body: bytes, content_type: str, status: int, reason: str) -> None:
    with pytest.raises(GenericInferenceToolkitError) as raised:
        inference.input_fn(body, content_type)

    assert raised.value.status_code == status
    assert reason in raised.value.message


def test_several_labels_have_probabilities_of_their_own(tmp_path: object) -> None:
    network = ResidualNetwork("resnet18", 3)
    network.fc.bias.data = network.fc.bias.data + 50
    save_model(tmp_path, network.state_dict(), ModelDescription("resnet18", ("a", "b", "c"), True, 28, "whole"))  # type: ignore[arg-type]

    found = inference.predict_fn(decode(encoded(picture([0], 1))), inference.model_fn(str(tmp_path)))

    assert found == pytest.approx([1, 1, 1])


def test_a_model_archive_answers_with_its_own_code(trained: Trained, model: inference.Model) -> None:
    """As the toolkit imports `code/inference.py`: without the folder that it was trained from."""
    image = trained.job.base / "image.jpg"
    image.write_bytes(encoded(picture([2], 77)))
    script = (
        "import sys, inference; model = inference.model_fn(sys.argv[1]);"
        "image = inference.input_fn(open(sys.argv[2], 'rb').read(), 'image/jpeg');"
        "print(inference.output_fn(inference.predict_fn(image, model), 'application/json')[0])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, trained.job.model, image],
        env={"PYTHONPATH": str(trained.job.model / "code"), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]},
        cwd=trained.job.base,
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(ended.stdout) == pytest.approx(json.loads(answer(model, image.read_bytes())), abs=1e-5)
