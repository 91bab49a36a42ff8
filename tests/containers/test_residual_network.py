from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from containers.image_classification.hyperparameter_table import IMAGENET_LAYERS, SMALL_IMAGE_LAYERS
from containers.image_classification.model_files import Weights
from containers.image_classification.residual_network import build_network

SMALL, LARGE = (3, 28, 28), (3, 224, 224)


def parameter_shapes(layers: int, shape: tuple[int, int, int], classes: int = 10) -> dict[str, tuple[int, ...]]:
    network = build_network(layers, classes, shape)
    shapes, _, _ = network.infer_shape(data=(1, *shape))
    named = dict(zip(network.list_arguments(), shapes, strict=True))
    return {name: size for name, size in named.items() if name not in ("data", "softmax_label")}


@pytest.mark.parametrize("layers", SMALL_IMAGE_LAYERS + IMAGENET_LAYERS)
def test_a_network_has_the_layers_it_is_named_for(layers: int) -> None:
    shapes = parameter_shapes(layers, SMALL if layers in SMALL_IMAGE_LAYERS else LARGE)
    arrays = {name: np.empty(size) for name, size in shapes.items() if name == "fc1_weight" or "conv" in name}
    assert Weights(arrays, {}).num_layers == layers


@pytest.mark.parametrize(
    ("layers", "millions"), [(18, 11.69), (34, 21.80), (50, 25.55), (101, 44.54), (152, 60.19), (200, 64.67)]
)
def test_imagenet_forms_have_the_size_of_the_published_networks(layers: int, millions: float) -> None:
    total = sum(int(np.prod(size)) for size in parameter_shapes(layers, LARGE, classes=1000).values())
    assert total / 1e6 == pytest.approx(millions, abs=0.02)


def test_layers_carry_the_names_of_mxnets_example_network() -> None:
    small = parameter_shapes(20, SMALL)
    assert list(small)[:6] == [
        "bn_data_gamma",
        "bn_data_beta",
        "conv0_weight",
        "stage1_unit1_bn1_gamma",
        "stage1_unit1_bn1_beta",
        "stage1_unit1_conv1_weight",
    ]
    assert list(small)[-4:] == ["bn1_gamma", "bn1_beta", "fc1_weight", "fc1_bias"]
    assert small["stage2_unit1_sc_weight"] == (32, 16, 1, 1)
    large = parameter_shapes(50, LARGE)
    assert large["conv0_weight"] == (64, 3, 7, 7)
    assert large["bn0_gamma"] == (64,)
    assert large["stage4_unit3_conv2_weight"] == (512, 512, 3, 3)
    assert large["stage1_unit1_sc_weight"] == (256, 64, 1, 1)


def gradient_of_scores(labels: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and the gradient at the classifier's bias of a multi-label network."""
    network = build_network(20, labels.shape[1], SMALL, multi_label=True, weighted=weights is not None)
    shapes = {"data": (len(labels), *SMALL)} | ({"loss_weight": labels.shape} if weights is not None else {})
    executor = network.simple_bind(mx.cpu(), **shapes)
    mx.random.seed(3)
    for name, value in executor.arg_dict.items():
        value[:] = 1 if name.endswith("gamma") else 0
    executor.arg_dict["fc1_bias"][:] = mx.nd.array([0.3, -0.2, 1.0])
    executor.arg_dict["softmax_label"][:] = labels
    if weights is not None:
        executor.arg_dict["loss_weight"][:] = weights
    probabilities = executor.forward(is_train=True)[0].asnumpy()
    executor.backward()
    return probabilities, executor.grad_dict["fc1_bias"].asnumpy()


def test_multi_label_loss_is_binary_cross_entropy_summed_over_classes() -> None:
    labels = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    probabilities, gradient = gradient_of_scores(labels, None)
    assert probabilities[0] == pytest.approx(1 / (1 + np.exp([-0.3, 0.2, -1.0])), rel=1e-5)
    assert gradient == pytest.approx((probabilities - labels).sum(axis=0), rel=1e-4)


def test_weights_scale_the_gradient_and_leave_the_answers_alone() -> None:
    labels = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    weights = np.array([[2.0, 0.5, 3.0], [1.0, 4.0, 0.1]], dtype=np.float32)
    plain, _ = gradient_of_scores(labels, None)
    probabilities, gradient = gradient_of_scores(labels, weights)
    assert probabilities == pytest.approx(plain, rel=1e-5)
    assert gradient == pytest.approx((weights * (probabilities - labels)).sum(axis=0), rel=1e-4)
