"""The residual network: its units, its two forms, its two heads.

He et al., "Identity Mappings in Deep Residual Networks" (pre-activation). Layers carry the names of MXNet's example
network, so that models trained by SageMaker's own algorithm load here, and ours there.
"""

from __future__ import annotations

from dataclasses import dataclass

import mxnet as mx

from .hyperparameter_table import SMALL_IMAGE_LAYERS

BATCH_NORM_EPSILON = 2e-5
BATCH_NORM_MOMENTUM = 0.9
SMALL_STEM_HEIGHT = 32
LABEL = "softmax_label"
LOSS_WEIGHT = "loss_weight"


@dataclass(frozen=True)
class Form:
    """Units and filters of each stage; a bottleneck unit has three convolutions, a basic one two."""

    units: tuple[int, ...]
    filters: tuple[int, ...]
    stem_filters: int
    bottleneck: bool


BASIC_FILTERS = (64, 128, 256, 512)
BOTTLENECK_FILTERS = (256, 512, 1024, 2048)
IMAGENET_FORMS = {
    18: Form((2, 2, 2, 2), BASIC_FILTERS, 64, bottleneck=False),
    34: Form((3, 4, 6, 3), BASIC_FILTERS, 64, bottleneck=False),
    50: Form((3, 4, 6, 3), BOTTLENECK_FILTERS, 64, bottleneck=True),
    101: Form((3, 4, 23, 3), BOTTLENECK_FILTERS, 64, bottleneck=True),
    152: Form((3, 8, 36, 3), BOTTLENECK_FILTERS, 64, bottleneck=True),
    200: Form((3, 24, 36, 3), BOTTLENECK_FILTERS, 64, bottleneck=True),
}


def network_form(num_layers: int) -> Form:
    """The form with this many layers: convolutions on the main path and the classifier."""
    if num_layers in SMALL_IMAGE_LAYERS:
        return Form(((num_layers - 2) // 6,) * 3, (16, 32, 64), 16, bottleneck=False)
    return IMAGENET_FORMS[num_layers]


def build_network(
    num_layers: int,
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    multi_label: bool = False,
    weighted: bool = False,
) -> mx.symbol.Symbol:
    """The network from `data` (batch, channels, height, width; raw 0..255) to class probabilities.

    Single label: softmax over the classes. Multi-label: one sigmoid per class; `weighted` adds the input `loss_weight`,
    which scales each output's gradient and leaves the outputs alone.
    """
    form = network_form(num_layers)
    body = stem(image_shape[1], form.stem_filters)
    for stage, (units, filters) in enumerate(zip(form.units, form.filters, strict=True), start=1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and stage > 1 else 1
            name = f"stage{stage}_unit{unit}"
            body = residual_unit(body, name, filters, stride, bottleneck=form.bottleneck, widens=unit == 1)
    body = activated(body, "bn1", "relu1")
    body = mx.sym.Pooling(body, global_pool=True, kernel=(7, 7), pool_type="avg", name="pool1")
    scores = mx.sym.FullyConnected(mx.sym.Flatten(body), num_hidden=num_classes, name="fc1")
    if multi_label:
        return sigmoid_head(scores, num_classes, weighted=weighted)
    return mx.sym.SoftmaxOutput(scores, name="softmax")


def stem(height: int, filters: int) -> mx.symbol.Symbol:
    """Normalise raw pixels, then look at them once; large images are also shrunk by four."""
    body = batch_norm(mx.sym.identity(mx.sym.Variable("data"), name="id"), "bn_data", fix_gamma=True)
    if height <= SMALL_STEM_HEIGHT:
        return convolution(body, "conv0", filters, kernel=3)
    body = activated(convolution(body, "conv0", filters, kernel=7, stride=2), "bn0", "relu0")
    return mx.sym.Pooling(body, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="pooling0")


def residual_unit(
    body: mx.symbol.Symbol, name: str, filters: int, stride: int, *, bottleneck: bool, widens: bool
) -> mx.symbol.Symbol:
    """Add to `body` what two or three convolutions make of it; a unit that `widens` projects `body` first."""
    entry = activated(body, f"{name}_bn1", f"{name}_relu1")
    shortcut = convolution(entry, f"{name}_sc", filters, kernel=1, stride=stride) if widens else body
    narrow = filters // 4 if bottleneck else filters
    layers = (
        ((narrow, 1, 1), (narrow, 3, stride), (filters, 1, 1))
        if bottleneck
        else ((filters, 3, stride), (filters, 3, 1))
    )
    path = entry
    for index, (width, kernel, step) in enumerate(layers, start=1):
        if index > 1:
            path = activated(path, f"{name}_bn{index}", f"{name}_relu{index}")
        path = convolution(path, f"{name}_conv{index}", width, kernel, step)
    return path + shortcut


def sigmoid_head(scores: mx.symbol.Symbol, num_classes: int, *, weighted: bool) -> mx.symbol.Symbol:
    """Binary cross-entropy per class, summed over the classes."""
    if weighted:
        weight = mx.sym.Variable(LOSS_WEIGHT)
        scores = scores * weight + mx.sym.BlockGrad(scores * (1 - weight))
    # MXNet averages this gradient over the outputs of a sample: the scale makes it a sum again.
    return mx.sym.LogisticRegressionOutput(
        scores, mx.sym.Variable(LABEL), grad_scale=float(num_classes), name="softmax"
    )


def activated(body: mx.symbol.Symbol, norm_name: str, activation_name: str) -> mx.symbol.Symbol:
    """Normalise, then cut off below zero."""
    return mx.sym.Activation(batch_norm(body, norm_name), act_type="relu", name=activation_name)


def batch_norm(body: mx.symbol.Symbol, name: str, *, fix_gamma: bool = False) -> mx.symbol.Symbol:
    """Batch normalisation with the example network's constants."""
    return mx.sym.BatchNorm(body, fix_gamma=fix_gamma, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, name=name)


def convolution(body: mx.symbol.Symbol, name: str, filters: int, kernel: int, stride: int = 1) -> mx.symbol.Symbol:
    """A square convolution without bias that keeps the size, but for its stride."""
    return mx.sym.Convolution(
        body,
        num_filter=filters,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        pad=(kernel // 2, kernel // 2),
        no_bias=True,
        name=name,
    )
