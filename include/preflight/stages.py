"""The stages of the chain that a run goes through, which decide what is looked at."""

from __future__ import annotations

from typing import Literal

Stage = Literal["dataset", "training", "endpoint"]
"""`dataset`: a version is built or grown; `training`: jobs train, tune and measure; `endpoint`: one is deployed."""

WHOLE_CHAIN: tuple[Stage, ...] = ("dataset", "training", "endpoint")
