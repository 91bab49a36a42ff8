"""What is wrong with a channel's records, seen against the hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .records import RecordFile


def record_problems(records: RecordFile, values: Mapping[str, Any]) -> list[str]:
    """Every problem of one channel; hyperparameters that could not be read are missing in `values`.

    The shape of `values` is that of `hyperparameters.Reading.values`.
    """
    if records.format_problem:
        return [f"{records.path.name} in channel '{records.channel}' {records.format_problem}"]
    if len(records) == 0:
        headers = records.leading_headers
        held = f"no image, and {headers} records of a header" if headers else "no records"
        return [f"Empty .rec file in {records.channel} channel: {records.path.name} holds {held}"]
    if records.headers_behind:
        return [header_problem(records)]
    found = [
        sample_count_problem(records, values.get("num_training_samples")),
        batch_problem(records, values.get("mini_batch_size")),
        image_problem(records),
        size_problem(records, values),
        label_problem(records, values.get("num_classes"), values.get("multi_label")),
    ]
    return [problem for problem in found if problem]


def sample_count_problem(records: RecordFile, expected: int | None) -> str | None:
    """Refuse a num_training_samples that is not the number of training records."""
    if records.channel != "train" or expected is None or expected == len(records):
        return None
    return (
        f"hyperparameter num_training_samples={expected} differs from the {len(records)} records "
        f"of {records.path.name} in channel 'train': set it to {len(records)}"
    )


def batch_problem(records: RecordFile, batch: int | None) -> str | None:
    """Refuse a batch that a channel cannot fill."""
    if batch is None or batch <= len(records):
        return None
    return (
        f"number of input images must be bigger or equal to the mini_batch_size: channel '{records.channel}' "
        f"has {len(records)} images, mini_batch_size={batch}"
    )


def header_problem(records: RecordFile) -> str:
    """Refuse records of a header and no image where MXNet's reader would come upon them."""
    return (
        f"{len(records.headers_behind)} records of {records.path.name} in channel '{records.channel}' have a header "
        f"and no image behind the first image, the first is record {records.number(records.headers_behind[0])}: "
        "MXNet's reader ends there; pack the file without them"
    )


def image_problem(records: RecordFile) -> str | None:
    """Refuse records without a readable image."""
    if len(records.unreadable) == 0:
        return None
    return (
        f"{len(records.unreadable)} records of {records.path.name} in channel '{records.channel}' hold no readable "
        f"image, the first is record {records.number(records.unreadable[0])}: {records.unreadable_because}"
    )


def size_problem(records: RecordFile, values: Mapping[str, Any]) -> str | None:
    """Refuse images that are smaller than the network's input."""
    if "image_shape" not in values:
        return None
    _, height, width = values["image_shape"]
    small = np.flatnonzero(
        ((records.sizes[:, 0] < width) | (records.sizes[:, 1] < height)) & (records.sizes.min(axis=1) > 0)
    )
    if len(small) == 0:
        return None
    first_width, first_height = records.sizes[small[0]]
    return (
        f"input image size smaller than input shape: {len(small)} of {len(records)} images in channel "
        f"'{records.channel}' are smaller than image_shape {width} x {height} (width x height), record "
        f"{records.number(small[0])} is {first_width} x {first_height}: pack larger images or lower image_shape"
    )


def label_problem(records: RecordFile, classes: int | None, multi_label: bool | None) -> str | None:
    """Refuse labels that the network has no output for."""
    where = f"{records.path.name} in channel '{records.channel}'"
    if len(records.label_widths) > 1:
        widths = ", ".join(f"{width} ({count} records)" for width, count in sorted(records.label_widths.items()))
        return f"the label width differs between the records of {where}: {widths}"
    if classes is None or multi_label is None:
        return None
    width = records.labels.shape[1]
    if multi_label:
        return multi_label_problem(records, where, width, classes)
    if width != 1:
        return f"the records of {where} have label width {width}: set multi_label=1, or pack one label per image"
    return class_index_problem(records, where, classes)


def multi_label_problem(records: RecordFile, where: str, width: int, classes: int) -> str | None:
    """Refuse anything but one 0 or 1 for each class."""
    if width != classes:
        return (
            f"the records of {where} have label width {width}, "
            f"multi_label=1 needs one column for each of num_classes={classes}"
        )
    odd = np.flatnonzero(~np.isin(records.labels, (0.0, 1.0)).all(axis=1))
    if len(odd) == 0:
        return None
    return f"{len(odd)} records of {where} have labels other than 0 and 1, the first is record {records.number(odd[0])}"


def class_index_problem(records: RecordFile, where: str, classes: int) -> str | None:
    """Refuse class indices outside 0..num_classes-1."""
    labels = records.labels[:, 0]
    odd = np.flatnonzero(~((labels >= 0) & (labels < classes) & (labels == np.floor(labels))))
    if len(odd) == 0:
        return None
    return (
        f"{len(odd)} records of {where} have a label outside 0..{classes - 1} (num_classes={classes}), "
        f"the first is record {records.number(odd[0])} with label {labels[odd[0]]:g}"
    )


def classes_without_records(records: RecordFile, classes: int) -> list[int]:
    """Class indices that no record carries: often a shifted index after an empty class folder."""
    if records.labels.shape[1] > 1:
        present = records.labels.sum(axis=0) > 0
    else:
        present = np.bincount(records.labels[:, 0].astype(np.int64), minlength=classes) > 0
    return [int(index) for index in np.flatnonzero(~present)]
