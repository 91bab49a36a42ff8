"""Which files of the installation's buckets a page may show."""

from __future__ import annotations

import pytest

from include.catalog.stored_pages import NoPageError, Place, page_path
from tests.support.documents import settings

RUN = "manual-2026-11-29T16-24-10-300926-00-00-2115877200"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("reports", f"{RUN}/report.html"),
        ("reports", f"{RUN}/"),
        ("reports", f"{RUN}/pets-live/metrics.json"),
        ("datasets", "pets/20260102T030405Z-0a1b2c3d/report.html"),
        ("datasets", "pets/20260102T030405Z-0a1b2c3d/images/test/0000000007.jpg"),
    ],
)
def test_reports_and_what_people_read_of_a_dataset_version_lie_below_their_own_prefix(kind: str, path: str) -> None:
    bucket, key = Place.of(kind, path).object(settings())

    assert (bucket, key) == ({"reports": "models-of-acme", "datasets": "images-of-acme"}[kind], f"{kind}/{path}")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("jobs", "job/output/model.tar.gz"),
        ("reports", ""),
        ("reports", "report.html"),
        ("reports", "../jobs/model.tar.gz"),
        ("reports", f"{RUN}/../../jobs/a/output/model.tar.gz"),
        ("reports", f"{RUN}/..%2fjobs"),
        ("reports", f"{RUN}//report.html"),
        ("reports", f"{RUN}/report.html\n"),
        ("reports", f"{RUN}/a..b"),
        ("datasets", "pets/20260102T030405Z-0a1b2c3d/train/train.rec"),
        ("datasets", "pets/20260102T030405Z-0a1b2c3d/images/test/../../train/train.rec"),
        ("datasets", "pets/turn.json"),
        ("datasets", "pets/queries/secret.json"),
        ("", "reports/run/report.html"),
    ],
)
def test_nothing_else_is_a_page(kind: str, path: str) -> None:
    with pytest.raises(NoPageError):
        Place.of(kind, path)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (f"s3://models-of-acme/reports/{RUN}/report.html", f"reports/{RUN}/report.html"),
        (f"s3://models-of-acme/reports/{RUN}/", f"reports/{RUN}/"),
        (f"s3://models-of-acme/reports/{RUN}/summary.json", f"stored/reports/{RUN}/summary.json"),
        ("s3://images-of-acme/datasets/pets/1/report.html", "datasets/pets/1/report.html"),
        ("s3://images-of-acme/datasets/pets/1/", ""),
        (f"s3://of-somebody-else/reports/{RUN}/report.html", ""),
        ("s3://models-of-acme/jobs/job/output/model.tar.gz", ""),
        ("s3://models-of-acme/datasets/pets/1/report.html", ""),
    ],
)
def test_an_address_has_a_page_if_it_is_one_of_the_installations_own(uri: str, path: str) -> None:
    assert page_path(settings(), uri) == path
