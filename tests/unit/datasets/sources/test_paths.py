"""How lists, tables and `.lst` files may write the path of an image."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from im2rec.__main__ import main as im2rec
from include.datasets.errors import DatasetError
from include.datasets.sources.image_list import readings, split_address
from include.datasets.sources.source import open_source
from include.datasets.version import DatasetVersion
from include.recordio.format import read_records
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.inventories import Report

if TYPE_CHECKING:
    from include.run_conf import DatasetConf

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]

ACCENTS = "café é.jpg"
KEYS = [
    f"photos/set/{name}" for name in ("cat/1.jpg", "cat/two words+.jpg", "dog/3.jpg", f"dog/{ACCENTS}", "dog/Ab.JPG")
]
OUTSIDE = "photos/other/6.jpg"
WRITTEN: dict[str, str] = {
    "./cat/1.jpg": KEYS[0],
    ".\\cat\\1.jpg": KEYS[0],
    "cat\\1.jpg": KEYS[0],
    "/cat/1.jpg": KEYS[0],
    "cat//1.jpg": KEYS[0],
    "cat/../cat/./1.jpg": KEYS[0],
    "dog/../cat/1.jpg": KEYS[0],
    "CAT/1.JPG": KEYS[0],
    "photos/set/cat/1.jpg": KEYS[0],
    "/photos/set/cat/1.jpg": KEYS[0],
    "S3://BUCKET/photos/set/cat/1.jpg": KEYS[0],
    "s3a://BUCKET/photos/set/cat/1.jpg": KEYS[0],
    "s3://BUCKET/photos/set/Cat/1.jpg": KEYS[0],
    "s3://BUCKET/photos//set/./cat/1.jpg": KEYS[0],
    "cat/two%20words%2B.jpg": KEYS[1],
    "cat/two+words%2B.jpg": KEYS[1],
    "s3://BUCKET/photos/set/cat/two%20words%2B.jpg": KEYS[1],
    "https://BUCKET.s3.us-east-1.amazonaws.com/photos/set/cat/two%20words%2B.jpg": KEYS[1],
    "dog\\ab.jpg": KEYS[4],
    unicodedata.normalize("NFD", f"dog/{ACCENTS}"): KEYS[3],
    "../other/6.jpg": OUTSIDE,
    "..\\other\\6.jpg": OUTSIDE,
}


def put(bucket: Bucket) -> None:
    for number, key in enumerate([*KEYS, OUTSIDE]):
        bucket.put(key, jpeg(seed=number))
    for label in ("cat", "dog"):
        for number in range(10, 14):
            bucket.put(f"photos/set/{label}/{number}.jpg", jpeg(seed=number + 100 * ord(label[0])))


def conf(bucket: Bucket, **changes: Any) -> DatasetConf:
    return bucket.conf(source=[f"s3://{bucket.name}/photos/set/"], max_bad_fraction=0, **changes)


OTHERS = [f"{label}/{number}.jpg" for label in ("cat", "dog") for number in range(10, 14)]


def write_table(bucket: Bucket, ending: str, paths: list[str]) -> dict[str, Any]:
    """A table in which each path is a cat, and the images of `put` are what they are."""
    rows = [*((path, "cat") for path in paths), *((path, path.split("/")[0]) for path in OTHERS)]
    if ending == "lst":
        lines = [f"{number}\t{int(label == 'dog')}\t{path}" for number, (path, label) in enumerate(rows)]
    else:
        lines = ["path,label", *(f"{path},{label}" for path, label in rows)]
    bucket.put(f"t.{ending}", "\n".join(lines).encode())
    return {"label_tables": [f"s3://{bucket.name}/t.{ending}"]}


def listed(bucket: Bucket, **chosen: Any) -> list[str]:
    """The keys that a source of `photos/set/` gives, without those of all other lines."""
    source = open_source(bucket.s3, conf(bucket, **chosen), bucket.name)
    left_out = [out for out in source.left_out(source.classes) if out.status == "missing"]
    assert left_out == []
    others = {f"photos/set/{path}" for path in OTHERS}
    return [image.key for image in source.images(source.classes) if image.key not in others]


@pytest.mark.parametrize("kind", ["csv", "lst", "list and folders", "list and table", "inventory"])
def test_what_im2rec_and_s3_tools_write_is_read(bucket: Bucket, kind: str) -> None:
    put(bucket)
    inventory = {"inventory": Report(bucket).write()} if kind == "inventory" else {}
    found, wanted = {}, dict(WRITTEN)
    if kind == "list and folders":  # the folder is not a class of the source
        wanted = {written: key for written, key in WRITTEN.items() if key != OUTSIDE}
    for written, key in wanted.items():
        path = written.replace("BUCKET", bucket.name)
        if kind.startswith("list"):
            bucket.put("l.txt", "\n".join([path, *OTHERS]).encode())
            tables = write_table(bucket, "csv", [f"s3://{bucket.name}/{key}"]) if kind == "list and table" else {}
            chosen = {"image_list": f"s3://{bucket.name}/l.txt"} | tables
        else:
            chosen = write_table(bucket, kind if kind == "lst" else "csv", [path]) | inventory
        found[written] = listed(bucket, **chosen)
    assert found == {written: [key] for written, key in wanted.items()}


def test_rows_of_a_table_find_the_images_of_a_list_however_they_write_them(bucket: Bucket, rows: Rows) -> None:
    put(bucket)
    paths = [".\\cat\\1.jpg", "TWO%20words%2B.jpg", "./3.JPG", f"x/../dog/{ACCENTS}", "/dog/ab.jpg"]
    bucket.put("l.txt", "\n".join([*KEYS, *OTHERS]).encode())
    found = rows(
        bucket.build(conf(bucket, image_list=f"s3://{bucket.name}/l.txt", **write_table(bucket, "csv", paths)))
    )
    assert {key: found[key]["labels"] for key in KEYS} == {key: ["cat"] for key in KEYS}


def test_the_key_itself_comes_first(bucket: Bucket, rows: Rows) -> None:
    put(bucket)
    strange = ["cat/./1.jpg", "cat/two%20words%2B.jpg", "cat/10.JPG", "cat\\10.jpg"]
    for number, path in enumerate(strange):
        bucket.put(f"photos/set/{path}", jpeg(seed=9000 + number))
    found = rows(bucket.build(conf(bucket, **write_table(bucket, "csv", strange))))
    assert set(found) == {f"photos/set/{path}" for path in [*strange, *OTHERS]}


def test_two_keys_that_differ_in_case_only_are_not_guessed(bucket: Bucket, rows: Rows) -> None:
    put(bucket)
    bucket.put("photos/set/cat/A.jpg", jpeg(seed=9001))
    bucket.put("photos/set/cat/a.jpg", jpeg(seed=9002))
    tables = write_table(bucket, "csv", ["Cat/A.JPG"])
    with pytest.raises(DatasetError, match=r"write the lines as the keys are: several keys differ from a line in"):
        bucket.plan(conf(bucket, **tables))
    row = rows(bucket.build(conf(bucket, **tables).model_copy(update={"max_bad_fraction": 0.5})))[
        "photos/set/Cat/A.JPG"
    ]
    assert row["status"] == "missing"
    assert "several keys differ from it in upper and lower case only: photos/set/cat/A.jpg" in row["reason"]


def test_an_image_that_another_row_names_is_not_taken_for_one_of_other_case(bucket: Bucket, rows: Rows) -> None:
    put(bucket)
    tables = write_table(bucket, "csv", ["cat/1.jpg", "cat/1.JPG"])
    found = rows(bucket.build(conf(bucket, **tables).model_copy(update={"max_bad_fraction": 0.5})))
    assert (found["photos/set/cat/1.jpg"]["status"], found["photos/set/cat/1.JPG"]["status"]) == ("packed", "missing")


def test_two_ways_to_write_one_image_are_two_rows_of_it(bucket: Bucket) -> None:
    put(bucket)
    with pytest.raises(
        DatasetError, match=r"1 rows name an image a second time \(line 3: '\./cat/1\.jpg', as line 2\)"
    ):
        bucket.plan(conf(bucket, **write_table(bucket, "csv", ["cat/1.jpg", "./cat/1.jpg"])))


def test_a_path_out_of_the_bucket_and_an_address_elsewhere_are_told(bucket: Bucket) -> None:
    put(bucket)
    assert not [key for key in readings("../../../etc/passwd", "photos/set/") if ".." not in key.split("/")]
    assert split_address("https://example.com/photos/1.jpg") is None
    with pytest.raises(
        DatasetError, match=r"1 rows name what is not an S3 address \(line 2: 'https://example\.com/1\.jpg'\)"
    ):
        bucket.plan(conf(bucket, **write_table(bucket, "csv", ["https://example.com/1.jpg"])))


MISMATCHES = {
    "home/me/data/{}": r"remove 'home/me/data/' from the beginning of the lines: then 8 of 8",
    "/home/me/data/{}": r"remove '/home/me/data/' from the beginning of the lines: then 8 of 8",
    "C:\\data\\{}": r"remove 'C:/data/' from the beginning of the lines: then 8 of 8",
    "s3://BUCKET/data/{}": r"write s3://BUCKET/photos/set/ where the lines begin with s3://BUCKET/data/: then 8 of 8",
    "{}.jpeg": r"write '.jpg' where the lines end in '.jpeg': 8 of 8",
    "{}.no": r"add '.jpg' to the lines: 8 of 8",
    "nothing/like/{}.x": r"no key under s3://BUCKET/photos/set/ has the file name of one of these lines",
}


@pytest.mark.parametrize("kind", ["table", "list"])
@pytest.mark.parametrize("shape", MISMATCHES)
def test_lines_that_match_nothing_stand_beside_keys_that_exist(bucket: Bucket, kind: str, shape: str) -> None:
    for path in OTHERS:
        bucket.put(f"photos/set/{path}", jpeg(seed=1))
    paths = []
    for path in OTHERS:
        stem = path.removesuffix(".jpg")
        name = {
            "{}.jpeg": f"{stem}.jpeg",
            "{}.no": stem,
            "nothing/like/{}.x": f"nothing/like/{ord(path[0])}{stem[-1]}x",
        }
        paths.append(name.get(shape, shape.replace("{}", path).replace("BUCKET", bucket.name)))
    if kind == "table":
        lines = ["path,label", *(f"{path},{other.split('/')[0]}" for path, other in zip(paths, OTHERS, strict=True))]
        bucket.put("t.csv", "\n".join(lines).encode())
        chosen = {"label_tables": [f"s3://{bucket.name}/t.csv"]}
    else:
        if shape.startswith("s3://"):
            pytest.skip("addresses outside the source are refused before")
        bucket.put("l.txt", "\n".join(paths).encode())
        chosen = {"image_list": f"s3://{bucket.name}/l.txt"}
    with pytest.raises(DatasetError) as raised:
        bucket.plan(conf(bucket, **chosen))
    message = str(raised.value)
    assert MISMATCHES[shape].replace("BUCKET", bucket.name) in message
    assert "add images" not in message
    pairs = [line for line in message.splitlines() if " | s3://" in line]
    assert len(pairs) == 5
    assert all(f"s3://{bucket.name}/photos/set/" in pair for pair in pairs)
    assert repr(paths[0].removeprefix(f"s3://{bucket.name}/")) in pairs[0] or repr(paths[0]) in pairs[0]


def test_lines_that_match_no_split_folder_stand_beside_keys_too(bucket: Bucket) -> None:
    for path in OTHERS:
        bucket.put(f"photos/set/train/{path}", jpeg(seed=1))
    bucket.put("l.txt", "\n".join(f"D:\\pets\\train\\{path}" for path in OTHERS).encode())
    with pytest.raises(
        DatasetError, match=r"(?s)no image of .* is there.*remove 'D:/pets/' from the beginning"
    ) as raised:
        bucket.plan(conf(bucket, layout="split_folders", image_list=f"s3://{bucket.name}/l.txt"))
    assert str(raised.value).count(" | s3://") == 5


def test_a_source_that_lies_elsewhere_is_named(bucket: Bucket) -> None:
    for path in OTHERS:
        bucket.put(f"archive/2026/{path}", jpeg(seed=1))
    chosen = write_table(bucket, "csv", [])
    with pytest.raises(DatasetError, match=rf"set dataset\.source to s3://{bucket.name}/archive/2026/: then 8 of 8"):
        bucket.plan(conf(bucket, **chosen))
    chosen = {"label_tables": chosen["label_tables"], "source": [f"s3://{bucket.name}/nowhere/"]}
    bucket.put("t.csv", b"path,label\nq.jpg,cat\nr.jpg,dog\n")
    with pytest.raises(DatasetError, match=rf"there is no object under s3://{bucket.name}/nowhere/: correct dataset"):
        bucket.plan(bucket.conf(**chosen))


def test_file_names_of_several_folders_need_their_folder(bucket: Bucket) -> None:
    for path in OTHERS:
        bucket.put(f"photos/set/{path}", jpeg(seed=1))
    bucket.put("t.csv", b"path,label\n10.jpg,cat\n11.jpg,dog\n")
    with pytest.raises(
        DatasetError, match=r"write the folders too: the file names of the lines are found in 2 folders"
    ):
        bucket.plan(conf(bucket, label_tables=[f"s3://{bucket.name}/t.csv"]))


def test_a_few_missing_images_are_still_only_missing(bucket: Bucket) -> None:
    put(bucket)
    tables = write_table(bucket, "csv", ["cat/gone.jpg"])
    version = bucket.build(conf(bucket, **tables).model_copy(update={"max_bad_fraction": 0.2}))
    assert version.statuses == {"packed": 8, "missing": 1}


@pytest.mark.parametrize("path", ["./cat/1.jpg", "cat//1.jpg", "cat/../cat/1.jpg", "../set/cat/1.jpg"])
def test_the_drop_in_for_im2rec_reads_what_the_system_resolves(tmp_path: Path, path: str) -> None:
    (tmp_path / "set/cat").mkdir(parents=True)
    (tmp_path / "set/cat/1.jpg").write_bytes(jpeg(seed=1))
    (tmp_path / "t.lst").write_text(f"0\t0\t{path}\n")
    assert im2rec([str(tmp_path / "t"), str(tmp_path / "set")]) == 0
    with (tmp_path / "t.rec").open("rb") as records:
        assert len(list(read_records(records))) == 1
