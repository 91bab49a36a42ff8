from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws.aws_errors import AwsError, requested_resource_not_found, resource_in_use
from local_aws.sagemaker.core.resource_table import ResourceTable

START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass
class Row:
    name: str
    status: str
    creation_time: datetime
    last_modified_time: datetime


@pytest.fixture
def table() -> ResourceTable[Row]:
    table: ResourceTable[Row] = ResourceTable(
        taken=lambda row: resource_in_use(f"{row.name} exists"), unknown=lambda _: requested_resource_not_found()
    )
    for i, (name, status) in enumerate([("cats", "Completed"), ("dogs", "Failed"), ("birds", "Completed")]):
        table.add(Row(name, status, START + timedelta(hours=i), START + timedelta(days=2 - i)))
    return table


def names(table: ResourceTable[Row], **request: Any) -> list[str]:
    page = table.page(request, "Rows", lambda row: {"Name": row.name})
    return [row["Name"] for row in page["Rows"]]


def test_a_taken_name_is_in_use(table: ResourceTable[Row]) -> None:
    with pytest.raises(AwsError, match="ResourceInUse: cats exists"):
        table.add(Row("cats", "", START, START))


def test_an_unknown_name_is_refused(table: ResourceTable[Row]) -> None:
    for look in (table.get, table.remove):
        with pytest.raises(AwsError, match="ValidationException: Requested resource not found"):
            look("cows")
    assert table.find("cows") is None


def test_orders(table: ResourceTable[Row]) -> None:
    assert names(table) == ["cats", "dogs", "birds"]
    assert names(table, SortOrder="Descending") == ["birds", "dogs", "cats"]
    assert names(table, SortBy="Name") == ["birds", "cats", "dogs"]
    assert names(table, SortBy="LastModifiedTime") == ["birds", "dogs", "cats"]
    assert names(table, SortBy="Status", SortOrder="Descending") == ["dogs", "birds", "cats"]


def test_filters(table: ResourceTable[Row]) -> None:
    assert names(table, NameContains="D") == ["dogs", "birds"]
    assert names(table, StatusEquals="Completed") == ["cats", "birds"]
    assert names(table, CreationTimeAfter=START) == ["dogs", "birds"]
    assert names(table, CreationTimeBefore=START + timedelta(hours=2)) == ["cats", "dogs"]
    assert names(table, LastModifiedTimeAfter=START + timedelta(hours=1)) == ["cats", "dogs"]
    assert names(table, LastModifiedTimeBefore=START + timedelta(hours=1)) == ["birds"]


@pytest.mark.parametrize("order", ["Ascending", "Descending"])
@pytest.mark.parametrize("key", ["Name", "CreationTime", "Status"])
def test_pages_follow_each_other_without_gap(table: ResourceTable[Row], key: str, order: str) -> None:
    whole, seen, request = (
        names(table, SortBy=key, SortOrder=order),
        [],
        {"SortBy": key, "SortOrder": order, "MaxResults": 1},
    )
    while True:
        page = table.page(request, "Rows", lambda row: {"Name": row.name})
        seen += [row["Name"] for row in page["Rows"]]
        if "NextToken" not in page:
            break
        request = {**request, "NextToken": page["NextToken"]}
    assert seen == whole


def test_a_page_is_not_disturbed_by_what_is_removed_meanwhile(table: ResourceTable[Row]) -> None:
    first = table.page({"MaxResults": 1}, "Rows", lambda row: {"Name": row.name})
    table.remove("cats")
    assert names(table, NextToken=first["NextToken"]) == ["dogs", "birds"]


def test_a_foreign_token_is_refused(table: ResourceTable[Row]) -> None:
    with pytest.raises(AwsError, match="Invalid NextToken"):
        names(table, NextToken="bm9uc2Vuc2U=")
