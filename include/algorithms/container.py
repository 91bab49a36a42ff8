"""A container of your own."""

from __future__ import annotations

from typing import ClassVar

from include.algorithms.algorithm import Request
from include.algorithms.own_code import OwnCode
from include.sagemaker.objective import AlgorithmKind


class Container(OwnCode):
    """A container image that trains, and the same or another one that answers."""

    kind: ClassVar[AlgorithmKind] = "container"

    @property
    def image(self) -> str:
        """The conf's."""
        return self.asked.image

    @property
    def inference_image(self) -> str:
        """The conf's, else the one that trains."""
        return self.asked.inference.image or self.image

    def specification(self) -> Request:
        """With the arguments that the container is started with."""
        arguments = self.asked.train_arguments
        return {**super().specification(), **({"ContainerArguments": [*arguments]} if arguments else {})}
