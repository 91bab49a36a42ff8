"""The images of a channel as class folders in S3, for code that reads files: made once for each dataset version."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.packed_test_images import KINDS, OTHER_KIND
from include.recordio.format import decode_image_record, read_records
from include.recordio.header import format_of
from include.sagemaker.answers import existing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion

log = logging.getLogger(__name__)

FOLDERS = "folders"


def folders_of(channel: str) -> str:
    """Where the class folders of a channel of records lie: beside it, `.../folders/train/` for `.../train/`."""
    above, _, name = channel.rstrip("/").rpartition("/")
    return f"{above}/{FOLDERS}/{name}/"


def write_class_folders(s3: S3Client, version: DatasetVersion, channel: str) -> str:
    """Write every image of a channel of records to `LABEL/RECORD.jpg` below `folders_of` it; returns that address.

    The images pass through memory, 64 MB of them at most. A document that is written last shows that all are there: a
    second call writes nothing, and one after a kill only what is missing. Raises DatasetError for a version with
    several labels for an image, and for a label that cannot name a folder.
    """
    # obstore takes a while to load, and most jobs find all images there.
    from include.datasets.objects import ObjectWriter, StoredObjects  # noqa: PLC0415

    if why := unfit_for_folders(version):
        raise DatasetError(f"training.algorithm.channels = folders: {why}")
    target = folders_of(channel)
    bucket, prefix = parse_s3_uri(target)
    done = f"{prefix.rstrip('/')}.json"
    if existing(s3.head_object, Bucket=bucket, Key=done) is not None:
        return target
    _, records = parse_s3_uri(channel)
    name = records.rstrip("/").rpartition("/")[2]
    answer = s3.get_object(Bucket=bucket, Key=f"{records}{name}.rec")
    with answer["Body"] as body, ObjectWriter(s3, StoredObjects(s3, bucket, prefix)) as writer:
        for record in read_records(body):
            image = decode_image_record(record.payload)
            ending, content_type = KINDS.get(format_of(image.image) or "", OTHER_KIND)
            label = version.labels[int(image.labels[0])]
            writer.put(f"{prefix}{label}/{image.id:010d}{ending}", image.image, content_type=content_type)
    s3.put_object(Bucket=bucket, Key=done, Body=json.dumps({"images": writer.count}).encode())
    log.info("Wrote the %d images of %s as class folders: %s", writer.count, channel, target)
    return target


def unfit_for_folders(version: DatasetVersion) -> str:
    """Why the classes of a version cannot be folders, and what to do; empty if they can."""
    name = f"{version.name}/{version.version}"
    if version.multi_label:
        return f"an image of {name} has several labels and cannot be in one folder: choose recordio or manifest"
    unfit = [label for label in version.labels if "/" in label or label in (".", "..")]
    if unfit:
        return f"the label {unfit[0]!r} of {name} cannot name a folder: choose recordio or manifest, or rename it"
    return ""
