"""The model registry: model package groups, their versions, and model packages without a version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from local_aws.aws_errors import AwsError, not_local, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.sagemaker.core.model_artifacts import ModelArtifact
from local_aws.sagemaker.core.resource_table import ResourceTable, now
from local_aws.sagemaker.core.tags import Tags, check_tags
from local_aws.sagemaker.registry.model_package import ModelPackage, ModelPackageGroup

NOT_LOCAL = ("ValidationSpecification", "SourceAlgorithmSpecification", "ManagedStorageType")
KEPT_FIELDS = (
    "ModelPackageDescription",
    "ModelPackageRegistrationType",
    "InferenceSpecification",
    "MetadataProperties",
    "ModelMetrics",
    "Domain",
    "Task",
    "SamplePayloadUrl",
    "CustomerMetadataProperties",
    "DriftCheckBaselines",
    "AdditionalInferenceSpecifications",
    "SkipModelValidation",
    "SourceUri",
    "SecurityConfig",
    "ModelCard",
    "ModelLifeCycle",
)
UPDATED_FIELDS = ("ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri", "ModelCard")


class ModelRegistry(Area):
    """Model packages and their groups."""

    resource_types = frozenset({"model-package", "model-package-group"})

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self._lock = threading.RLock()
        self._groups: ResourceTable[ModelPackageGroup] = ResourceTable(
            taken=lambda group: validation_error(f"Model Package Group already exists: {group.arn}"),
            unknown=lambda name: _does_not_exist("ModelPackageGroup", self.aws.arn("model-package-group", name)),
        )
        self._packages: ResourceTable[ModelPackage] = ResourceTable(
            taken=lambda package: validation_error(f"Model Package already exists: {package.arn}"),
            unknown=lambda arn: _does_not_exist("ModelPackage", arn),
        )

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on model packages and groups."""
        return {
            "CreateModelPackageGroup": self.create_group,
            "DescribeModelPackageGroup": lambda request: self._group(request).describe(),
            "ListModelPackageGroups": self.list_groups,
            "DeleteModelPackageGroup": self.delete_group,
            "CreateModelPackage": self.create,
            "DescribeModelPackage": lambda request: self.get(request["ModelPackageName"]).describe(),
            "BatchDescribeModelPackage": self.batch_describe,
            "ListModelPackages": self.list_packages,
            "UpdateModelPackage": self.update,
            "DeleteModelPackage": self.delete,
        }

    def searchable(self) -> Mapping[str, Callable[[], Iterable[Document]]]:
        """Packages and groups are found with their tags."""
        tags = self.sagemaker.area(Tags)
        return {
            "ModelPackage": lambda: [{**each.describe(), "Tags": tags.of(each.arn)} for each in self._packages.all()],
            "ModelPackageGroup": lambda: [
                {**each.describe(), "Tags": tags.of(each.arn)} for each in self._groups.all()
            ],
        }

    def create_group(self, request: Document) -> Document:
        """CreateModelPackageGroup."""
        if "ManagedConfiguration" in request:
            raise not_local("ManagedConfiguration")
        check_tags(request.get("Tags", []))
        name = request["ModelPackageGroupName"]
        arn = self.aws.arn("model-package-group", name)
        self._groups.add(ModelPackageGroup(name, arn, request.get("ModelPackageGroupDescription")))
        self.sagemaker.area(Tags).register(arn, request.get("Tags", []))
        return {"ModelPackageGroupArn": arn}

    def list_groups(self, request: Document) -> Document:
        """ListModelPackageGroups."""
        return self._groups.page(request, "ModelPackageGroupSummaryList", ModelPackageGroup.summary)

    def delete_group(self, request: Document) -> Document:
        """DeleteModelPackageGroup, of an empty group only."""
        with self._lock:
            group = self._group(request)
            if any(package.group == group.name for package in self._packages.all()):
                raise AwsError(
                    "ConflictException",
                    f"ModelPackageGroup {group.arn} cannot be deleted because it still has model packages.",
                )
            self._groups.remove(group.name)
            self.sagemaker.area(Tags).forget(group.arn)
        return {}

    def create(self, request: Document) -> Document:
        """CreateModelPackage: the next version of a group, or a package with a name of its own."""
        group_name, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
        if (group_name is None) == (name is None):
            raise validation_error("You must provide either ModelPackageGroupName or ModelPackageName, and not both.")
        for part in NOT_LOCAL:
            if part in request:
                raise not_local(part)
        check_tags(request.get("Tags", []))
        if "InferenceSpecification" in request:
            self._note_etags(request["InferenceSpecification"])
        document = {key: request[key] for key in KEPT_FIELDS if key in request}
        with self._lock:
            package = (
                self._version(request, document) if group_name is not None else self._unversioned(request, document)
            )
            self._packages.add(package)
        self.sagemaker.area(Tags).register(package.arn, request.get("Tags", []))
        return {"ModelPackageArn": package.arn}

    def get(self, name: str) -> ModelPackage:
        """A package by its ARN, by its name, or by group/version; raises ValidationException."""
        arn = name if name.startswith("arn:") else self.aws.arn("model-package", name)
        return self._packages.get(arn)

    def batch_describe(self, request: Document) -> Document:
        """BatchDescribeModelPackage."""
        found, unknown = {}, {}
        for arn in request["ModelPackageArnList"]:
            try:
                package = self.get(arn)
            except AwsError as error:
                unknown[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
            else:
                specification = package.document.get("InferenceSpecification")
                found[arn] = {**package.summary(), "InferenceSpecification": specification}
        return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": unknown}

    def list_packages(self, request: Document) -> Document:
        """ListModelPackages: a group's versions, or by default the packages without a version."""
        group = self._group(request).name if "ModelPackageGroupName" in request else None
        kind = request.get("ModelPackageType", "Versioned" if group else "Unversioned")
        approval = request.get("ModelApprovalStatus")

        def keep(package: ModelPackage) -> bool:
            return (
                (group is None or package.group == group)
                and (kind == "Both" or (package.version is not None) == (kind == "Versioned"))
                and approval in (None, package.document.get("ModelApprovalStatus"))
            )

        by_name = {"Name": lambda package: f"{package.short_name}/{package.version or 0:09d}"}
        return self._packages.page(
            request, "ModelPackageSummaryList", ModelPackage.summary, keep=keep, sort_keys=by_name
        )

    def update(self, request: Document) -> Document:
        """UpdateModelPackage: the approval, the customer's metadata, further specifications."""
        with self._lock:
            package = self.get(request["ModelPackageArn"])
            document = {**package.document, **{key: request[key] for key in UPDATED_FIELDS if key in request}}
            properties = {
                **(document.get("CustomerMetadataProperties") or {}),
                **request.get("CustomerMetadataProperties", {}),
            }
            for key in request.get("CustomerMetadataPropertiesToRemove", ()):
                properties.pop(key, None)
            added = request.get("AdditionalInferenceSpecificationsToAdd", [])
            specifications = [*(document.get("AdditionalInferenceSpecifications") or ()), *added]
            package.document = {
                **document,
                "CustomerMetadataProperties": properties or None,
                "AdditionalInferenceSpecifications": specifications or None,
            }
            package.last_modified_time = now()
        return {"ModelPackageArn": package.arn}

    def delete(self, request: Document) -> Document:
        """DeleteModelPackage."""
        package = self.get(request["ModelPackageName"])
        self._packages.remove(package.arn)
        self.sagemaker.area(Tags).forget(package.arn)
        return {}

    def _group(self, request: Document) -> ModelPackageGroup:
        return self._groups.get(request["ModelPackageGroupName"].rpartition("/")[2])

    def _version(self, request: Document, document: Document) -> ModelPackage:
        group = self._group(request)
        group.versions += 1
        arn = self.aws.arn("model-package", f"{group.name}/{group.versions}")
        document["ModelApprovalStatus"] = request.get("ModelApprovalStatus", "PendingManualApproval")
        return ModelPackage(arn, group.name, group.versions, group.name, document)

    def _unversioned(self, request: Document, document: Document) -> ModelPackage:
        name = request["ModelPackageName"]
        if "ModelApprovalStatus" in request:
            document["ModelApprovalStatus"] = request["ModelApprovalStatus"]
        document["CertifyForMarketplace"] = request.get("CertifyForMarketplace", False)
        return ModelPackage(self.aws.arn("model-package", name), None, None, name, document)

    def _note_etags(self, specification: Mapping[str, Any]) -> None:
        """Note the ETag of every container's model, where it is in S3; CreateModel is what insists on it."""
        for container in specification["Containers"]:
            artifact = ModelArtifact.of(container)
            etag = artifact.etag(self.aws) if artifact is not None else None
            if etag is not None:
                container["ModelDataETag"] = etag


def _does_not_exist(kind: str, arn: str) -> AwsError:
    return validation_error(f"{kind} {arn} does not exist.")
