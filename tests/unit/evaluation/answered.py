"""Answers of models, written down in few characters."""

from __future__ import annotations

from collections.abc import Sequence

from include.evaluation.held_out_answers import HeldOutAnswers

LABELS = ["cat", "dog", "owl"]
VERSION = "s3://images-of-acme/datasets/pets/1/"


def single(said: str, truth: str, *, model: str = "job", ids: Sequence[int] | None = None) -> HeldOutAnswers:
    """Each letter is the class that is named, or that is shown: `c`at, `d`og, `o`wl."""
    letters = [label[0] for label in LABELS]
    rows = [[0.8 if letter == name else 0.1 for name in letters] for letter in said]
    places = ids or range(len(truth))
    images = [(place, f"{place}.jpg", (letters.index(name),)) for place, name in zip(places, truth, strict=True)]
    return HeldOutAnswers.of(images, rows, model=model, dataset=VERSION, labels=LABELS, multi_label=False)


def multi(
    said: Sequence[Sequence[float]],
    truth: Sequence[Sequence[int]],
    *,
    model: str = "job",
    labels: Sequence[str] = LABELS,
) -> HeldOutAnswers:
    """A probability for each class of each image, and 0 or 1 for what it shows."""
    images = [(place, f"{place}.jpg", tuple(shown)) for place, shown in enumerate(truth)]
    return HeldOutAnswers.of(images, said, model=model, dataset=VERSION, labels=labels, multi_label=True)
