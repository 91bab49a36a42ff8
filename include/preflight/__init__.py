"""Everything that can be known before anything is paid, asked at once."""

from __future__ import annotations

from include.preflight.checking import check
from include.preflight.data import dataset_problems
from include.preflight.findings import Findings, PreflightError
from include.preflight.services import CLIENT_CONFIG, Clients
from include.preflight.stages import WHOLE_CHAIN, Stage

__all__ = [
    "CLIENT_CONFIG",
    "WHOLE_CHAIN",
    "Clients",
    "Findings",
    "PreflightError",
    "Stage",
    "check",
    "dataset_problems",
]
