"""The smoke test of an endpoint: does it answer a few held-out images as the model did in its evaluation?

Labels would be the wrong measure: a good model contradicts some of them. The answers that its batch transform gave to
the same bytes, packed images or their sources, are what the endpoint has to give too. Only for a model whose answers
were not kept are labels counted.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from scipy.stats import binom

from include.datasets.image_objects import stored_images
from include.datasets.version import HeldOutImage, held_out_images
from include.evaluation.held_out_answers import DOCUMENT, HeldOutAnswers
from include.evaluation.prediction import (
    LARGEST_BODY,
    SHOWN_FROM,
    PredictionError,
    fits_endpoint,
    probabilities,
    ranked,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from include.datasets.version import DatasetVersion
    from include.deployment.registry import RegisteredModel

log = logging.getLogger(__name__)

IMAGES = 16
MOST_READ = 256
"""Held-out images among which the tested ones are chosen, of as many classes as there are; more if none of these can be
sent."""
TOLERANCE = 0.05
"""How far a probability may lie from the evaluation's: another machine computes with other rounding."""
MOST_NAMED = 3
"""After how many differences the test ends."""
BAD_LUCK = 0.001
"""How improbable so few right answers must be of a model of the registered accuracy."""
ROUNDING = 1e-9
"""So little above a whole number is the error of a sum."""
SentBytes = Callable[[HeldOutImage], bytes | None]
"""The bytes of an image that a request holds; None if it cannot be sent."""


@dataclass(frozen=True)
class SmokeTest:
    """Held-out images and what the model answered: `answers` by record id, in class order.

    Without answers, the images are labelled and the model has the registered `accuracy`.
    """

    images: tuple[HeldOutImage, ...]
    labels: tuple[str, ...]
    multi_label: bool
    answers: Mapping[int, Sequence[float]]
    accuracy: float

    def differences(self, runtime: SageMakerRuntimeClient, endpoint: str) -> list[str]:
        """What the endpoint answers otherwise than it should, in words; empty if it passes."""
        found = []
        given: dict[int, list[float]] = {}
        for image in self.images:
            try:
                values = probabilities(runtime, endpoint=endpoint, image=image.image_bytes, classes=len(self.labels))
            except (PredictionError, ClientError, BotoCoreError) as error:
                found.append(f"{image.key} got no answer ({error})")
            else:
                given[image.id] = values
                found += self._unlike(image, values)
            if len(found) >= MOST_NAMED:
                break
        return found or list(self._too_few_right(given))

    def _unlike(self, image: HeldOutImage, values: Sequence[float]) -> Iterator[str]:
        """The answer to one image beside the evaluation's, if they differ."""
        expected = self.answers.get(image.id)
        if expected is None or max(abs(one - other) for one, other in zip(values, expected, strict=True)) <= TOLERANCE:
            return
        yield f"{image.key} is {self._said(values)}, and was {self._said(expected)} in the evaluation"

    def _said(self, values: Sequence[float]) -> str:
        ((label, probability),) = ranked(values, self.labels, 1)
        return f"{label} {probability:.1%}"

    def _too_few_right(self, given: Mapping[int, Sequence[float]]) -> Iterator[str]:
        """Whether a model of this accuracy answers so few images rightly; only if its own answers are not known.

        With several labels per image the accuracy is the share of right answers, yes or no, one for each class. Those
        to one image depend on each other, so an image counts as its share of them. Of all shares between 0 and 1 with
        this mean whole ones vary most, which makes the binomial bound a careful one.
        """
        if self.answers or not given:
            return
        shares = [self._share_right(image, given[image.id]) for image in self.images if image.id in given]
        right = sum(shares)
        if binom.cdf(math.ceil(right - ROUNDING), len(shares), self.accuracy) >= BAD_LUCK:
            return
        said = (
            f"{right / len(shares):.1%} of the answers to {len(shares)} images, one for each class,"
            if self.multi_label
            else f"{right:.0f} of {len(shares)} images"
        )
        yield f"{said} are right, but the model has an accuracy of {self.accuracy:.4f}"

    def _share_right(self, image: HeldOutImage, values: Sequence[float]) -> float:
        """How much of an answer is right, from 0 to 1."""
        if not self.multi_label:
            return float(max(range(len(values)), key=values.__getitem__) == image.label)
        pairs = zip(values, image.labels, strict=True)
        return sum((value >= SHOWN_FROM) == bool(label) for value, label in pairs) / len(values)


def smoke_test_of(s3: S3Client, model: RegisteredModel, dataset: DatasetVersion) -> SmokeTest:
    """The test of a registered model, with held-out images of the dataset version that it learned from.

    A model that was asked about source images is tested with the copies that its evaluation made of them. Raises
    DatasetError for a version without test images, and PredictionError if no test image can be sent.
    """
    known = _answers(s3, model, dataset)
    if known is not None and known.sent == "source":
        chosen = _chosen(s3, dataset, _copied_source(s3, dataset, known))
        if not chosen:
            log.warning("No copy of a source image of %s can be sent: the smoke test counts right labels.", dataset.uri)
            known = None
    else:
        chosen = ()
    chosen = chosen or _chosen(s3, dataset, _packed)
    if not chosen:
        raise PredictionError(
            f"None of the {dataset.count('test')} test images of {dataset.uri} fits into a request to an endpoint, "
            f"which may have {LARGEST_BODY} bytes, so an endpoint cannot be tested and is not changed: set "
            "dataset.packing.resize, or dataset.packing.encoding to jpg, and train on a new version."
        )
    answers: dict[int, Sequence[float]] = {}
    if known is not None:
        rows = np.flatnonzero(np.isin(known.record_ids, [image.id for image in chosen]))
        answers = {int(known.record_ids[row]): known.probabilities[row].tolist() for row in rows}
    return SmokeTest(chosen, tuple(dataset.labels), dataset.multi_label, answers, model.accuracy)


def _chosen(s3: S3Client, dataset: DatasetVersion, sent: SentBytes) -> tuple[HeldOutImage, ...]:
    """A few images as they are sent, not too many of one class; of the others memory holds one at a time."""
    of_each = math.ceil(IMAGES / dataset.num_classes)
    shown: Counter[tuple[float, ...]] = Counter()
    chosen: list[HeldOutImage] = []
    with closing(held_out_images(s3, dataset)) as images:
        for place, image in enumerate(images):
            if len(chosen) == IMAGES or (chosen and place >= MOST_READ):
                break
            if shown[image.labels] < of_each and (body := sent(image)) is not None:
                shown[image.labels] += 1
                chosen.append(replace(image, image_bytes=body))
    return tuple(chosen)


def _packed(image: HeldOutImage) -> bytes | None:
    return image.image_bytes if fits_endpoint(image.image_bytes) else None


def _copied_source(s3: S3Client, dataset: DatasetVersion, known: HeldOutAnswers) -> SentBytes:
    """Reads the copy of an image's source about which the model was asked: the source itself may have changed since."""
    layout, answered = dataset.layout, set(known.record_ids.tolist())
    copies = stored_images(s3, layout.bucket, layout.source_test_images)

    def read(image: HeldOutImage) -> bytes | None:
        name, size = copies.get(image.id, ("", 0))
        if not name or size > LARGEST_BODY or image.id not in answered:
            return None
        return s3.get_object(Bucket=layout.bucket, Key=f"{layout.source_test_images}{name}")["Body"].read()

    return read


def _answers(s3: S3Client, model: RegisteredModel, dataset: DatasetVersion) -> HeldOutAnswers | None:
    """What this model answered in its evaluation; None if that was not kept, or was about something else."""
    if model.report is None:
        return None
    uri = f"{model.report.rpartition('/')[0]}/{DOCUMENT}"
    try:
        answers = HeldOutAnswers.load(s3, uri)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        log.warning("%s keeps no answers (%s): the smoke test counts right labels.", model.arn, uri)
        return None
    if (answers.model, answers.dataset, answers.labels) != (model.job, dataset.uri, tuple(dataset.labels)):
        log.warning("%s is about another model, or other images: the smoke test counts right labels.", uri)
        return None
    return answers
