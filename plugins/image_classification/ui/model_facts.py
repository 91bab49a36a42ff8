"""What is known of each registered version: read once in the background, and again when its approval has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from include.catalog import FOREVER, Seen
from include.catalog.models import ListedVersion, ModelFacts, list_versions, read_facts

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected, Installation

ANEW_SECONDS = 600.0
"""A reason may change while the approval stays."""


@dataclass(frozen=True)
class KnownVersion:
    """A listed version and what is known of it so far."""

    listed: ListedVersion
    facts: Seen[ModelFacts]


def versions_of(
    installation: Installation, connected: Connected, dataset: str, *, wait: float
) -> tuple[Seen[tuple[ListedVersion, ...]], list[KnownVersion]]:
    """The versions of a dataset's models, the newest first."""
    group = connected.settings.registry_group(dataset)

    def look() -> tuple[ListedVersion, ...]:
        return list_versions(connected.client("sagemaker"), group)

    listed = installation.quick.see(("versions", dataset), look, wait=wait)
    return listed, [KnownVersion(each, _facts(installation, connected, each)) for each in listed.answer or ()]


def facts_of(installation: Installation, connected: Connected, arn: str) -> Seen[ModelFacts]:
    """What is known of the version of this ARN, as it was when it was registered."""

    def look() -> ModelFacts:
        described = connected.client("sagemaker").describe_model_package(ModelPackageName=arn)
        listed = ListedVersion(
            arn, described["ModelPackageVersion"], described["ModelApprovalStatus"], described["CreationTime"]
        )
        return _read(connected, listed)

    return installation.quick.see(("facts", arn), look, seconds=ANEW_SECONDS)


def known(versions: Sequence[KnownVersion]) -> list[ModelFacts]:
    """The facts that have come."""
    return [version.facts.answer for version in versions if version.facts.answer is not None]


def _facts(installation: Installation, connected: Connected, listed: ListedVersion) -> Seen[ModelFacts]:
    settled = FOREVER if listed.approval != "PendingManualApproval" else ANEW_SECONDS
    key = ("facts", listed.arn, listed.approval)
    return installation.slow.see(key, partial(_read, connected, listed), seconds=settled)


def _read(connected: Connected, listed: ListedVersion) -> ModelFacts:
    return read_facts(connected.client("sagemaker"), connected.client("s3"), listed, connected.price)
