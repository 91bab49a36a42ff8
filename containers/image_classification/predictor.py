"""A trained model that answers for one image at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import mxnet as mx
import numpy as np

from .image_decoding import decode_whole_image
from .model_files import TrainedModel, UnusableModelError, load_model, reason_in


class Predictor:
    """The model of a folder, bound for single images; raises UnusableModelError when it cannot be.

    Safe to call from several threads: decoding runs side by side, the network one image after the other.
    """

    def __init__(self, folder: Path) -> None:
        model = load_model(folder)
        self.image_shape = model.image_shape
        self._lock = threading.Lock()
        self._executor = bind(model)
        self.predict_blank()

    def predict(self, encoded: bytes) -> list[float]:
        """One probability per class, in class order; raises UndecodableImageError."""
        return self._forward(decode_whole_image(encoded, self.image_shape))

    def predict_blank(self) -> list[float]:
        """Run the network once, so that the first request does not wait for MXNet's start."""
        return self._forward(np.zeros(self.image_shape, dtype=np.uint8))

    def _forward(self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[float]:
        with self._lock:
            outputs = self._executor.forward(is_train=False, data=mx.nd.array(pixels[None], dtype="float32"))
            probabilities: list[float] = outputs[0].asnumpy()[0].tolist()
        return probabilities


def bind(model: TrainedModel) -> mx.executor.Executor:
    """The network with its weights, for one image; raises UnusableModelError when the two do not belong together."""
    needed = {name for name in model.symbol.list_arguments() if name != "data" and not name.endswith("label")}
    missing = sorted(needed - model.weights.arg.keys())
    missing += sorted(set(model.symbol.list_auxiliary_states()) - model.weights.aux.keys())
    if missing:
        raise UnusableModelError(f"the weights lack {len(missing)} layers of the network, the first is {missing[0]}")
    try:
        executor = model.symbol.simple_bind(mx.cpu(), grad_req="null", data=(1, *model.image_shape))
        executor.copy_params_from(model.weights.arg, model.weights.aux, allow_extra_params=True)
        mx.nd.waitall()
    except (mx.MXNetError, ValueError, AssertionError) as unfit:
        raise UnusableModelError(f"the weights do not fit the network: {reason_in(unfit)}") from unfit
    return executor
