"""Class names as a record holds them: one index, or one 0/1 for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from include.datasets.errors import DatasetError


def class_indices(labels: Sequence[str]) -> dict[str, int]:
    """Return the index of each class."""
    return {label: index for index, label in enumerate(labels)}


def label_vector(
    names: Sequence[str], indices: Mapping[str, int], *, multi_label: bool, origin: str
) -> tuple[float, ...]:
    """Encode the classes of one image: ``(index,)``, or as many 0/1 as there are classes when multi-label.

    Raises DatasetError, naming the image as ``origin``, where a single-label image has none or several.
    """
    if multi_label:
        vector = [0.0] * len(indices)
        for name in names:
            vector[indices[name]] = 1.0
        return tuple(vector)
    if len(names) != 1:
        raise DatasetError(
            f"{origin} has the labels {', '.join(names) or 'none'}, an image of a single-label version has one: "
            "build the version again, or with dataset.multi_label"
        )
    return (float(indices[names[0]]),)
