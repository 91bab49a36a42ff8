"""Everything that can be known before anything is paid, asked at once."""

from __future__ import annotations

from include.preflight.checking import check, examine_run, label_change_problems, reported
from include.preflight.dataset_checks import dataset_problems
from include.preflight.plan import PlannedStage, planned_stages
from include.preflight.questions import (
    CLIENT_CONFIG,
    ONLY_DEPLOYS,
    WHOLE_CHAIN,
    Clients,
    Findings,
    PreflightError,
    Stage,
)

__all__ = [
    "CLIENT_CONFIG",
    "ONLY_DEPLOYS",
    "WHOLE_CHAIN",
    "Clients",
    "Findings",
    "PlannedStage",
    "PreflightError",
    "Stage",
    "check",
    "dataset_problems",
    "examine_run",
    "label_change_problems",
    "planned_stages",
    "reported",
]
