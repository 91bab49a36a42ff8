"""The page of a dataset version: what is in it, for people, beside `dataset.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.layout import SPLITS
from include.datasets.report.report_figures import PackedImages
from include.datasets.report.report_images import contact_sheet
from include.datasets.report.report_page import ReportContents, dataset_page

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion


def write_report(s3: S3Client, version: DatasetVersion, manifest: pa.Table, parent: DatasetVersion | None) -> None:
    """Write `report.html` of a version whose records are composed; the same version gives the same bytes.

    Reads some sixty single records, sixteen MB at most.
    """
    layout = version.layout
    sizes = {
        split: s3.head_object(Bucket=layout.bucket, Key=layout.records(split))["ContentLength"]
        for split in SPLITS
        if version.count(split)
    }
    packed = PackedImages.of(manifest, version.labels, sizes)
    contents = ReportContents(
        version=version,
        parent=parent,
        manifest=manifest,
        packed=packed,
        sizes=sizes,
        sheet=contact_sheet(s3, layout, packed, version.num_classes),
    )
    s3.put_object(
        Bucket=layout.bucket,
        Key=layout.report,
        Body=dataset_page(contents).encode(),
        ContentType="text/html; charset=utf-8",
    )
