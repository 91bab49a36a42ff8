"""Registered models and their groups, and how the API describes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.resource_table import now


@dataclass
class ModelPackageGroup:
    """A named list of versions."""

    name: str
    arn: str
    description: str | None
    status: str = "Completed"
    creation_time: datetime = field(default_factory=now)
    versions: int = 0

    @property
    def last_modified_time(self) -> datetime:
        """A group does not change."""
        return self.creation_time

    def summary(self) -> Document:
        """The group as ListModelPackageGroups gives it."""
        return {
            "ModelPackageGroupName": self.name,
            "ModelPackageGroupArn": self.arn,
            "ModelPackageGroupDescription": self.description,
            "CreationTime": self.creation_time,
            "ModelPackageGroupStatus": self.status,
        }

    def describe(self) -> Document:
        """The group as DescribeModelPackageGroup gives it."""
        return {**self.summary(), "CreatedBy": {}}


@dataclass
class ModelPackage:
    """A registered model; `name` is its ARN, under which the table keeps it."""

    arn: str
    group: str | None
    version: int | None
    short_name: str
    document: Document
    status: str = "Completed"
    creation_time: datetime = field(default_factory=now)
    last_modified_time: datetime = field(default_factory=now)

    @property
    def name(self) -> str:
        """The name that List filters and sorts by: a version's is its group's."""
        return self.arn

    def specification(self, name: str | None) -> Document | None:
        """The inference specification of that name, without one the package's own; None where it has none such."""
        if name is None:
            return self.document.get("InferenceSpecification")
        additional = self.document.get("AdditionalInferenceSpecifications") or ()
        return next((each for each in additional if each["Name"] == name), None)

    def summary(self) -> Document:
        """The package as ListModelPackages gives it."""
        return {
            "ModelPackageName": self.short_name if self.version is None else None,
            "ModelPackageGroupName": self.group,
            "ModelPackageVersion": self.version,
            "ModelPackageArn": self.arn,
            "ModelPackageDescription": self.document.get("ModelPackageDescription"),
            "CreationTime": self.creation_time,
            "ModelPackageStatus": self.status,
            "ModelApprovalStatus": self.document.get("ModelApprovalStatus"),
        }

    def describe(self) -> Document:
        """The package as DescribeModelPackage gives it."""
        return {
            **self.document,
            "ModelPackageName": self.short_name,
            "ModelPackageGroupName": self.group,
            "ModelPackageVersion": self.version,
            "ModelPackageArn": self.arn,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
            "ModelPackageStatus": self.status,
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "CreatedBy": {},
        }
