"""Datasets that may be retrained, for tests that need no registry and no endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from include.deployment.registry import RegisteredModel
from include.promotion.champion import Champion
from include.retraining import Line, Retraining, find_retrainings
from include.run_conf import RunConf
from include.training.best_model import label_set_fingerprint
from tests.support.documents import deployment_inputs

CHAMPION = RegisteredModel.model_validate(deployment_inputs({})["model"])


def line(conf: RunConf | None = None, *, labels: Sequence[str] | None = None, only: str = "") -> Callable[[str], Any]:
    """The line of every dataset, or of one: retrained with this conf from a champion that knows these classes."""
    known = label_set_fingerprint(labels) if labels else None
    champion = Champion(CHAMPION.model_copy(update={"label_set": known}), None, "which was promoted last")
    return lambda name: Line(champion, conf or RunConf()) if only in ("", name) else None


def grown_one(s3: Any, lines: Callable[[str], Any], **options: Any) -> Retraining | None:
    """The one dataset that has grown; None if none has."""
    found = find_retrainings(s3, lines, **options)
    if not found:
        return None
    (one,) = found
    assert isinstance(one, Retraining)
    return one
