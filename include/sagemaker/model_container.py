"""What answers with a model: a container image, the model's artifact, and how the two are put together.

Sources: API reference of CreateModel (ContainerDefinition) and CreateModelPackage (InferenceSpecification).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

ANY_IMAGE = "application/x-image"
IMAGE_TYPES = ("image/jpeg", "image/png", ANY_IMAGE)
RESPONSE_TYPES = ("application/json", "application/jsonlines")
"""Content types of a list of probabilities."""


class ModelContainer(BaseModel):
    """An image that answers with an artifact; `content_types` are those of the images that it takes."""

    model_config = ConfigDict(frozen=True)

    image: str
    artifact: str
    environment: dict[str, str] = {}
    content_types: tuple[str, ...] = IMAGE_TYPES

    @classmethod
    def of_definition(cls, container: Mapping[str, Any], content_types: tuple[str, ...] = IMAGE_TYPES) -> Self:
        """The container of a described model, or of a registered version."""
        return cls(
            image=container["Image"],
            artifact=container["ModelDataUrl"],
            environment=container.get("Environment") or {},
            content_types=content_types,
        )

    @classmethod
    def of_specification(cls, specification: Mapping[str, Any]) -> Self:
        """The container of a registered version's `InferenceSpecification`."""
        types = tuple(specification.get("SupportedContentTypes") or IMAGE_TYPES)
        return cls.of_definition(specification["Containers"][0], types)

    @property
    def definition(self) -> dict[str, Any]:
        """`PrimaryContainer` of CreateModel."""
        environment = {"Environment": self.environment} if self.environment else {}
        return {"Image": self.image, "ModelDataUrl": self.artifact, **environment}

    @property
    def specification(self) -> dict[str, Any]:
        """`InferenceSpecification` of CreateModelPackage."""
        return {
            "Containers": [self.definition],
            "SupportedContentTypes": [*self.content_types],
            "SupportedResponseMIMETypes": [*RESPONSE_TYPES],
        }

    def transform_type(self, encoding: str) -> str:
        """The one content type of a batch transform; `encoding` is that of the packed images, `.jpg` or `.png`."""
        return ANY_IMAGE if ANY_IMAGE in self.content_types else packed_type(encoding)


def packed_type(encoding: str) -> str:
    """The content type of packed images, by their encoding, `.jpg` or `.png`."""
    return "image/png" if encoding == ".png" else "image/jpeg"
