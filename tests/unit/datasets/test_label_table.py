from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.datasets.label_table import LabelTable, LabelTableError, read_label_table
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def parquet(columns: dict[str, list[Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.fixture
def read(s3: S3Client, bucket: Bucket) -> Any:
    def read(name: str, body: str | bytes) -> LabelTable:
        bucket.put(name, body.encode() if isinstance(body, str) else body)
        return read_label_table(s3, f"s3://{bucket.name}/{name}")

    return read


def labels(table: LabelTable) -> dict[str, tuple[str, ...]]:
    return {row.path: row.labels for row in table.rows}


BEACH = {"1.jpg": ("sun", "sea"), "2.jpg": ("sea",), "3.jpg": ()}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("labels.csv", "path,sun,sea\n1.jpg,1,1\n2.jpg,0,1\n3.jpg,0,0\n"),
        ("excel.csv", "\ufeffpath, sun ,sea\r\n1.jpg,1.0,1\r\n\r\n2.jpg,0,1\r\n3.jpg,0,0"),
        (
            "labels.parquet",
            parquet({"path": ["1.jpg", "2.jpg", "3.jpg"], "sun": [1, 0, 0], "sea": [True, True, False]}),
        ),
        (
            "labels.jsonl",
            '{"path": "1.jpg", "sun": 1, "sea": 1}\n{"path": "2.jpg", "sun": 0.0, "sea": true}\n'
            '{"path": "3.jpg", "sun": 0, "sea": 0}\n',
        ),
    ],
)
def test_columns_of_0_and_1_are_classes_in_their_order(read: Any, name: str, body: str | bytes) -> None:
    table = read(name, body)
    assert (table.classes, labels(table)) == (("sun", "sea"), BEACH)


def test_a_label_column_names_classes_and_other_columns_do_not_matter(read: Any) -> None:
    table = read("labels.csv", 'photographer,path,label\nAnn,1.jpg,tabby cat\n"Bo, Cy",2.jpg,\nAnn,3.jpg, ape\n')
    assert table.classes == ("ape", "tabby cat")
    assert labels(table) == {"1.jpg": ("tabby cat",), "2.jpg": (), "3.jpg": ("ape",)}


def test_a_label_may_be_a_list_where_the_format_has_lists(read: Any) -> None:
    jsonl = '{"path": "1.jpg", "label": ["sun", "sea", "sun"]}\n{"path": "2.jpg", "label": ["sea"]}\n{"path": "3.jpg"}'
    as_parquet = parquet({"path": ["1.jpg", "2.jpg", "3.jpg"], "label": [["sun", "sea"], ["sea"], []]})
    for table in (read("labels.jsonl", jsonl), read("labels.parquet", as_parquet)):
        assert (table.classes, labels(table)) == (("sea", "sun"), BEACH)


def test_a_split_column_is_no_class(read: Any) -> None:
    table = read("labels.csv", "path,split,sun,sea\n1.jpg,train,1,0\n2.jpg,,0,1\n")
    assert table.classes == ("sun", "sea")
    assert [row.split for row in table.rows] == ["train", None]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("a.csv", "", r"has no column 'path' \(it has none\)"),
        ("a.csv", "image,label\n", r"has no column 'path' \(it has 'image', 'label'\): name in it each image's key"),
        ("a.csv", "path,split\n1.jpg,train\n", "has no labels: add a column 'label', or a 0/1 column for each class"),
        ("a.csv", "path,label\n", "has no rows: write one for each image"),
        ("a.csv", "path,sun,sun\n", r"has several columns 'sun': keep one of each"),
        ("a.csv", "path,sun,\n", "has a column without a name"),
        ("a.csv", "path,sun\n1.jpg,1\n2.jpg\n", r"1 wrong rows:\n  line 3 has 1 cells, the header 2"),
        ("a.csv", "path,sun,sea\n1.jpg,1,yes\n", "line 2: sea = 'yes': write 0 or 1, or name the class in a column"),
        ("a.csv", "path,sun,sea\n,1,0\n", "line 2: path = '': write the image's key or address"),
        ("a.csv", b"path,label\n1.jpg,caf\xe9\n", r"is not UTF-8 \(byte 20\): save it as UTF-8"),
        ("a.csv", 'path,label\n1.jpg,"cat\n', "line 2: unexpected end of data"),
        ("a.parquet", b"path,label\n", "is no Parquet document"),
        ("a.jsonl", '{"path": "1.jpg", "label": "cat"}\n["2.jpg"]\n', r"line 2: \[\"2.jpg\"\] is no JSON object"),
        ("a.jsonl", '{"path": "1.jpg"', "line 1: Expecting ',' delimiter"),
        ("a.jsonl", '{"path": "1.jpg", "label": {"a": 1}}', "line 1: label = {'a': 1}: write a class name"),
        ("a.jsonl", '{"path": "1.jpg", "sun": 1}\n{"path": "2.jpg"}\n', "line 2: sun = None: write 0 or 1"),
        ("a.txt", "path,label\n", r"must end in \.csv, \.parquet, \.jsonl, which says its format"),
    ],
)
def test_a_wrong_table_says_where_and_what_to_do(read: Any, name: str, body: str | bytes, message: str) -> None:
    with pytest.raises(LabelTableError, match=message):
        read(name, body)


def test_only_the_first_wrong_rows_are_shown(read: Any) -> None:
    rows = "".join(f"{number}.jpg,x\n" for number in range(30))
    with pytest.raises(LabelTableError) as error:
        read("labels.csv", f"path,sun\n{rows}")
    assert "has 30 wrong rows" in str(error.value)
    assert str(error.value).count("\n  line") == 10


def test_a_table_that_is_not_there_is_named(s3: S3Client, bucket: Bucket) -> None:
    with pytest.raises(LabelTableError, match=f"s3://{bucket.name}/labels.csv does not exist: correct the address"):
        read_label_table(s3, f"s3://{bucket.name}/labels.csv")
