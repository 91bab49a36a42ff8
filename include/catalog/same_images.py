"""Models on the same test images: their figures, as pairs with the first of them, and where they disagree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from include.datasets.image_objects import stored_images
from include.datasets.layout import VersionLayout
from include.datasets.version import learned_test_images, load
from include.evaluation.comparison import Comparison, ComparisonError, compare, same_images
from include.evaluation.held_out_answers import DOCUMENT, KEPT, HeldOutAnswers
from include.sagemaker.naming import readable_name

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.deployment.registry import RegisteredModel
    from include.settings import Settings

MOST_SHOWN = 48
"""Images of a disagreement that a page shows."""
_KEPT = re.compile(rf"{KEPT}[^/]+/(?P<version>[^/]+)/(?P<model>[^/]+)/(?P<source>source/)?{re.escape(DOCUMENT)}")


@dataclass(frozen=True)
class Disagreement:
    """A test image that some of the models name rightly and others do not; `said` has an entry for each model.

    `image` is the path of its page, empty if it was never written as an object.
    """

    record: int
    key: str
    expected: str
    said: tuple[str, ...]
    right: tuple[bool, ...]
    image: str


@dataclass(frozen=True)
class OnSameImages:
    """What models answered for the test images of one dataset version.

    `pairs` compare each further model, as the challenger, with the first. `sent` is what all of them were sent.
    """

    version: str
    images: int
    shares: tuple[float, ...]
    pairs: tuple[Comparison, ...]
    disagreements: tuple[Disagreement, ...]
    disagreed: int


def on_same_images(s3: S3Client, settings: Settings, models: Sequence[RegisteredModel]) -> OnSameImages:
    """The answers that are kept of all these models, for the newest dataset version that all of them were asked about.

    Test images that one of them was trained with do not count. Raises ComparisonError if they have no such version, or
    other classes.
    """
    place = _newest_common(s3, settings, models)
    version = load(s3, f"s3://{settings.data_bucket}/datasets/{models[0].dataset}/{place[0]}/")
    answers = [HeldOutAnswers.load(s3, _address(settings, model, place)) for model in models]
    answers = [answers[0], *(same_images(other, answers[0]) for other in answers[1:])]
    foreign = {model.dataset_uri for model in models} - {version.uri}
    learned = set().union(*(learned_test_images(s3, version, uri) for uri in foreign))
    pairs = tuple(compare(answers[0], other, without=learned) for other in answers[1:])
    counts = ~np.isin(answers[0].record_ids, np.fromiter(learned, dtype=np.int64))
    answers = [each.of_images(counts) for each in answers]
    right = np.stack([each.right for each in answers])
    differ = np.flatnonzero(right.any(axis=0) & ~right.all(axis=0))
    surest = sorted(differ.tolist(), key=lambda image: -max(float(each.mistakenness[image]) for each in answers))
    return OnSameImages(
        version=version.version,
        images=int(counts.sum()),
        shares=tuple(float(each.right.mean()) for each in answers),
        pairs=pairs,
        disagreements=tuple(_disagreements(s3, version.layout, answers, surest[:MOST_SHOWN])),
        disagreed=len(differ),
    )


def _disagreements(
    s3: S3Client, layout: VersionLayout, answers: Sequence[HeldOutAnswers], images: Sequence[int]
) -> Iterator[Disagreement]:
    stored = stored_images(s3, layout.bucket, layout.test_images) if images else {}
    for image in images:
        record = int(answers[0].record_ids[image])
        name = stored.get(record, ("", 0))[0]
        yield Disagreement(
            record=record,
            key=answers[0].keys[image],
            expected=answers[0].expected(image),
            said=tuple(each.said(image) for each in answers),
            right=tuple(bool(each.right[image]) for each in answers),
            image=f"stored/datasets/{layout.name}/{layout.version}/images/test/{name}" if name else "",
        )


def _newest_common(s3: S3Client, settings: Settings, models: Sequence[RegisteredModel]) -> tuple[str, str]:
    """The newest dataset version for which answers of all models are kept, and `source/` if they were sent that."""
    prefix = f"{KEPT}{models[0].dataset}/"
    kept: dict[str, set[tuple[str, str]]] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=settings.output_bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            if found := _KEPT.fullmatch(entry["Key"]):
                kept.setdefault(found["model"], set()).add((found["version"], found["source"] or ""))
    common = set.intersection(*(kept.get(readable_name(model.job, model.artifact), set()) for model in models))
    if not common:
        raise ComparisonError(
            "These models have never answered the test images of one dataset version: a run compares its model only "
            "with the champion at that time."
        )
    return max(common, key=lambda place: (place[0], place[1] == ""))


def _address(settings: Settings, model: RegisteredModel, place: tuple[str, str]) -> str:
    version, source = place
    name = readable_name(model.job, model.artifact)
    return f"s3://{settings.output_bucket}/{KEPT}{model.dataset}/{version}/{name}/{source}{DOCUMENT}"
