"""What belongs to the deployment and not to a run: buckets, role, region, network, tags."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.problems import Problem, ProblemsError

VARIABLE = "image_classification"
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


class SettingsError(ProblemsError):
    """The Airflow Variable `image_classification` is missing, is no JSON object, or lacks something."""

    title = f"The Airflow Variable `{VARIABLE}` needs attention"


class Settings(BaseModel):
    """Where the chain runs, typed from the Airflow Variable `image_classification`."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    data_bucket: str = Field(
        pattern=BUCKET_PATTERN, examples=["my-images"], description="Bucket of images and dataset versions."
    )
    output_bucket: str = Field(
        pattern=BUCKET_PATTERN, examples=["my-models"], description="Bucket of models and reports."
    )
    execution_role_arn: str = Field(
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$",
        examples=["arn:aws:iam::123456789012:role/sagemaker-execution"],
        description="Role that SageMaker's jobs take on.",
    )
    region: str = Field(
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        examples=["eu-central-1"],
        description="Region of buckets, jobs and endpoints.",
    )
    queue_url: str = Field(
        "", description="SQS queue that hears of new images. Empty: only the schedule looks for them."
    )
    kms_key_id: str = Field("", description="Key for models, reports and volumes. Empty: the account's default.")
    aws_conn_id: str = Field("aws_default", description="Airflow connection to AWS.")
    owner: str = Field("", max_length=256, description="Tag `owner` on everything created.")
    tags: dict[str, str] = Field({}, description="Further tags on everything created.")
    subnets: tuple[str, ...] = Field((), description="VPC subnets of jobs and models.")
    security_group_ids: tuple[str, ...] = Field((), description="VPC security groups of jobs and models.")
    network_isolation: bool = Field(False, description="Containers without network access.")
    poll_seconds: int = Field(30, ge=1, description="Seconds between two looks at a waiting job.")
    keep_alive_seconds: int = Field(
        0,
        ge=0,
        le=21_600,
        description="Machines wait so long for the next training job of the same kind (a warm pool), which is paid "
        "for. 0: they do not; spot machines never do.",
    )
    prices: dict[str, float] = Field(
        {},
        examples=['{"ml.g4dn.xlarge": 0.736}'],
        description="USD an hour by instance type; goes before what AWS's price list says.",
    )
    image_uri: str = Field("", description="Container image of the algorithm. Empty: AWS's own in the region.")
    registry_group_prefix: str = Field(
        "image-classification",
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        max_length=22,
        description="Model package groups are called PREFIX-DATASET.",
    )

    @classmethod
    def from_variable(cls, value: Mapping[str, Any] | str | None) -> Settings:
        """Read the Variable's content, a mapping or its JSON text.

        Raises SettingsError with everything that is missing or wrong.
        """
        try:
            settings = cls.model_validate(_content(value))
        except ValidationError as error:
            raise SettingsError(_problem(detail) for detail in error.errors()) from None
        for given, lacking in (("subnets", "security_group_ids"), ("security_group_ids", "subnets")):
            if getattr(settings, given) and not getattr(settings, lacking):
                remedy = f"a network has both: add it to {given}, or leave both out"
                raise SettingsError([Problem(field=lacking, remedy=remedy)])
        return settings

    @property
    def jobs_uri(self) -> str:
        """Where training jobs write: a folder a job."""
        return f"s3://{self.output_bucket}/jobs"

    def report_prefix(self, run: str) -> str:
        """Key prefix of a run's report in the output bucket, with a slash at the end; `run` is the run's short name."""
        return f"reports/{run}/"

    def registry_group(self, dataset: str) -> str:
        """The model package group of a dataset's models."""
        return f"{self.registry_group_prefix}-{dataset}"


def _content(value: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    remedy = (
        f"set it to a JSON object with {', '.join(_required())}, for example with `airflow variables set {VARIABLE}`"
    )
    if value is None or value == "":
        raise SettingsError([Problem(field=VARIABLE, remedy=remedy)])
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise SettingsError([Problem(field=VARIABLE, value=value, remedy=f"no JSON: {remedy}")]) from None
    if not isinstance(value, Mapping):
        raise SettingsError([Problem(field=VARIABLE, value=value, remedy=remedy)])
    return value


def _required() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if field.is_required()]


def _problem(detail: Any) -> Problem:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(field, Settings.model_fields, n=1, cutoff=0.0)
        return Problem(field=field, value=detail["input"], remedy=f"no such setting; did you mean {nearest[0]}?")
    known = Settings.model_fields[str(detail["loc"][0])]
    purpose = f" ({str(known.description).rstrip('.')})"
    if detail["type"] == "missing":
        return Problem(field=field, remedy=f"add it{purpose}")
    wanted = f"must look like {known.examples[0]}" if known.examples else _lower_first(detail["msg"])
    return Problem(field=field, value=detail["input"], remedy=f"{wanted}{purpose}")


def _lower_first(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"
