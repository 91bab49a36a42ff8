"""What a person may ask of a clean-up; every default is safe for a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field

from include.problems import ProblemsError
from include.run_conf.reading import Reading
from include.run_conf.section import Section


class CleanUpConfError(ProblemsError):
    """What arrived does not say what to clean up."""

    title = "The conf of the clean-up has problems"


class CleanUpConf(Section):
    """How far a clean-up goes."""

    model_config = ConfigDict(title="Clean-up")

    dry_run: bool = Field(False, title="Dry run", description="Only tell what would be done.")
    unknown_runs: bool = Field(
        False,
        title="Unknown runs too",
        description="Also stop and delete what belongs to runs that this Airflow does not know. Leave it off where "
        "another Airflow runs these DAGs in the same account and region.",
    )
    uploads_older_than_hours: int = Field(
        48,
        ge=1,
        title="Unfinished uploads (h)",
        description="Age from which unfinished uploads of builds are given up.",
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
        description="The newest so many of each dataset stay, and every version that a registered model, a running job "
        "or the parent of one of these refers to; the others are deleted. Empty: all stay.",
    )
    versions_older_than_days: int = Field(
        30,
        ge=1,
        title="Old versions (days)",
        description="Age from which a dataset version may be deleted: a run may be about to train with a younger one.",
    )

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any] | None) -> Self:
        """Read the conf of a run. Raises CleanUpConfError with everything that is wrong with it."""
        reading = Reading.of(cls, conf or {})
        if reading.problems:
            raise CleanUpConfError(reading.problems)
        return cls.model_validate(reading.document())
