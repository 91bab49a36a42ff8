"""What a rule says about a training: found, fine or unknown, with figure, threshold, words, chart; and its card."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

from include.evaluation.job_traces import NO_TRACES, Columns, JobTraces
from include.pages.elements import Markup, joined, shown
from include.sagemaker.epochs import EpochMetrics

Status = Literal["found", "fine", "unknown"]
NAMED = 5
"""Names that a sentence has at most."""
NO_LOSS = 1e-9
"""A loss up to this is zero: nothing is left to learn, and as a share of it every change would be enormous."""
MANY_TIMES = 10.0
"""From this factor on a rise is given as a factor."""


@dataclass(frozen=True)
class Trained:
    """What is known of a training.

    `kept_epoch` is the one of the model, counted from 1. `training_images` and `recalls` are by class; `weighted` says
    that the loss gave rare classes as much say as frequent ones.
    """

    epochs: Sequence[EpochMetrics] = ()
    kept_epoch: int | None = None
    traces: JobTraces = NO_TRACES
    training_images: Mapping[str, int] = field(default_factory=dict)
    recalls: Mapping[str, float] = field(default_factory=dict)
    weighted: bool = False

    def metric(self, name: str) -> dict[int, float]:
        """A metric by epoch, counted from 1; epochs in which it was infinite or not a number are left out."""
        values = {epoch.epoch + 1: epoch.metrics.get(name, math.nan) for epoch in self.epochs}
        return {epoch: value for epoch, value in values.items() if math.isfinite(value)}

    def layers(self, tensor: str) -> dict[str, Columns]:
        """The columns of each layer's `weight`, `gradient` or `output`, in the order of the network."""
        return {layer: columns for (layer, kind), columns in self.traces.tensors.items() if kind == tensor}


class Finding(BaseModel):
    """What a rule found: its `figure` beside its `threshold`, in words, and what to do about it.

    A figure is None if the job left nothing to work it out from, which `says` explains.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    title: str
    status: Status
    figure: float | None
    threshold: float
    says: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """A finding, and the chart that shows it."""

    finding: Finding
    plot: Markup = field(default_factory=Markup)


def cards(diagnoses: Iterable[Diagnosis]) -> Markup:
    """A card for each diagnosis: those that found something first, those without data last."""
    order = ("found", "fine", "unknown")
    drawn = joined(map(_card, sorted(diagnoses, key=lambda one: order.index(one.finding.status))))
    return Markup(f'<div class="cards">{drawn}</div>') if drawn else Markup()


def _card(diagnosis: Diagnosis) -> Markup:
    found = diagnosis.finding
    word = {"found": "found", "fine": "fine", "unknown": "no data"}[found.status]
    figures = f"{found.rule}: {found.figure:.3g}, threshold {found.threshold:.3g}" if found.figure is not None else ""
    advice = f"<p><b>{shown(found.advice)}</b></p>" if found.advice else ""
    return Markup(
        f'<article class="{found.status}"><h3>{shown(found.title)}<span>{word}</span></h3><p>{shown(found.says)}</p>'
        f"{advice}<p class=note>{shown(figures)}</p>{diagnosis.plot}</article>"
    )


def unknown(rule: str, title: str, threshold: float, why: str) -> Diagnosis:
    """What a rule says if the job left nothing that it could look at."""
    return Diagnosis(Finding(rule=rule, title=title, status="unknown", figure=None, threshold=threshold, says=why))


def judged(
    *, rule: str, title: str, found: bool, figure: float, threshold: float, says: str, advice: str = ""
) -> Finding:
    """What a rule says whose figure is known; advice is for those who need it."""
    return Finding(
        rule=rule,
        title=title,
        status="found" if found else "fine",
        figure=figure,
        threshold=threshold,
        says=says,
        advice=advice if found else "",
    )


def share_of(loss: float, change: float) -> float:
    """A change as a share of the loss that it began from, or of `NO_LOSS` if that is more."""
    return change / max(loss, NO_LOSS)


def fell(share: float) -> str:
    """How far a value fell, or rose, in words."""
    if share < -MANY_TIMES:
        return f"rose to {1 - share:.3g} times its value"
    return f"{'fell' if share >= 0 else 'rose'} by {abs(share):.1%}"


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def few(names: Sequence[str]) -> str:
    """The first names of many."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def short(value: float) -> str:
    """A number in three digits."""
    return f"{value:.3g}"


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{share:.0%}"
