"""Which endpoints are measured, each on which dataset version and beside which registered figure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.datasets.layout import VersionLayout, parse_s3_uri
from include.datasets.version import DatasetVersion, latest, load
from include.evaluation.endpoint_accuracy import RegisteredFigure
from include.evaluation.held_out_answers import is_kept, kept_at
from include.evaluation.metrics import Interval
from include.promotion.champion import LiveEndpoint, UnknownChampionError, champion_of, live_endpoint
from include.run_conf.reading import parsed
from include.sagemaker.api import pages_of
from include.training.best_model import label_set_fingerprint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.deployment.registry import RegisteredModel
    from include.run_conf import RunConf
    from include.settings import Settings

log = logging.getLogger(__name__)


class NoEndpointError(ValueError):
    """There is no endpoint that serves as the run conf says."""


class EndpointCheck(BaseModel):
    """An endpoint to measure.

    `registered` is None if what it serves is not a registered version, and `remark` says so.
    """

    model_config = ConfigDict(frozen=True)

    endpoint: str
    dataset: str
    version: DatasetVersion
    registered: RegisteredFigure | None = None
    remark: str = ""


def endpoint_checks(
    sagemaker: SageMakerClient, s3: S3Client, *, conf: RunConf, settings: Settings
) -> list[EndpointCheck]:
    """The endpoint that a run conf names, by its own name or by its dataset's; of all datasets if it names neither.

    The dataset version is `dataset.version`, or the newest one with the classes of the served model. An endpoint or a
    dataset that was named and does not serve is an error: NoEndpointError, or DatasetError for a version that is not
    there. Of all datasets, those without an endpoint are passed over.
    """
    look_up = _LookUp(sagemaker, s3, conf, settings)
    named = conf.dataset.name if "name" in conf.dataset.model_fields_set else ""
    if conf.endpoint.name:
        return [look_up.of_endpoint(conf.endpoint.name, named)]
    if named:
        # An endpoint that no deployment of a registered version has noted goes by the dataset's name.
        return [look_up.of_dataset(named) or look_up.of_endpoint(named, named)]
    checks = (look_up.of_dataset(name) for name in _datasets(sagemaker, settings))
    return [check for check in checks if check]


def registered_figure(s3: S3Client, version: RegisteredModel) -> RegisteredFigure:
    """The accuracy of a registered version, with images and interval from the report of its evaluation."""
    known = RegisteredFigure(
        group=version.group,
        version=version.version,
        dataset_version=f"{version.dataset}/{version.dataset_version}",
        accuracy=version.accuracy,
        report=version.report,
    )
    if not version.report:
        return known
    bucket, key = parse_s3_uri(f"{version.report.rpartition('/')[0]}/metrics.json")
    try:
        metrics = parsed(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
        interval = Interval.model_validate(metrics["intervals"]["accuracy"])
        sent = (metrics.get("sent") or {}).get("kind", "packed")
        return known.model_copy(update={"images": int(metrics["images"]), "interval": interval, "sent": sent})
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
    except (ValueError, KeyError, TypeError):
        log.warning("%s has no interval of the accuracy: it is from an earlier release.", f"s3://{bucket}/{key}")
    return known


def _datasets(sagemaker: SageMakerClient, settings: Settings) -> Iterator[str]:
    """The datasets of which models are registered."""
    prefix = settings.registry_group("")
    groups = pages_of(
        sagemaker, "list_model_package_groups", "ModelPackageGroupSummaryList", NameContains=prefix, SortBy="Name"
    )
    for group in groups:
        if group["ModelPackageGroupName"].startswith(prefix):
            yield group["ModelPackageGroupName"].removeprefix(prefix)


@dataclass(frozen=True)
class _LookUp:
    sagemaker: SageMakerClient
    s3: S3Client
    conf: RunConf
    settings: Settings

    def of_dataset(self, dataset: str) -> EndpointCheck | None:
        """The endpoint of a dataset; None if nothing serves."""
        try:
            champion = champion_of(self.sagemaker, settings=self.settings, dataset=dataset)
        except UnknownChampionError as error:
            return self._unregistered(error, dataset)
        return self._of_live(champion.live, dataset) if champion and champion.live else None

    def of_endpoint(self, endpoint: str, dataset: str) -> EndpointCheck:
        try:
            live = live_endpoint(self.sagemaker, endpoint, settings=self.settings, dataset=dataset or endpoint)
        except UnknownChampionError as error:
            if not dataset:
                raise NoEndpointError(f"{error} Or name in dataset.name the dataset to measure it on.") from None
            return self._unregistered(error, dataset)
        if live is None:
            field = "endpoint.name" if self.conf.endpoint.name else "dataset.name"
            raise NoEndpointError(
                f"{field} = {endpoint}: no endpoint of this name serves. Deploy a registered version with "
                "deploy_endpoint, or name another endpoint in endpoint.name."
            )
        return self._of_live(live, dataset or live.version.dataset)

    def _of_live(self, live: LiveEndpoint, dataset: str) -> EndpointCheck:
        version, served = self._version(dataset, live.version.label_set), live.version
        figure, sent = registered_figure(self.s3, served), self.conf.evaluation.images
        kept = kept_at(self.settings, version, job=served.job, artifact=served.artifact, sent=sent)
        if is_kept(self.s3, kept):
            figure = figure.model_copy(update={"answers": kept})
        return EndpointCheck(endpoint=live.name, dataset=dataset, version=version, registered=figure)

    def _unregistered(self, error: UnknownChampionError, dataset: str) -> EndpointCheck:
        version = self._version(dataset, None)
        return EndpointCheck(endpoint=error.endpoint, dataset=dataset, version=version, remark=str(error))

    def _version(self, dataset: str, label_set: str | None) -> DatasetVersion:
        """The version to measure on: the named one, or the newest with the classes of the served model."""
        bucket, named = self.settings.data_bucket, self.conf.dataset.version
        if named:
            return load(self.s3, VersionLayout(bucket, dataset, named).uri)

        def suits(version: DatasetVersion) -> bool:
            return label_set in (None, label_set_fingerprint(version.labels))

        version = latest(self.s3, bucket, dataset, suits=suits)
        if version is None:
            raise DatasetError(
                f"dataset.name = {dataset}: no version in s3://{bucket}/datasets/ has the classes of the served model: "
                "build one first"
            )
        return version
