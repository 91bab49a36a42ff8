"""Whatever lies in the files a person names, only the reader's own error comes out: file, place, reason."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.datasets.errors import DatasetError
from include.datasets.labels import read_labels_file
from include.datasets.sources.image_list import read_image_list
from include.datasets.sources.inventory import Inventory
from include.datasets.sources.label_table import read_label_tables
from include.datasets.sources.labelled_objects import row_objects
from tests.fuzz.bounds import within
from tests.unit.datasets.sources.inventories import Report
from tests.unit.datasets.sources.memory_s3 import MemoryListing, MemoryS3


@pytest.fixture
def bucket() -> MemoryS3:
    return MemoryS3()


HALF = "\\ud83d"
DEEP = "[" * 100_000 + "]" * 100_000


def parquet(columns: dict[str, pa.Array[Any]], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def column_of(kind: pa.DataType, *bits: int) -> pa.Array[Any]:
    """Values of 64 bits as they stand, whatever they mean in a column of this kind."""
    values = b"".join(bit.to_bytes(8, "little") for bit in bits)
    return pa.Array.from_buffers(kind, len(bits), [None, pa.py_buffer(values)])


def text_column(*values: bytes) -> pa.Array[Any]:
    return pa.array(values, pa.binary()).view(pa.string())


PATH = pa.array(["1.jpg"])
ODD_COLUMNS = {
    "no UTF-8": text_column(b"\xff\xfe"),
    "a time zone that is none": column_of(pa.timestamp("us", "Mars/Olympus"), 0),
    "a year beyond the calendar": column_of(pa.timestamp("us"), 2**62),
    "a day beyond the calendar": column_of(pa.date64(), 2**62),
    "a duration beyond what is counted": column_of(pa.duration("s"), 2**62),
    "nanoseconds": column_of(pa.timestamp("ns"), 1),
    "a decimal": pa.array([Decimal("1.5")]),
    "a structure": pa.array([{"a": 1}]),
    "bytes": pa.array([b"cat"]),
}
WRONG_COLUMNS = {**ODD_COLUMNS, "a date": pa.array([date(2026, 1, 1)])}


@pytest.mark.parametrize("name", ["path", "label", "split"])
@pytest.mark.parametrize("what", WRONG_COLUMNS)
def test_a_parquet_column_of_another_kind_is_an_error_of_the_table(bucket: MemoryS3, what: str, name: str) -> None:
    bucket.put("a.parquet", parquet({"path": PATH, "label": PATH, name: WRONG_COLUMNS[what]}))
    try:
        table = read_label_tables(bucket.client, [uri := f"s3://{bucket.name}/a.parquet"])
    except DatasetError as error:
        assert uri in str(error)
        assert len(str(error)) < 1000
    else:
        assert name == "split"
        assert len(table.rows) == 1


@pytest.mark.parametrize("what", ODD_COLUMNS)
def test_a_parquet_column_that_nobody_needs_is_not_read(bucket: MemoryS3, what: str) -> None:
    bucket.put("a.parquet", parquet({"path": PATH, "label": PATH, "taken": ODD_COLUMNS[what]}))
    table = read_label_tables(bucket.client, [f"s3://{bucket.name}/a.parquet"])
    assert [row.labels for row in table.rows] == [("1.jpg",)]


@pytest.mark.parametrize("place", range(0, 100, 4))
def test_a_damaged_parquet_table_is_an_error_of_the_table(bucket: MemoryS3, place: int) -> None:
    whole = parquet({"path": pa.array(["cat/1.jpg"] * 50), "label": pa.array(["cat"] * 50)})
    at = len(whole) * place // 100
    uri = f"s3://{bucket.name}/a.parquet"
    for damaged in (whole[:at], whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :]):
        bucket.put("a.parquet", damaged)
        try:
            read_label_tables(bucket.client, [uri])
        except DatasetError as error:
            assert uri in str(error)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (f'{{"path": "1.jpg", "label": "a"}}\n{{"path": {DEEP}, "label": "b"}}', "line 2: .*nested"),
        (f'{{"path": "{HALF}.jpg", "label": "b"}}', r"line 1: .*half of a character"),
        (f'{{"path": "1.jpg", "label": "{HALF}"}}', r"line 1: .*half of a character"),
        (f'{{"path": "1.jpg", "{HALF}": 1}}', r"line 1: .*half of a character"),
        (f'{{"path": "1.jpg", "label": "a", "split": "{HALF}"}}', r"line 1: .*half of a character"),
        (f'{{"path": "1.jpg", "label": {"9" * 5000}}}', "line 1: .*digits"),
    ],
)
def test_json_that_no_text_holds_is_named_by_its_line(bucket: MemoryS3, body: str, message: str) -> None:
    bucket.put("a.jsonl", body.encode())
    with pytest.raises(DatasetError, match=message) as error:
        read_label_tables(bucket.client, [f"s3://{bucket.name}/a.jsonl"])
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("body", "message"),
    [(DEEP, "nested"), (f'["{HALF}"]', "half of a character"), (f"[{'9' * 5000}]", "digits")],
)
def test_a_labels_file_that_no_text_holds_is_named(bucket: MemoryS3, body: str, message: str) -> None:
    bucket.put("labels.json", body.encode())
    with pytest.raises(DatasetError, match=rf"dataset\.labels_file s3://.*{message}"):
        read_labels_file(bucket.client, f"s3://{bucket.name}/labels.json")


def inventory_of(bucket: MemoryS3, columns: dict[str, pa.Array[Any]]) -> str:
    """An inventory in Parquet whose one file has these columns, whatever the manifest says of them."""
    body = parquet(columns)
    bucket.put("inventory/data/odd.parquet", body)
    return Report(bucket, "Parquet").write([], files=0, listed={"inventory/data/odd.parquet": body})


INVENTORY = {
    "key": pa.array(["images/cat/1.jpg"]),
    "size": pa.array([1]),
    "e_tag": pa.array(["e1"]),
}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *((name, column) for name in ("key", "size", "e_tag") for column in ODD_COLUMNS.values()),
        *((name, None) for name in INVENTORY),
        *((name, pa.array([None], pa.string())) for name in INVENTORY),
        ("size", pa.array([-1])),
        ("size", pa.array(["many"])),
        ("size", pa.array([1.5])),
    ],
)
def test_a_file_of_an_inventory_with_an_odd_column_is_named(
    bucket: MemoryS3, name: str, column: pa.Array[Any] | None
) -> None:
    columns = {**INVENTORY, name: column} if column is not None else {k: v for k, v in INVENTORY.items() if k != name}
    uri = inventory_of(bucket, columns)
    inventory = Inventory(bucket.client, uri, bucket.name)
    look: list[Callable[[], object]] = [
        lambda: list(inventory.objects("")),
        lambda: inventory.folder("images/"),
        lambda: inventory.find(["images/cat/1.jpg"]),
    ]
    for each in look:
        try:
            each()
        except DatasetError as error:
            assert "odd.parquet" in str(error)
        else:
            assert column is not None, f"a column {name} has to be there"
            assert column.null_count == 0


def test_a_text_of_a_megabyte_that_every_row_of_an_inventory_repeats_is_refused(bucket: MemoryS3) -> None:
    rows = 2000
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * (1 << 20)]))
    columns = {**INVENTORY, "key": repeated, "size": pa.array([1] * rows), "e_tag": pa.array(["e1"] * rows)}
    inventory = Inventory(bucket.client, inventory_of(bucket, columns), bucket.name)

    with (
        within(seconds=20, megabytes=200),
        pytest.raises(DatasetError, match="a text of 1048576 bytes, and 4096 are allowed"),
    ):
        inventory.find(["images/cat/1.jpg"])


@pytest.mark.parametrize(
    "changes",
    [
        {"destinationBucket": ""},
        {"destinationBucket": "arn:aws:s3:::not a bucket"},
        {"listed": {"": b""}},
        {"fileSchema": "Key, Key, Size, ETag"},
    ],
)
def test_a_manifest_of_an_inventory_that_leads_nowhere_is_named(bucket: MemoryS3, changes: dict[str, Any]) -> None:
    uri = Report(bucket).write([], **changes)
    with pytest.raises(DatasetError, match=r"dataset\.inventory"):
        list(Inventory(bucket.client, uri, bucket.name).objects(""))


def test_a_manifest_nested_a_thousand_deep_is_named(bucket: MemoryS3) -> None:
    bucket.put("inventory/manifest.json", f'{{"sourceBucket": {DEEP}}}'.encode())
    with pytest.raises(DatasetError, match="is not a manifest of an S3 Inventory") as error:
        Inventory(bucket.client, f"s3://{bucket.name}/inventory/manifest.json", bucket.name)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("key", ["%", "%zz", "%ff%fe", "a%00b"])
def test_a_key_of_a_csv_inventory_that_is_no_key_is_named(bucket: MemoryS3, key: str) -> None:
    body = gzip.compress(f'"{bucket.name}","{key}","1","2026-01-01","e1"\n'.encode())
    bucket.put("inventory/data/odd.csv.gz", body)
    uri = Report(bucket).write([], files=0, listed={"inventory/data/odd.csv.gz": body})
    try:
        list(Inventory(bucket.client, uri, bucket.name).objects(""))
    except DatasetError as error:
        assert "odd.csv.gz" in str(error)


@pytest.mark.parametrize("document", ["a.csv", "a.jsonl", "a.parquet", "a.lst", "labels.txt", "labels.json"])
def test_an_empty_document_is_refused_in_its_readers_words(bucket: MemoryS3, document: str) -> None:
    bucket.put(document, b"")
    uri = f"s3://{bucket.name}/{document}"
    with pytest.raises(DatasetError, match=uri):
        if document.startswith("labels"):
            read_labels_file(bucket.client, uri)
        else:
            read_label_tables(bucket.client, [uri])


@pytest.mark.parametrize("line", ["s3:///1.jpg", "s3://", "https://acme.com/1.jpg", "http://[bad/1.jpg"])
def test_a_line_that_is_no_address_is_named(bucket: MemoryS3, line: str) -> None:
    uri = bucket.put("paths.txt", f"1.jpg\n{line}\n".encode())
    with pytest.raises(DatasetError, match=rf"{uri}: .*line 2: {re.escape(repr(line))}"):
        read_image_list(bucket.client, uri, "s3://bucket/images/")
    table = read_label_tables(bucket.client, [bucket.put("a.csv", f"path,label\n1.jpg,a\n{line},a\n".encode())])
    with pytest.raises(DatasetError, match=rf"a\.csv: 1 rows .*line 3: {re.escape(repr(line))}"):
        row_objects(table, "s3://bucket/images/", MemoryListing)


def test_long_paths_that_a_small_file_stands_for_fill_no_memory(bucket: MemoryS3) -> None:
    whole = parquet({"path": pa.array(["x" * 2000] * 5000), "label": pa.array(["cat"] * 5000)})
    assert len(whole) < 10_000
    uri = bucket.put("a.parquet", whole)
    with pytest.raises(DatasetError, match=r"5000 wrong rows:\n  line 1: path = 'x+\.\.\.: has 2000 bytes") as error:
        read_label_tables(bucket.client, [uri])
    assert len(str(error.value)) < 3000
    with pytest.raises(DatasetError, match=r"line 1 has the path 'x+\.\.\.: has 2000 bytes, and a key at most 1024"):
        read_label_tables(bucket.client, [bucket.put("a.lst", b"0\t1\t" + b"x" * 2000)])


@pytest.mark.parametrize("column", ["path", "label", "labels", "split", "class"])
def test_a_text_of_a_megabyte_that_every_row_repeats_is_held_once(bucket: MemoryS3, column: str) -> None:
    rows = 2000
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * (1 << 20)]))
    columns: dict[str, pa.Array] = {
        "path": pa.array([f"{row}.jpg" for row in range(rows)]),
        "label": pa.array(["cat"] * rows),
    }
    if column == "class":
        columns = {"path": columns["path"], "cat": repeated}
    elif column == "labels":
        columns["label"] = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), repeated)
    else:
        columns[column] = repeated
    uri = bucket.put("a.parquet", parquet(columns))

    with within(seconds=20, megabytes=200), contextlib.suppress(DatasetError):
        read_label_tables(bucket.client, [uri])


def test_a_table_of_more_rows_than_a_dataset_has_is_refused_before_it_is_read(
    bucket: MemoryS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.datasets.sources.table_formats.MOST_ROWS", 10)
    uri = bucket.put("a.parquet", parquet({"path": pa.array(["a.jpg"] * 11), "label": pa.array(["cat"] * 11)}))
    with pytest.raises(DatasetError, match="has 11 rows, more than 10"):
        read_label_tables(bucket.client, [uri])
