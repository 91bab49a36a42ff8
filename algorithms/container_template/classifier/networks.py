"""The networks: a small convolutional net, and every architecture of keras.applications.

Each takes pixels as they are (0 to 255, height, width, red green blue) and gives a probability for each class.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from pathlib import Path
from typing import Any

import keras
from keras import layers

from .config import Config
from .job_folders import JobError

SMALL = "small"
SMALL_FILTERS = (16, 32, 64)
HEAD = "classes"
"""The name of the last layer."""
BASE = "base"
"""The name of the part that is an architecture of keras.applications."""


def architectures() -> list[str]:
    """The names of keras.applications that can be trained on images of your own."""
    found = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, make in found if "include_top" in inspect.signature(make).parameters]


def build_network(config: Config, classes: int, precision: str = "float32") -> Any:
    """A network with random weights. Raises JobError for a name that does not exist and for images too small for it.

    `precision` is the policy in which it computes; weights and probabilities are float32 in each.
    """
    keras.config.set_dtype_policy(precision)
    try:
        shown = keras.Input((config.image_size, config.image_size, 3), name="pixels")
        features = _small(shown) if config.network == SMALL else _application(config, shown)
        dropped = layers.Dropout(config.dropout, seed=config.seed)(features)
        output = layers.Dense(classes, activation="softmax", dtype="float32", name=HEAD)(dropped)
        return keras.Model(shown, output)
    finally:
        keras.config.set_dtype_policy("float32")


def _small(shown: Any) -> Any:
    features = layers.Rescaling(1 / 255)(shown)
    for number, filters in enumerate(SMALL_FILTERS):
        if number:
            features = layers.MaxPooling2D()(features)
        for _ in range(2):
            features = layers.Conv2D(filters, 3, padding="same", use_bias=False)(features)
            features = layers.BatchNormalization(momentum=0.9)(features)
            features = layers.ReLU()(features)
    return layers.GlobalAveragePooling2D()(features)


def _application(config: Config, shown: Any) -> Any:
    known = architectures()
    if config.network not in known:
        near = difflib.get_close_matches(config.network, known, n=1)
        other = f"{near[0]} does" if near else f"choose {SMALL} or one of {', '.join(known)}"
        raise JobError(f"network={config.network} does not exist: {other}.")
    make = getattr(keras.applications, config.network)
    prepared = sys.modules[make.__module__].preprocess_input(shown)
    shape = (config.image_size, config.image_size, 3)
    try:
        base = make(include_top=False, weights=None, input_shape=shape, pooling="avg", name=BASE)
    except ValueError as error:
        raise JobError(f"network={config.network} cannot be made for image_size={config.image_size}: {error}") from None
    return base(prepared)


def load_base_weights(network: Any, config: Config, file: Path) -> None:
    """Give an architecture weights that were trained without its last layer, as Keras publishes them ("notop").

    Raises JobError for another architecture's file.
    """
    if config.network == SMALL:
        raise JobError(
            f"network={SMALL} has no published weights: remove channel 'weights', or name a network of "
            "keras.applications."
        )
    try:
        network.get_layer(BASE).load_weights(file)
    except Exception as error:  # h5py and Keras raise whatever they meet
        raise JobError(
            f"{file.name} of channel 'weights' does not hold the weights of {config.network} without its last layer: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


def compile_network(network: Any, config: Config, *, frozen: bool) -> None:
    """Make it ready to learn, all of it or, `frozen`, only its last layer."""
    for layer in network.layers:
        layer.trainable = not frozen or layer.name == HEAD
    chosen = {
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm or None,
    }
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=config.momentum, nesterov=config.momentum > 0, **chosen)
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(**{**chosen, "weight_decay": config.weight_decay})
    else:
        optimizer = keras.optimizers.Adam(**chosen)
    network.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
