"""Which algorithm a run conf means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.algorithms.builtin import BuiltIn
from include.algorithms.container import Container
from include.algorithms.script import Script

if TYPE_CHECKING:
    from include.algorithms.algorithm import Algorithm
    from include.run_conf import RunConf
    from include.settings import Settings

KINDS: dict[str, type[Algorithm]] = {each.kind: each for each in (BuiltIn, Script, Container)}


def algorithm_of(conf: RunConf, settings: Settings) -> Algorithm:
    """The algorithm that a run conf means."""
    return KINDS[conf.training.algorithm.kind](conf, settings)
