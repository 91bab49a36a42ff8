from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.layout import SPLITS, VersionLayout, parse_s3_uri, version_name

MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def test_every_retry_of_a_run_gets_the_same_version() -> None:
    assert version_name("manual__1", MOMENT) == version_name("manual__1", MOMENT)
    assert version_name("manual__1", MOMENT).startswith("20260301T123000Z-")


def test_two_runs_of_the_same_moment_get_two_versions() -> None:
    assert version_name("manual__1", MOMENT) != version_name("manual__2", MOMENT)


def test_a_time_of_another_zone_is_named_in_utc() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=9)))
    assert version_name("manual__1", elsewhere) == version_name("manual__1", MOMENT)
    assert version_name("manual__1", MOMENT.replace(tzinfo=None)) == version_name("manual__1", MOMENT)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(1, 10**9), st.text(), st.text())
def test_later_versions_sort_after_earlier_ones(moment: datetime, seconds: int, first: str, second: str) -> None:
    assert version_name(first, moment) < version_name(second, moment + timedelta(seconds=seconds))


def test_a_channel_holds_nothing_but_its_records() -> None:
    layout = VersionLayout("data", "pets", "v1")
    others = [layout.manifest, layout.labels, layout.document, layout.plan, layout.shards, layout.excluded]
    others += [layout.index(split) for split in SPLITS]
    for split in SPLITS:
        channel = f"{layout.prefix}{split}"
        assert layout.records(split).startswith(channel)
        assert not [key for key in others if key.startswith(channel)]


def test_an_address_leads_back_to_its_layout() -> None:
    layout = VersionLayout("data", "pets", "v1")
    assert VersionLayout.of_uri(layout.uri) == layout


@pytest.mark.parametrize("uri", ["data/datasets/pets/v1/", "https://data/x", "s3://", "s3:///key"])
def test_what_is_no_s3_address_is_refused_by_its_value(uri: str) -> None:
    with pytest.raises(DatasetError, match="is not an S3 address"):
        parse_s3_uri(uri)


def test_an_address_that_is_no_version_is_refused() -> None:
    with pytest.raises(DatasetError, match="is not a dataset version: write s3://bucket/datasets/NAME/VERSION/"):
        VersionLayout.of_uri("s3://data/images/")
