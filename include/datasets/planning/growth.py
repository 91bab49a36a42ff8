"""What has arrived under a source since a version was published."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.datasets.planning.parent_images import ParentImages
from include.datasets.planning.selection import select_images
from include.datasets.sources.source import open_source
from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewImages:
    """Images that the next version would pack."""

    count: int
    bytes: int
    new_labels: tuple[str, ...]
    """Classes that have arrived since and need a full retrain; none where the run conf names labels.

    Labels that the version was not asked for have not arrived.
    """


def find_new_images(s3: S3Client, conf: DatasetConf, version: DatasetVersion) -> NewImages:
    """Compare the source with a version's manifest by key, ETag and labels; no image is read.

    Counted are images that arrived, replaced others or got other labels. Not counted is what no version could gain
    from: images of none of the version's classes, objects without bytes, content that was packed under another key, and
    images that were removed.
    """
    conf = conf.model_copy(update={"negatives": version.negatives})
    source = open_source(s3, conf, version.layout.bucket)
    chosen = select_images(source.images(version.labels), (), ParentImages.of(s3, version)).chosen
    new_labels = (
        () if conf.labels else tuple(sorted(set(source.classes) - set(version.labels) - set(version.not_asked)))
    )
    logger.info("%s: %s images are new since version %s", conf.name, len(chosen), version.version)
    if new_labels:
        logger.warning("Classes without a label in version %s: %s", version.version, ", ".join(new_labels))
    return NewImages(len(chosen), chosen.bytes, new_labels)
