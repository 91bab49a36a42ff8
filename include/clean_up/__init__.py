"""What a person may ask of a clean-up; every default is safe for a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field

from include.problems import Problem, ProblemsError
from include.run_conf.fields import NAME_PARTS, NAME_PATTERN, Section
from include.run_conf.reading import Reading


class CleanUpConfError(ProblemsError):
    """What arrived does not say what to clean up."""

    title = "The conf of the clean-up has problems"


class CleanUpConf(Section):
    """How far a clean-up goes."""

    model_config = ConfigDict(title="Clean-up")

    dry_run: bool = Field(False, title="Dry run", description="Only show what would be done.")
    unknown_runs: bool = Field(
        False,
        title="Unknown runs too",
        description="Also stop and delete what belongs to runs that this Airflow does not know. Leave it off if "
        "another Airflow runs these DAGs in the same account and region.",
    )
    uploads_older_than_hours: int = Field(
        48,
        ge=1,
        title="Unfinished uploads (h)",
        description="Age from which unfinished uploads of builds are given up, and packed images are deleted that a "
        "failed run of `predict_images` has left.",
    )
    unserved_older_than_days: int = Field(
        30,
        ge=1,
        title="Unserved models (days)",
        description="Age from which endpoint configurations and models are deleted that nothing serves. Artifacts in "
        "S3 and the model registry stay.",
    )
    keep_versions: int | None = Field(
        None,
        ge=1,
        title="Dataset versions to keep",
        description="This many of the newest of each dataset stay, and every version that a registered model, a "
        "running job or the parent of one of these refers to; the others are deleted. Empty: all stay.",
    )
    versions_older_than_days: int = Field(
        30,
        ge=1,
        title="Old versions (days)",
        description="Age from which a dataset version may be deleted: a run may be about to train with a newer one.",
    )

    delete_endpoint: str = Field(
        "",
        max_length=63,
        pattern=rf"^({NAME_PATTERN[1:-1]})?$",
        json_schema_extra=NAME_PARTS,
        title="Delete an endpoint",
        description="This endpoint is deleted, with its configurations, models and alarms, although it may serve. "
        "Artifacts in S3 and the model registry stay.",
    )
    confirm_deletion: str = Field(
        "",
        title="Its name again",
        description="The name of the endpoint to delete again. With another name nothing is deleted.",
    )

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any] | None) -> Self:
        """Read the conf of a run. Raises CleanUpConfError with everything that is wrong with it."""
        reading = Reading.of(cls, conf or {})
        read = cls.model_validate(reading.document())
        problems = list(reading.problems)
        if not problems and read.delete_endpoint != read.confirm_deletion:
            remedy = f"must be the name of the endpoint to delete, {read.delete_endpoint or 'which is empty'}"
            problems.append(Problem(field="confirm_deletion", value=read.confirm_deletion, remedy=remedy))
        if problems:
            raise CleanUpConfError(problems)
        return read
