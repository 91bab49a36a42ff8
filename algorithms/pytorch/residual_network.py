"""ResNet-18, 34, 50 and 101, with the names of torchvision's weights, so that its files load here and ours there.

He et al., "Deep Residual Learning for Image Recognition", with the stride in a bottleneck's 3 x 3 convolution (v1.5).
"""

from __future__ import annotations

from typing import Any

from torch import nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's pixels, red, green, blue: what torchvision's weights were trained with."""


def conv3x3(channels: int, outputs: int, stride: int = 1) -> Any:
    """A 3 x 3 convolution that keeps the size, divided by the stride."""
    return nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, downsample: Any | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(channels, width, stride), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, features: Any) -> Any:
        """The block's output: (images, width, height / stride, width / stride)."""
        shortcut = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 ones, beside a shortcut."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, downsample: Any | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, features: Any) -> Any:
        """The block's output: (images, 4 width, height / stride, width / stride)."""
        shortcut = features if self.downsample is None else self.downsample(features)
        out = self.relu(self.bn1(self.conv1(features)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


FORMS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
"""The block of each network, and how many of them each of its four stages has."""


class ResidualNetwork(nn.Module):
    """A network of FORMS with random weights: normalized images (images, 3, height, width) to (images, classes)."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        block, counts = FORMS[name]
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for stage, count in enumerate(counts):
            width, stride = 64 << stage, 1 if stage == 0 else 2
            blocks = []
            for place in range(count):
                outputs, step = width * block.expansion, stride if place == 0 else 1
                downsample = None
                if step != 1 or channels != outputs:
                    convolution = nn.Conv2d(channels, outputs, 1, step, bias=False)
                    downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))
                blocks.append(block(channels, width, step, downsample))
                channels = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Any) -> Any:
        """The score of every class, before softmax or sigmoid."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.fc(self.avgpool(features).flatten(1))

    def freeze(self, frozen: bool) -> None:
        """Hold everything but the head as it is, or let all learn again."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith("fc."))

    def train_with_frozen(self, frozen: bool) -> None:
        """Go into training mode; what is frozen also keeps the statistics of its batch normalization."""
        self.train(not frozen)
        self.fc.train()
