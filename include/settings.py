"""What belongs to the installation and not to a run: buckets, role, region, network, tags."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_network
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from include.problems import Problem, ProblemsError, did_you_mean
from include.run_conf import RunConf
from include.run_conf.fields import NAME_PATTERN, Known
from include.run_conf.meaning import meant_setting
from include.run_conf.reading import Reading, is_unicode, parsed

VARIABLE = "image_classification"
RETRAINING_CRON = "17 * * * *"
LINE_SECTIONS = ("training", "resources", "incremental", "evaluation", "promotion", "endpoint", "retraining")
"""Sections of the run conf that the settings may change for a dataset's retraining."""
BUCKET_PATTERN = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


class SettingsError(ProblemsError):
    """The Airflow Variable `image_classification` is missing, is not a JSON object, or lacks something."""

    title = f"The Airflow Variable `{VARIABLE}` needs attention"


class Settings(Known):
    """Where the chain runs, typed from the Airflow Variable `image_classification`."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)

    data_bucket: str = Field(
        pattern=BUCKET_PATTERN, examples=["my-images"], description="Bucket of images and dataset versions."
    )
    output_bucket: str = Field(
        pattern=BUCKET_PATTERN, examples=["my-models"], description="Bucket of models and reports."
    )
    execution_role_arn: str = Field(
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$",
        examples=["arn:aws:iam::123456789012:role/sagemaker-execution"],
        description="Role that SageMaker's jobs use.",
    )
    region: str = Field(
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        examples=["eu-central-1"],
        description="Region of buckets, jobs and endpoints.",
    )
    queue_url: str = Field(
        "", description="SQS queue with the events of new images. Empty: only the hourly schedule checks for them."
    )
    retraining_cron: str = Field(
        RETRAINING_CRON,
        examples=[RETRAINING_CRON],
        description="When `retrain_on_new_images` looks for new images by itself, in case a message was lost: a cron "
        "expression, in UTC.",
    )
    endpoint_check_cron: str = Field(
        "",
        examples=["30 5 * * *"],
        description="When `evaluate_endpoint` measures the endpoints of all datasets by itself: a cron expression, in "
        "UTC. Empty: never.",
    )
    notify: str = Field(
        "",
        pattern=r"^(arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+|[A-Za-z_]\w*(\.[A-Za-z_]\w*)+)?$",
        examples=["arn:aws:sns:eu-central-1:123456789012:image-classification"],
        description="Who is notified of promoted, refused and pending models, roll-backs and failed runs: an SNS "
        "topic, or the import path of an Airflow notifier. Empty: no one.",
    )
    notify_arguments: dict[str, Any] = Field(
        {},
        examples=['{"text": "{{ notice.text }}"}'],
        description="Arguments of the notifier of `notify`; `{{ notice.subject }}`, `{{ notice.text }}` and "
        "`{{ notice.occasion }}` are the message's.",
    )
    kms_key_id: str = Field("", description="Key for models, reports and volumes. Empty: the account's default.")
    aws_conn_id: str = Field(
        "aws_default",
        description="Airflow connection to AWS. If there is none, the credentials of the process are used.",
    )
    owner: str = Field("", max_length=256, description="Tag `owner` on everything created.")
    tags: dict[str, str] = Field({}, description="Further tags on everything created.")
    subnets: tuple[str, ...] = Field((), description="VPC subnets of jobs and models.")
    security_group_ids: tuple[str, ...] = Field((), description="VPC security groups of jobs and models.")
    network_isolation: bool = Field(False, description="Containers without network access.")
    poll_seconds: int = Field(
        30, ge=1, description="Seconds between two polls of a waiting job, and of the queue of new images."
    )
    keep_alive_seconds: int = Field(
        0,
        ge=0,
        le=21_600,
        description="How long machines wait for the next training job of the same kind (a warm pool). This costs "
        "money. 0: they do not wait; spot machines never do.",
    )
    prices: dict[str, float] = Field(
        {},
        examples=['{"ml.g4dn.xlarge": 0.736}'],
        description="USD an hour by instance type; overrides AWS's price list.",
    )
    source_networks: tuple[str, ...] = Field(
        (),
        examples=['["10.1.0.0/16"]'],
        description="Internal networks from which `dataset.source` may read web addresses. Empty: the public internet "
        "only.",
    )
    archive_max_gb: int = Field(
        1000, ge=1, description="GB to which one archive of `dataset.source` may expand, all its members together."
    )
    archive_max_ratio: int = Field(
        100,
        ge=1,
        description="Largest ratio of an archive's expanded size to its own; photographs have 1, deflate up to 1,032.",
    )
    lines: dict[str, dict[str, Any]] = Field(
        {},
        examples=['{"pets": {"endpoint": {"instance_type": "ml.c5.xlarge"}}}'],
        description="Run conf fields of a dataset's retraining, by the dataset's name. Other fields are as in the run "
        "that trained its champion.",
    )
    image_uri: str = Field(
        "",
        description="Container image of the algorithm, instead of AWS's own. Its jobs are sent the definitions of "
        "the metrics, which AWS knows only for its own image. Empty: AWS's own in the region.",
    )
    imagenet_weights: bool = Field(
        True,
        description="Whether the algorithm's image has ImageNet weights (`use_pretrained_model`). AWS's own has them. "
        "Off for `containers/image_classification`, which the local AWS runs.",
    )
    registry_group_prefix: str = Field(
        "image-classification",
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        max_length=22,
        description="Model package groups are called PREFIX-DATASET.",
    )

    @field_validator("source_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks

    @field_validator("endpoint_check_cron", "retraining_cron")
    @classmethod
    def _is_a_cron_expression(cls, expression: str, field: ValidationInfo) -> str:
        if not is_cron(expression) and (expression or field.field_name == "retraining_cron"):
            raise ValueError("no cron expression")
        return expression

    @classmethod
    def from_variable(cls, value: Mapping[str, Any] | str | None) -> Settings:
        """Read the Variable's content, a mapping or its JSON text.

        Raises SettingsError with everything that is missing or wrong.
        """
        settings, problems = cls.read(value)
        if problems:
            raise SettingsError(problems)
        return settings

    @classmethod
    def read(cls, value: Mapping[str, Any] | str | None) -> tuple[Self, list[Problem]]:
        """The settings without those that have a problem, and all problems.

        To read a setting that is missing raises UnknownValueError, so that the rest can still be checked.
        """
        try:
            content = _content(value)
        except SettingsError as error:
            return cls._stand_in({}, cls.model_fields), list(error.problems)
        remedy = "its name has half of a character: write it again"
        problems = [Problem(field=key, value=content[key], remedy=remedy) for key in content if not is_unicode(key)]
        content = {key: value for key, value in content.items() if is_unicode(key)}
        try:
            settings = cls.model_validate(content)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
            wrong = {str(detail["loc"][0]) for detail in details}
            return cls._stand_in(content, wrong), [*problems, *map(_problem, details)]
        for given, lacking in (("subnets", "security_group_ids"), ("security_group_ids", "subnets")):
            if getattr(settings, given) and not getattr(settings, lacking):
                remedy = f"a network has both: add it to {given}, or leave both out"
                return settings.without({lacking}), [*problems, Problem(field=lacking, remedy=remedy)]
        if of_lines := list(_line_problems(settings.lines)):
            return settings.without({"lines"}), [*problems, *of_lines]
        return settings, problems

    @classmethod
    def _stand_in(cls, content: Mapping[str, Any], wrong: Collection[str]) -> Self:
        examples = {name: cls.model_fields[name].examples or [] for name in _required()}
        needed = {name: example for name, (example, *_) in examples.items()}
        right = {name: value for name, value in content.items() if name not in wrong}
        return cls.model_validate({**needed, **right}).without(wrong)

    @property
    def jobs_uri(self) -> str:
        """Where training jobs write: one folder per job."""
        return f"s3://{self.output_bucket}/jobs"

    def report_prefix(self, run: str) -> str:
        """Key prefix of a run's report in the output bucket, with a slash at the end; `run` is the run's short name."""
        return f"reports/{run}/"

    def registry_group(self, dataset: str) -> str:
        """The model package group of a dataset's models."""
        return f"{self.registry_group_prefix}-{dataset}"


def is_cron(expression: str) -> bool:
    """Whether a text is a cron expression."""
    # Only an installation that sets one should pay for the import.
    from croniter import croniter  # type: ignore[import-untyped]  # noqa: PLC0415

    return bool(croniter.is_valid(expression))


def _content(value: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    remedy = (
        f"set it to a JSON object with {', '.join(_required())}, for example with `airflow variables set {VARIABLE}`"
    )
    if value is None or value == "":
        raise SettingsError([Problem(field=VARIABLE, remedy=remedy)])
    if isinstance(value, str):
        try:
            value = parsed(value)
        except ValueError as error:
            raise SettingsError([Problem(field=VARIABLE, value=value, remedy=f"no JSON ({error}): {remedy}")]) from None
    if not isinstance(value, Mapping):
        raise SettingsError([Problem(field=VARIABLE, value=value, remedy=remedy)])
    return value


def _line_problems(lines: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """Fields that a retraining's run conf does not have; whether fields fit each other depends on the champion's."""
    for dataset, line in lines.items():
        where = f"lines.{dataset}"
        if not re.match(NAME_PATTERN, dataset):
            remedy = "a dataset's name is made of letters, digits and hyphens between them"
            yield Problem(field=where, value=dataset, remedy=remedy)
        reading = Reading.of(RunConf, line)
        for problem in reading.problems:
            yield problem.model_copy(update={"field": f"{where}.{problem.field}"})
        for name, value in reading.values.items():
            if name.partition(".")[0] not in LINE_SECTIONS:
                remedy = f"only {', '.join(LINE_SECTIONS)} are allowed here: leave it out"
                yield Problem(field=f"{where}.{name}", value=value, remedy=remedy)
        if not RunConf.model_validate(reading.document()).incremental.enabled:
            remedy = "a retraining trains the champion further: leave it out"
            yield Problem(field=f"{where}.incremental.enabled", value=False, remedy=remedy)


def _required() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if field.is_required()]


def _problem(detail: Any) -> Problem:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        meant = did_you_mean(meant_setting(field, Settings.model_fields))
        return Problem(field=field, value=detail["input"], remedy=f"no such setting{meant}")
    known = Settings.model_fields[str(detail["loc"][0])]
    purpose = f" ({str(known.description).rstrip('.')})"
    if detail["type"] == "missing":
        return Problem(field=field, remedy=f"add it{purpose}")
    wanted = f"must look like {known.examples[0]}" if known.examples else _lower_first(detail["msg"])
    return Problem(field=field, value=detail["input"], remedy=f"{wanted}{purpose}")


def _lower_first(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"
