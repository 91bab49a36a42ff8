"""Answers with a trained model as the built-in algorithm does: one image in, a JSON list of probabilities out.

The four functions are those of SageMaker's inference toolkit for PyTorch. The list is in class order; an Accept of
application/jsonlines gets `{"prediction": [...]}`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from image_decoding import UndecodableImageError, decode, normalized, pixels, view
from model_files import ModelDescription, load_model
from residual_network import ResidualNetwork

IMAGE_TYPES = ("image/jpeg", "image/png", "application/x-image")
JSON_TYPE, JSON_LINES_TYPE = "application/json", "application/jsonlines"


class Model(NamedTuple):
    """A network that is ready to answer, and what its weights are the weights of."""

    network: Any
    description: ModelDescription
    device: Any


def model_fn(model_dir: str) -> Model:
    """The model of a folder, on the GPU if there is one."""
    trained = load_model(Path(model_dir))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = ResidualNetwork(trained.description.network, len(trained.description.classes))
    network.load_state_dict(trained.weights)
    return Model(network.to(device).eval(), trained.description, device)


def input_fn(body: bytes | bytearray, content_type: str) -> Any:
    """The image of a request, upright, in RGB. Refuses other types (415) and bytes that are not an image (400)."""
    declared = (content_type or "").split(";")[0].strip().lower()
    if declared not in IMAGE_TYPES:
        reason = f"Content-Type {content_type!r} cannot be read: send one image as {', '.join(IMAGE_TYPES)}"
        raise refusal(415, reason)
    try:
        return decode(bytes(body))
    except UndecodableImageError as error:
        raise refusal(400, str(error)) from error


def predict_fn(image: Any, model: Model) -> list[float]:
    """A probability for each class; they add up to 1 unless the model gives several labels."""
    description = model.description
    shown = pixels(view(image, description.image_size, description.view)).unsqueeze(0).to(model.device)
    with torch.inference_mode():
        scores = model.network(normalized(shown, description.mean, description.std))[0]
        probabilities = scores.sigmoid() if description.multi_label else scores.softmax(dim=0)
    return [float(probability) for probability in probabilities.tolist()]


def output_fn(probabilities: list[float], accept: str) -> tuple[str, str]:
    """The answer and its type."""
    wanted = (accept or "").split(";")[0].strip().lower()
    if wanted == JSON_LINES_TYPE:
        return json.dumps({"prediction": probabilities}) + "\n", JSON_LINES_TYPE
    return json.dumps(probabilities), JSON_TYPE


def refusal(status: int, reason: str) -> Exception:
    """An error that the toolkit answers with this status."""
    from sagemaker_inference.errors import GenericInferenceToolkitError  # noqa: PLC0415 - there in the container only

    error: Exception = GenericInferenceToolkitError(status, reason)
    return error
