"""The smoke test of an endpoint: does it answer a few held-out images as the model did in its evaluation?

Labels would be the wrong measure: a good model contradicts some of them. The answers that its batch transform gave to
the same bytes are what the endpoint has to give too. Only for a model whose answers were not kept are labels counted.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from scipy.stats import binom

from include.datasets.version import HeldOutImage, held_out_images
from include.evaluation.held_out_answers import DOCUMENT, HeldOutAnswers
from include.evaluation.prediction import PredictionError, fits_endpoint, probabilities, ranked

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from include.datasets.version import DatasetVersion
    from include.deployment.registry import RegisteredModel

log = logging.getLogger(__name__)

IMAGES = 16
MOST_READ = 256
"""Held-out images among which the tested ones are chosen, of as many classes as there are."""
TOLERANCE = 0.05
"""How far a probability may lie from the evaluation's: another machine computes with other rounding."""
MOST_NAMED = 3
"""After how many differences the test ends."""
BAD_LUCK = 0.001
"""How improbable so few right answers must be of a model of the registered accuracy."""


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
                found.append(f"{image.key} was not answered ({error})")
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

        The accuracy of a model of several labels an image is none of images, so nothing is counted there.
        """
        if self.answers or self.multi_label or not given:
            return
        right = sum(
            max(range(len(values)), key=values.__getitem__) == self._label(id_) for id_, values in given.items()
        )
        if binom.cdf(right, len(given), self.accuracy) < BAD_LUCK:
            yield f"{right} of {len(given)} images are right, and the model has an accuracy of {self.accuracy:.4f}"

    def _label(self, record_id: int) -> int:
        return next(image.label for image in self.images if image.id == record_id)


def smoke_test_of(s3: S3Client, model: RegisteredModel, dataset: DatasetVersion) -> SmokeTest:
    """The test of a registered model, with held-out images of the dataset version that it learned from.

    Raises DatasetError for a version without test images.
    """
    chosen = tuple(_chosen(held_out_images(s3, dataset, MOST_READ), classes=dataset.num_classes))
    if not chosen:
        log.warning("No test image of %s fits into a request to an endpoint: nothing is tested.", dataset.uri)
    known = _answers(s3, model, dataset)
    answers: dict[int, Sequence[float]] = {}
    if known is not None:
        rows = np.flatnonzero(np.isin(known.record_ids, [image.id for image in chosen]))
        answers = {int(known.record_ids[row]): known.probabilities[row].tolist() for row in rows}
    return SmokeTest(chosen, tuple(dataset.labels), dataset.multi_label, answers, model.accuracy)


def _chosen(images: Iterator[HeldOutImage], *, classes: int) -> Iterator[HeldOutImage]:
    """A few images that an endpoint takes, not too many of one class; of the others memory holds one at a time."""
    of_each = math.ceil(IMAGES / classes)
    shown: Counter[tuple[float, ...]] = Counter()
    for image in images:
        if shown.total() == IMAGES:
            return
        if fits_endpoint(image.image_bytes) and shown[image.labels] < of_each:
            shown[image.labels] += 1
            yield image


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
    about = (answers.model, answers.dataset, answers.labels, answers.sent)
    if about != (model.job, dataset.uri, tuple(dataset.labels), "packed"):
        log.warning("%s is about another model, or other images: the smoke test counts right labels.", uri)
        return None
    if answers.sent != "packed":
        log.info("%s is about source images: the smoke test sends packed ones and counts right labels.", uri)
        return None
    return answers
