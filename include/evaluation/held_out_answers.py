"""What a model answered for every held-out image, beside the truth: `predictions.parquet`.

Its columns are `record_id`, `key` (of the source object), `labels` and `predicted` (class names), `probabilities` (in
class order) and `correct`. Its metadata names the model's job, the dataset version and the classes, so that the file is
enough to compare two models.

The report of a run has the file, and it is kept under the model and the dataset version, so that no later run pays for
the same answers.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from include.datasets.layout import parse_s3_uri
from include.evaluation.prediction import SHOWN_FROM
from include.sagemaker.naming import readable_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion
    from include.settings import Settings

Sent = Literal["packed", "source"]
"""What a model is sent: the test images as they are packed, or the bytes of their source objects."""
DOCUMENT = "predictions.parquet"
KEPT = "answers/"
"""Prefix of the output bucket under which answers are kept by dataset, version and model."""
MOST_NAMES = 5
"""Classes of one image that are spelled out."""
_COLUMNS: list[pa.Field[Any]] = [
    pa.field("record_id", pa.int64()),
    pa.field("key", pa.string()),
    pa.field("labels", pa.list_(pa.string())),
    pa.field("predicted", pa.list_(pa.string())),
    pa.field("probabilities", pa.list_(pa.float32())),
    pa.field("correct", pa.bool_()),
]


@dataclass(frozen=True)
class HeldOutAnswers:
    """The answers of one model, in the order of the images.

    `model` is the model's training job, `dataset` the address of the dataset version. `truth` holds a class index for
    each image; for multi-label datasets it has the shape (images, classes) and holds 0 or 1. `probabilities` has the
    shape (images, classes). `sent` is what the model was asked about: the packed images, or their sources.
    """

    model: str
    dataset: str
    labels: tuple[str, ...]
    multi_label: bool
    record_ids: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    sent: Sent = "packed"

    @classmethod
    def of(
        cls,
        images: Sequence[tuple[int, str, Sequence[float]]],
        probabilities: Sequence[Sequence[float]],
        *,
        model: str,
        dataset: str,
        labels: Sequence[str],
        multi_label: bool,
        sent: Sent = "packed",
    ) -> HeldOutAnswers:
        """Put probabilities beside images: the record's id, the key and the labels of each, as the record has them."""
        truth = np.asarray([labels_of_image for _, _, labels_of_image in images], dtype=np.int64)
        return cls(
            model=model,
            dataset=dataset,
            labels=tuple(labels),
            multi_label=multi_label,
            record_ids=np.array([record_id for record_id, _, _ in images], dtype=np.int64),
            keys=tuple(key for _, key, _ in images),
            truth=truth if multi_label else truth[:, 0],
            probabilities=np.asarray(probabilities, dtype=np.float32).reshape(len(images), len(labels)),
            sent=sent,
        )

    @cached_property
    def chosen(self) -> npt.NDArray[np.int64]:
        """What the model says: the most probable class of each image, or 0 or 1 for each class of it."""
        known = np.nan_to_num(self.probabilities, nan=0.0)
        return (known >= SHOWN_FROM).astype(np.int64) if self.multi_label else known.argmax(axis=1)

    @cached_property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether each image's class was named, or every one of its yes/no answers was right."""
        same = self.chosen == self.truth
        return np.asarray(same.all(axis=1) if self.multi_label else same)

    @cached_property
    def mistakenness(self) -> npt.NDArray[np.float64]:
        """How sure the model was of its worst answer for each image, -1 if all of it was right.

        That is the probability of a wrong class; for multi-label datasets the largest distance between an answer of
        the wrong side and the truth.
        """
        known = np.nan_to_num(self.probabilities, nan=0.0).astype(np.float64)
        if not self.multi_label:
            return np.where(self.right, -1.0, known.max(axis=1))
        return np.asarray(np.where(self.chosen == self.truth, -1.0, np.abs(known - self.truth)).max(axis=1))

    def expected(self, image: int) -> str:
        """The classes of an image by name, or `none`."""
        return self._named(np.flatnonzero(self.truth[image]) if self.multi_label else self.truth[image : image + 1])

    def said(self, image: int) -> str:
        """What the model answers for an image, with the probability: its most probable class, or all that it shows."""
        if not self.multi_label:
            place = int(self.chosen[image])
            return f"{self.labels[place]} {self.probabilities[image, place]:.1%}"
        shown = np.flatnonzero(self.chosen[image])
        return self._named(shown[np.argsort(-self.probabilities[image, shown], kind="stable")], image)

    def _named(self, places: npt.NDArray[np.int64], image: int | None = None) -> str:
        names = [
            self.labels[place] if image is None else f"{self.labels[place]} {self.probabilities[image, place]:.1%}"
            for place in places[:MOST_NAMES]
        ]
        more = [f"{len(places) - MOST_NAMES} more"] if len(places) > MOST_NAMES else []
        return ", ".join([*names, *more]) or "none"

    def to_parquet(self) -> bytes:
        """The file's content; the same answers give the same bytes."""
        facts = {
            "model": self.model,
            "dataset": self.dataset,
            "labels": list(self.labels),
            "multi_label": self.multi_label,
            "sent": self.sent,
        }
        columns: list[Any] = [
            pa.array(self.record_ids),
            pa.array(self.keys, pa.string()),
            self._names(self.truth),
            self._names(self.chosen),
            pa.ListArray.from_arrays(
                pa.array(np.arange(len(self.keys) + 1, dtype=np.int32) * len(self.labels), pa.int32()),
                pa.array(self.probabilities.ravel()),
            ),
            pa.array(self.right),
        ]
        schema = pa.schema(_COLUMNS, metadata={"evaluation": json.dumps(facts, ensure_ascii=False)})
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
        return sink.getvalue()

    def _names(self, classes: npt.NDArray[np.int64]) -> pa.Array[Any]:
        """Class names of every image, from class indices or from a 0 or 1 for each class."""
        if self.multi_label:
            numbers, codes = classes.sum(axis=1), np.nonzero(classes)[1]
        else:
            numbers, codes = np.ones(len(classes), dtype=np.int64), classes
        ends = np.concatenate(([0], np.cumsum(numbers)))
        names = pa.array(self.labels, pa.string()).take(pa.array(codes, pa.int64()))
        return cast("pa.Array[Any]", pa.ListArray.from_arrays(pa.array(ends, pa.int32()), names))

    @classmethod
    def from_parquet(cls, content: bytes) -> HeldOutAnswers:
        """Read what `to_parquet` wrote."""
        table = pq.ParquetFile(io.BytesIO(content)).read()
        facts = json.loads((table.schema.metadata or {})[b"evaluation"])
        names = table["labels"].combine_chunks()
        codes = pc.index_in(pc.list_flatten(names), value_set=pa.array(facts["labels"], pa.string())).to_numpy()
        shape = (table.num_rows, len(facts["labels"]))
        truth = codes.astype(np.int64)
        if facts["multi_label"]:
            truth = np.zeros(shape, dtype=np.int64)
            truth[pc.list_parent_indices(names).to_numpy(), codes] = 1
        flat = pc.list_flatten(table["probabilities"].combine_chunks()).to_numpy()
        return cls(
            model=facts["model"],
            dataset=facts["dataset"],
            labels=tuple(facts["labels"]),
            multi_label=facts["multi_label"],
            record_ids=table["record_id"].to_numpy(),
            keys=tuple(map(str, table["key"].to_pylist())),
            truth=truth,
            probabilities=flat.reshape(shape),
            sent=facts.get("sent", "packed"),
        )

    @classmethod
    def load(cls, s3: S3Client, uri: str) -> HeldOutAnswers:
        """Read the `predictions.parquet` of an evaluation."""
        bucket, key = parse_s3_uri(uri)
        return cls.from_parquet(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def of_another(self, model: str, probabilities: Mapping[int, Sequence[float]]) -> HeldOutAnswers:
        """The answers of another model for the same images, by their record ids; KeyError for one without an answer."""
        rows = [probabilities[int(record_id)] for record_id in self.record_ids]
        return replace(self, model=model, probabilities=np.asarray(rows, dtype=np.float32))

    def of_images(self, chosen: npt.NDArray[np.bool_]) -> HeldOutAnswers:
        """The answers for some of the images."""
        return replace(
            self,
            record_ids=self.record_ids[chosen],
            keys=tuple(key for key, is_chosen in zip(self.keys, chosen, strict=True) if is_chosen),
            truth=self.truth[chosen],
            probabilities=self.probabilities[chosen],
        )

    def by_record(self) -> dict[int, list[float]]:
        """The probabilities of each image by its record id."""
        return dict(zip(self.record_ids.tolist(), self.probabilities.tolist(), strict=True))


def kept_at(settings: Settings, dataset: DatasetVersion, *, job: str, artifact: str, sent: Sent = "packed") -> str:
    """The address under which the answers of a model for the test images of a dataset version are kept."""
    model = readable_name(job, artifact) + ("/source" if sent == "source" else "")
    return f"s3://{settings.output_bucket}/{KEPT}{dataset.name}/{dataset.version}/{model}/{DOCUMENT}"


def is_kept(s3: S3Client, uri: str) -> bool:
    """Whether there are answers at an address of `kept_at`."""
    bucket, key = parse_s3_uri(uri)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        return False
    return True


def keep(s3: S3Client, uri: str, answers: HeldOutAnswers) -> None:
    """Keep answers at an address of `kept_at`, if there are none yet: the same model gives the same answers."""
    bucket, key = parse_s3_uri(uri)
    kind = "application/vnd.apache.parquet"
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=answers.to_parquet(), ContentType=kind, IfNoneMatch="*")
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (409, 412):
            raise
