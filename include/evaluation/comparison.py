"""Two models on the same images: `comparison.json`, and the verdict on the challenger.

Every image is a pair of answers, so most of the luck in the choice of images cancels out: only those images count that
one model names rightly and the other does not. Single-label models are compared by McNemar's exact test, multi-label
models by a paired bootstrap of the chosen figure.

Sources: McNemar, Psychometrika 12 (1947), in its exact form a binomial test of the pairs that differ; Agresti and Min,
Statistics in Medicine 24 (2005), for the interval of a difference of paired shares; Benjamini and Hochberg (1995).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest, false_discovery_control

from include.datasets.layout import parse_s3_uri
from include.evaluation.held_out_answers import HeldOutAnswers
from include.evaluation.metrics import (
    ROUNDING,
    SIGNIFICANT,
    Chance,
    Compare,
    Figure,
    Interval,
    Verdict,
    percentiles,
    resamples,
    weighted_figure,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DOCUMENT = "comparison.json"
WIDE = 0.1
"""So wide is the interval of a difference that says little, which the verdict then says."""
FEW_IMAGES = 38
"""With fewer the interval is as wide even if both models give the same answers."""
SPREADS = 1.959964
"""Standard deviations on either side of a mean that hold 95 %."""

Booleans = npt.NDArray[np.bool_]


class ComparisonError(ValueError):
    """Two sets of answers that cannot be compared like for like; the message says in what they differ."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class Pairs(_Document):
    """How many images each model names rightly; multi-label: with every yes/no answer right."""

    both_right: int
    only_champion: int
    only_challenger: int
    both_wrong: int


class PairedFigures(_Document):
    """One figure of both models on the same images.

    `difference` is challenger minus champion. The p values answer three questions: do the models differ
    (`p_two_sided`), is the challenger worse (`p_worse`), is it better (`p_better`)? Below 0.05 the answer is yes.
    """

    images: int
    champion: float
    challenger: float
    difference: float
    difference_interval: Interval
    pairs: Pairs
    test: Literal["exact McNemar", "paired bootstrap"]
    p_two_sided: float
    p_worse: float
    p_better: float


class ClassChange(_Document):
    """A class of which the challenger answers fewer images rightly.

    `images` are those of the class; for multi-label datasets all, and an answer is the yes or no to the class.
    `p_worse` is that of McNemar's exact test; `significant` allows for the number of classes (false discovery rate).
    """

    label: str
    images: int
    champion: float
    challenger: float
    only_champion: int
    only_challenger: int
    p_worse: float
    significant: bool


class Comparison(_Document):
    """The document `comparison.json`: champion and challenger on the test images of one dataset version.

    `new_images` are the figures on the images that the champion's dataset version did not have, `earlier_images` those
    on all others; both are None if one of them has no image. `worse_classes` begin with the largest loss. `left_out`
    test images do not count: the champion has learned from them.
    """

    champion: str
    challenger: str
    dataset: str
    figure: Figure
    all_images: PairedFigures
    new_images: PairedFigures | None = None
    earlier_images: PairedFigures | None = None
    worse_classes: tuple[ClassChange, ...] = ()
    left_out: int = 0
    verdict: Verdict | None = None


@dataclass(frozen=True)
class PromotionRule:
    """What a challenger has to reach.

    `not_worse`: not significantly worse than the champion, and not more than `margin` below it. `better`: significantly
    better. `off`: no comparison. Always: an accuracy of at least `minimum_accuracy`; if that is None, more than
    guessing reaches.

    With `not_worse` and `better` the challenger must also not be worse on the images that the champion's dataset
    version had. New images may have wrong labels: no model answers those rightly, so they hide what was lost on the
    others.
    """

    compare: Compare = "not_worse"
    margin: float = 0.01
    minimum_accuracy: float | None = None


def compare(
    champion: HeldOutAnswers,
    challenger: HeldOutAnswers,
    *,
    new_images: Collection[int] = (),
    without: Collection[int] = (),
    figure: Figure | None = None,
) -> Comparison:
    """Compare the answers of two models for the same images.

    `new_images` are record ids: the figures are given once more on these, and on the others. Those in `without` do not
    count. `figure` is the one to compare multi-label models by, the mean average precision if it is not given;
    single-label models are compared by accuracy.
    Raises ComparisonError for answers of other images, of other classes or of another dataset version, if no image
    counts, and for a figure that single-label models do not have.
    """
    champion = same_images(champion, challenger)
    counts = ~np.isin(challenger.record_ids, np.fromiter(without, dtype=np.int64))
    if not counts.any():
        raise ComparisonError(f"{champion.model} has learned from all images of the comparison.")
    champion, challenger = champion.of_images(counts), challenger.of_images(counts)
    chosen: Figure = figure or ("mean_average_precision" if challenger.multi_label else "accuracy")
    if not challenger.multi_label and chosen != "accuracy":
        raise ComparisonError(f"Models with one label for each image are compared by accuracy, not by {chosen}.")
    everything = np.ones(len(challenger.keys), dtype=np.bool_)
    new = np.isin(challenger.record_ids, np.fromiter(new_images, dtype=np.int64))
    both = bool(new.any()) and not new.all()
    return Comparison(
        champion=champion.model,
        challenger=challenger.model,
        dataset=challenger.dataset,
        figure=chosen,
        all_images=_paired_figures(champion, challenger, chosen, everything),
        new_images=_paired_figures(champion, challenger, chosen, new) if both else None,
        earlier_images=_paired_figures(champion, challenger, chosen, ~new) if both else None,
        worse_classes=_worse_classes(champion, challenger),
        left_out=int((~counts).sum()),
    )


def same_images(champion: HeldOutAnswers, challenger: HeldOutAnswers) -> HeldOutAnswers:
    """The champion's answers in the order of the challenger's. Raises ComparisonError if they are of other images."""
    if (champion.labels, champion.multi_label) != (challenger.labels, challenger.multi_label):
        raise ComparisonError(
            f"{champion.model} knows {len(champion.labels)} classes and {challenger.model} {len(challenger.labels)}, "
            "and they are not the same: models are compared on the same classes in the same order."
        )
    if champion.dataset != challenger.dataset:
        raise ComparisonError(
            f"{champion.model} answered the test images of {champion.dataset}, {challenger.model} those of "
            f"{challenger.dataset}: let both answer the same dataset version."
        )
    if champion.sent != challenger.sent:
        raise ComparisonError(
            f"{champion.model} was sent the {champion.sent} images and {challenger.model} the {challenger.sent} ones: "
            "let both answer the same bytes."
        )
    theirs, ours = np.argsort(champion.record_ids), np.argsort(challenger.record_ids)
    if not np.array_equal(champion.record_ids[theirs], challenger.record_ids[ours]):
        common = len(np.intersect1d(champion.record_ids, challenger.record_ids))
        raise ComparisonError(
            f"{champion.model} answered {len(champion.keys)} test images of {challenger.dataset}, {challenger.model} "
            f"{len(challenger.keys)}, and {common} are the same: let both answer all of them."
        )
    order = np.empty_like(ours)
    order[ours] = theirs
    return replace(
        champion,
        record_ids=champion.record_ids[order],
        keys=tuple(champion.keys[place] for place in order),
        truth=champion.truth[order],
        probabilities=champion.probabilities[order],
    )


def _paired_figures(
    champion: HeldOutAnswers, challenger: HeldOutAnswers, figure: Figure, chosen: Booleans
) -> PairedFigures:
    before, after = champion.right[chosen], challenger.right[chosen]
    pairs = Pairs(
        both_right=int((before & after).sum()),
        only_champion=int((before & ~after).sum()),
        only_challenger=int((~before & after).sum()),
        both_wrong=int((~before & ~after).sum()),
    )
    if challenger.multi_label:
        return _bootstrapped(champion, challenger, figure, chosen, pairs)
    images = len(before)
    return PairedFigures(
        images=images,
        champion=float(before.mean()),
        challenger=float(after.mean()),
        difference=(pairs.only_challenger - pairs.only_champion) / images,
        difference_interval=_difference_interval(pairs.only_champion, pairs.only_challenger, images),
        pairs=pairs,
        test="exact McNemar",
        p_two_sided=mcnemar(pairs.only_champion, pairs.only_challenger, "two-sided"),
        p_worse=mcnemar(pairs.only_champion, pairs.only_challenger, "less"),
        p_better=mcnemar(pairs.only_champion, pairs.only_challenger, "greater"),
    )


def mcnemar(only_champion: int, only_challenger: int, alternative: Literal["two-sided", "less", "greater"]) -> float:
    """The p value of McNemar's exact test; `less`: the challenger alone is right less often than the champion alone.

    1 if the models differ on no image.
    """
    differing = only_champion + only_challenger
    return float(binomtest(only_challenger, differing, alternative=alternative).pvalue) if differing else 1.0


def _difference_interval(only_champion: int, only_challenger: int, images: int) -> Interval:
    """Agresti and Min's: half an image is added to each of the four counts."""
    lost, won, total = only_champion + 0.5, only_challenger + 0.5, images + 2
    middle = (won - lost) / total
    spread = SPREADS * math.sqrt(won + lost - (won - lost) ** 2 / total) / total
    return Interval(low=max(middle - spread, -1.0), high=min(middle + spread, 1.0))


def _bootstrapped(
    champion: HeldOutAnswers, challenger: HeldOutAnswers, figure: Figure, chosen: Booleans, pairs: Pairs
) -> PairedFigures:
    """Both models on the same resamples: the p values are the shares of them in which it is the other way round."""
    truth = challenger.truth[chosen]
    before, after = (
        weighted_figure(figure, truth, np.nan_to_num(model.probabilities[chosen].astype(np.float64), nan=0.0))
        for model in (champion, challenger)
    )
    once = np.ones(len(truth), dtype=np.int64)
    drawn = np.array([after(weights) - before(weights) for weights in resamples(len(truth))])
    drawn[np.abs(drawn) < ROUNDING] = 0.0
    p_worse, p_better = (float((count + 1) / (len(drawn) + 1)) for count in ((drawn >= 0).sum(), (drawn <= 0).sum()))
    return PairedFigures(
        images=len(truth),
        champion=before(once),
        challenger=after(once),
        difference=after(once) - before(once),
        difference_interval=percentiles(drawn),
        pairs=pairs,
        test="paired bootstrap",
        p_two_sided=min(1.0, 2 * min(p_worse, p_better)),
        p_worse=p_worse,
        p_better=p_better,
    )


def _worse_classes(champion: HeldOutAnswers, challenger: HeldOutAnswers) -> tuple[ClassChange, ...]:
    changes = []
    for place, label in enumerate(challenger.labels):
        if challenger.multi_label:
            truth = challenger.truth[:, place]
            before, after = (model.chosen[:, place] == truth for model in (champion, challenger))
        else:
            of_class = challenger.truth == place
            before, after = champion.right[of_class], challenger.right[of_class]
        if not len(before):
            continue
        lost, won = int((before & ~after).sum()), int((~before & after).sum())
        changes.append(
            ClassChange(
                label=label,
                images=len(before),
                champion=float(before.mean()),
                challenger=float(after.mean()),
                only_champion=lost,
                only_challenger=won,
                p_worse=mcnemar(lost, won, "less"),
                significant=False,
            )
        )
    rates = false_discovery_control([change.p_worse for change in changes])
    judged = [
        change.model_copy(update={"significant": bool(rate < SIGNIFICANT)})
        for change, rate in zip(changes, rates, strict=True)
    ]
    worse = [change for change in judged if change.only_champion > change.only_challenger]
    return tuple(sorted(worse, key=lambda change: change.challenger - change.champion))


def verdict(
    comparison: Comparison | None,
    *,
    accuracy: float,
    rule: PromotionRule,
    chance: Chance | None = None,
    uncompared: str = "",
    incomparable: str = "",
) -> Verdict:
    """Judge a challenger by a rule.

    `comparison` is None for a dataset's first model, which only has to reach the minimum, and for one that is not to be
    compared, for the reason `uncompared`. A model that should be compared and cannot be, for the reason `incomparable`,
    is refused: whether it is worse is not known. `accuracy` is the challenger's on the test images, `chance` what
    guessing reaches on them. "Significantly" is at the level of 5 %, in the direction that is asked for.
    """
    limit = _minimum(rule, chance)
    too_low = _below_the_minimum(accuracy, rule, chance)
    if too_low:
        accepted, reason = False, too_low
    elif rule.compare == "off":
        accepted = True
        reason = f"It was not compared with the champion, as the conf asks. Its accuracy is {accuracy:.2%}, {limit}."
    elif comparison is None and incomparable:
        accepted = False
        why = f"It could not be compared with the champion: {incomparable}"
        reason = f"{why}. Its accuracy is {accuracy:.2%}, {limit}."
    elif comparison is None:
        accepted = True
        why = "There is no champion to compare with"
        why = f"It was not compared with the champion: {uncompared}" if uncompared else why
        reason = f"{why}. Its accuracy is {accuracy:.2%}, {limit}."
    elif rule.compare == "better":
        accepted, reason = _better(comparison, rule.margin)
    else:
        accepted, reason = _not_worse(comparison, rule.margin)
    return Verdict(
        accepted=accepted,
        reason=reason,
        compare=rule.compare,
        margin=rule.margin,
        minimum_accuracy=rule.minimum_accuracy,
    )


def _below_the_minimum(accuracy: float, rule: PromotionRule, chance: Chance | None) -> str:
    """Why a model is refused whatever it is compared with; empty if it is not."""
    minimum = rule.minimum_accuracy
    if minimum is not None:
        below = accuracy < minimum
        return f"Its accuracy, {accuracy:.2%}, is below the minimum of {minimum:.2%}." if below else ""
    if chance is None or chance.is_above:
        return ""
    reached = f"Its {chance.figure.replace('_', ' ')}, {chance.reached:.2%}, is not clearly above"
    if chance.figure == "accuracy":
        return f"{reached} {chance.guessed:.2%}, the share of the most frequent class, which guessing reaches too."
    return f"{reached} {chance.guessed:.2%}, which images in a random order reach."


def _minimum(rule: PromotionRule, chance: Chance | None = None) -> str:
    if rule.minimum_accuracy is not None:
        return f"the minimum is {rule.minimum_accuracy:.2%}"
    if chance is None:
        return "without a minimum"
    named = "" if chance.figure == "accuracy" else f"its {chance.figure.replace('_', ' ')} {chance.reached:.2%}, "
    return f"{named}guessing reaches {chance.guessed:.2%}"


def _better(comparison: Comparison, margin: float) -> tuple[bool, str]:
    figures = comparison.all_images
    said, p = _figures(comparison, figures), figures.p_better
    if p >= SIGNIFICANT:
        return False, f"Not significantly better than the champion ({_p_value(p)}, asked: below 0.05): {said}."
    lost = _lost_on_earlier_images(comparison, margin)
    return (False, lost) if lost else (True, f"Significantly better than the champion ({_p_value(p)}): {said}.")


def _not_worse(comparison: Comparison, margin: float) -> tuple[bool, str]:
    why = _loss(comparison, comparison.all_images, margin) or _lost_on_earlier_images(comparison, margin)
    figures = comparison.all_images
    said = f"Not worse than the champion: {_figures(comparison, figures)}.{_little_known(figures)}"
    return (False, why) if why else (True, said)


def _lost_on_earlier_images(comparison: Comparison, margin: float) -> str:
    """Why the challenger is worse on the images that the champion's dataset version had; empty if it is not."""
    earlier = comparison.earlier_images
    return _loss(comparison, earlier, margin, " that it had before") if earlier else ""


def _loss(comparison: Comparison, figures: PairedFigures, margin: float, which: str = "") -> str:
    said = _figures(comparison, figures, which)
    if figures.p_worse < SIGNIFICANT:
        return f"Significantly worse than the champion ({_p_value(figures.p_worse)}): {said}."
    if figures.difference < -margin - ROUNDING:
        below = f"{-figures.difference * 100:.2f} points below, and {margin * 100:.2f} are allowed"
        return f"Too far below the champion: {said}. That is {below}.{_little_known(figures)}"
    return ""


def _little_known(figures: PairedFigures) -> str:
    """That the images are too few to tell the models apart; empty if they are not."""
    low, high = figures.difference_interval.low, figures.difference_interval.high
    if high - low > WIDE:
        between = f"{low * 100:+.1f} and {high * 100:+.1f} points"
        return f" So few images show little: the true difference is between {between} (95 %)."
    return " So few images show little." if figures.images < FEW_IMAGES else ""


def _p_value(p: float) -> str:
    return f"p = {p:.3f}" if p >= 0.001 else "p below 0.001"


def _figures(comparison: Comparison, figures: PairedFigures, which: str = "") -> str:
    name = comparison.figure.replace("_", " ")
    return (
        f"its {name} is {figures.challenger:.2%}, the champion's {figures.champion:.2%}, on the same "
        f"{figures.images:,} images{which}"
    )


def load_comparison(s3: S3Client, uri: str) -> Comparison:
    """Read the `comparison.json` of an evaluation."""
    bucket, key = parse_s3_uri(uri)
    return Comparison.model_validate_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
