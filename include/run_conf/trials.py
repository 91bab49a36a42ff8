"""Trials: base jobs of one run that differ in hyperparameters, dataset version, or both."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from include.run_conf.hyperparameters import TrialHyperparameters
from include.run_conf.section import NAME_PARTS, NAME_PATTERN, Section


class TrialConf(Section):
    """One base job among several; what it does not say is as in the rest of the run conf."""

    model_config = ConfigDict(title="Trial")

    name: str = Field(
        "",
        max_length=40,
        pattern=rf"^({NAME_PATTERN[1:-1]})?$",
        json_schema_extra=NAME_PARTS,
        examples=["deep"],
        title="Name",
        description="How the trial is called in reports; each has its own.",
    )
    dataset: str = Field(
        "",
        pattern=rf"^({NAME_PATTERN[1:-1]}(/[a-zA-Z0-9-]+)?)?$",
        examples=["pets", "pets/20260102T030405Z-0a1b2c3d"],
        title="Dataset",
        description="Finished version that it learns from, `NAME/VERSION` or `NAME` for the newest. Empty: the run's.",
    )
    hyperparameters: TrialHyperparameters = Field(TrialHyperparameters(), description="What differs from the run's.")

    @property
    def dataset_name(self) -> str:
        """The name of the dataset it learns from, empty for the run's."""
        return self.dataset.partition("/")[0]

    @property
    def dataset_version(self) -> str:
        """The version it learns from, empty for the newest of its dataset, and for the run's."""
        return self.dataset.partition("/")[2]
