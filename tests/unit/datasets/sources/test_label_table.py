from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.datasets.errors import DatasetError
from include.datasets.sources.label_table import ClassNames, LabelTable, read_label_tables
from tests.support.dataset_bucket import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def parquet(columns: dict[str, list[Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.fixture
def read(s3: S3Client, bucket: Bucket) -> Any:
    def read(name: str, body: str | bytes, *more: tuple[str, str], names: ClassNames | None = None) -> LabelTable:
        bodies = [(name, body), *more]
        for key, content in bodies:
            bucket.put(key, content.encode() if isinstance(content, str) else content)
        return read_label_tables(s3, [f"s3://{bucket.name}/{key}" for key, _ in bodies], names)

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
        ("a.csv", b"path,label\n1.jpg,caf\xe9\n", r"is not UTF-8 \(line 2\): save it as UTF-8"),
        ("a.csv", 'path,label\n1.jpg,"cat\n', "line 2: unexpected end of data"),
        ("a.parquet", b"path,label\n", "is not a Parquet document that can be read"),
        ("a.jsonl", '{"path": "1.jpg", "label": "cat"}\n["2.jpg"]\n', r"line 2: \[\"2.jpg\"\] is not a JSON object"),
        ("a.jsonl", '{"path": "1.jpg"', "line 1: Expecting ',' delimiter"),
        ("a.jsonl", '{"path": "1.jpg", "label": {"a": 1}}', "line 1: label = {'a': 1}: write a class name"),
        ("a.jsonl", '{"path": "1.jpg", "sun": 1}\n{"path": "2.jpg"}\n', "line 2: sun = None: write 0 or 1"),
        (
            "a.txt",
            "path,label\n",
            r"must end in \.csv, \.parquet, \.jsonl, \.manifest or \.lst, which shows its format",
        ),
    ],
)
def test_a_wrong_table_says_where_and_what_to_do(read: Any, name: str, body: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(name, body)


def test_only_the_first_wrong_rows_are_shown(read: Any) -> None:
    rows = "".join(f"{number}.jpg,x\n" for number in range(30))
    with pytest.raises(DatasetError) as error:
        read("labels.csv", f"path,sun\n{rows}")
    assert "has 30 wrong rows" in str(error.value)
    assert str(error.value).count("\n  line") == 10


def test_a_table_that_is_not_there_is_named(s3: S3Client, bucket: Bucket) -> None:
    with pytest.raises(DatasetError, match=f"s3://{bucket.name}/labels.csv does not exist: correct the address"):
        read_label_tables(s3, [f"s3://{bucket.name}/labels.csv"])


def test_a_line_of_a_list_is_read_as_im2rec_reads_it(read: Any) -> None:
    table = read("all.lst", " 0\t2.000000\ta b/1 .jpg \n\n1 \t 0\tc.jpg\r\n7\t10.0\td.jpg")
    assert labels(table) == {"a b/1 .jpg": ("2",), "c.jpg": ("0",), "d.jpg": ("10",)}
    assert table.classes == ("0", "2", "10")
    assert [row.line for row in table.rows] == [1, 3, 4]


def test_several_labels_of_a_list_are_a_0_or_1_for_each_class(read: Any) -> None:
    table = read("all.lst", "0\t1.000000\t1.000000\t1.jpg\n1\t0\t1\t2.jpg\n2\t0\t0\t3.jpg\n")
    assert (table.classes, labels(table)) == (("0", "1"), {"1.jpg": ("0", "1"), "2.jpg": ("1",), "3.jpg": ()})


SCENES = ClassNames("dataset.labels_file s3://b/scenes.txt", ["sun", "sea", "snow"], complete=True)


def test_the_numbers_of_a_list_have_the_names_of_a_file_or_of_the_labels(read: Any) -> None:
    numbers = "0\t2\t1.jpg\n1\t0\t2.jpg\n"
    table = read("all.lst", numbers, names=SCENES)
    assert (table.classes, labels(table)) == (("sun", "snow"), {"1.jpg": ("snow",), "2.jpg": ("sun",)})
    named = ClassNames("dataset.labels", ["sun", "sea", "snow"], complete=False)
    assert labels(read("all.lst", numbers, names=named)) == labels(table)
    flags = read("all.lst", "0\t1\t0\t1\t1.jpg\n", names=SCENES)
    assert (flags.classes, labels(flags)) == (("sun", "sea", "snow"), {"1.jpg": ("sun", "snow")})


def test_labels_that_are_numbers_of_a_list_choose_among_them(read: Any) -> None:
    numbers = ClassNames("dataset.labels", ["2", "1"], complete=False)
    table = read("all.lst", "0\t1\t1.jpg\n1\t2\t2.jpg\n2\t3\t3.jpg\n", names=numbers)
    assert (table.classes, labels(table)["2.jpg"]) == (("1", "2", "3"), ("2",))


@pytest.mark.parametrize(
    ("body", "names", "message"),
    [
        (
            "0\t3\t1.jpg\n",
            SCENES,
            r"numbered from 0 to 3, but dataset\.labels_file .* names 3 \(line 1: 3\): name all 4",
        ),
        (
            "0\t1\t1.jpg\n",
            ClassNames("dataset.labels", ["sun", "sea", "snow"], complete=False),
            r"numbered from 0 to 1, but dataset\.labels names 3: .* or in dataset\.labels_file, and choose some",
        ),
        ("0\t1\t0\t1.jpg\n", SCENES, "numbered from 0 to 1, but .* names 3"),
        ("0 2 1.jpg\n", None, r"line 1 has 1 fields between tabs: write an index, a label or several, and a path"),
        ("x\t2\t1.jpg\n", None, "line 1 has the index 'x': write a whole number"),
        ("0\t0.5\t1.jpg\n", None, "line 1 has the label '0.5': write the number of its class"),
        ("0\tnan\t1.jpg\n1\t-1\t2.jpg\n", None, r"2 wrong rows:\n  line 1 has the label 'nan'.*\n  line 2 .* '-1'"),
        ("0\t1\t2\t1.jpg\n", None, "line 1 has '2' for class 1: of several labels each is 0 or 1"),
        ("0\t1\t1.jpg\n1\t1\t0\t2.jpg\n", None, "line 2 has 2 labels, the lines before have 1"),
        ("0\t1\t \n", None, "line 1 has 2 fields between tabs"),
        (" \n", None, "has no rows: write one for each image"),
    ],
)
def test_a_wrong_list_says_where_and_what_to_do(read: Any, body: str, names: ClassNames | None, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read("all.lst", body, names=names)


def test_several_tables_are_read_as_one(read: Any) -> None:
    table = read("a.csv", "path,label\n1.jpg,cat\n", ("b.jsonl", '{"path": "2.jpg", "label": "ape"}'))
    assert (table.classes, labels(table)) == (("ape", "cat"), {"1.jpg": ("cat",), "2.jpg": ("ape",)})
    assert [row.table.rpartition("/")[2] for row in table.rows] == ["a.csv", "b.jsonl"]
    flags = read("a.csv", "path,sun,sea\n1.jpg,1,0\n", ("b.csv", "sea,path,sun\n1,2.jpg,0\n"))
    assert (flags.classes, labels(flags)) == (("sun", "sea"), {"1.jpg": ("sun",), "2.jpg": ("sea",)})


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("b.csv", "path,sun\n2.jpg,1\n", "a column 'label', but .*b.csv a column for each class: all tables must have"),
        ("b.lst", "0\t1\t1.jpg\n", "a column 'label', but .*b.lst one label per line: all tables must have"),
    ],
)
def test_tables_of_different_kinds_are_refused(read: Any, name: str, body: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read("a.csv", "path,label\n1.jpg,cat\n", (name, body))


def test_tables_with_other_class_columns_are_refused(read: Any) -> None:
    with pytest.raises(DatasetError, match=r"\(not in both: 'sea', 'snow'\): all tables must have"):
        read("a.csv", "path,sun,sea\n1.jpg,1,0\n", ("b.csv", "path,sun,snow\n1.jpg,1,0\n"))
    with pytest.raises(DatasetError, match=r"2 labels per line, but .*b\.lst 3 labels per line"):
        read("a.lst", "0\t1\t0\t1.jpg\n", ("b.lst", "0\t1\t0\t0\t2.jpg\n"))


@pytest.mark.parametrize(
    ("name", "split"),
    [("train.lst", "train"), ("dataset_rec_val.lst", "val"), ("my-TEST.lst", "TEST"), ("latest.lst", None)],
)
def test_the_name_of_a_file_gives_its_rows_their_split(read: Any, name: str, split: str | None) -> None:
    assert [row.split for row in read(name, "0\t1\t1.jpg\n").rows] == [split]
    csv = read(name.replace(".lst", ".csv"), "path,label,split\n1.jpg,cat,\n2.jpg,cat,test\n")
    assert [row.split for row in csv.rows] == [None, "test"], "a column says more than the name"
