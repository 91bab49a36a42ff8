"""Hidden and system files: one rule, whatever the source."""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from im2rec.list_making import find_images
from include.datasets.errors import DatasetError
from include.datasets.source_image import system_name
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.upload import FolderUpload, LocalFolder
from include.datasets.version import DatasetVersion
from tests.support.archives import tar_of, zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.inventories import Report

if TYPE_CHECKING:
    from include.run_conf import DatasetConf

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]

SYSTEM = {
    ".ipynb_checkpoints/cat-checkpoint.jpg": ".ipynb_checkpoints",
    ".DS_Store": ".DS_Store",
    "cat/.DS_Store": ".DS_Store",
    "cat/._000.jpg": "._000.jpg",
    "cat/Thumbs.db": "Thumbs.db",
    "cat/THUMBS.DB": "THUMBS.DB",
    "cat/sub/desktop.ini": "desktop.ini",
    "__MACOSX/cat/._000.jpg": "__MACOSX",
    "dog/@eaDir/000.jpg/SYNOPHOTO_THUMB_M.jpg": "@eaDir",
    "dog/.git/objects/00.jpg": ".git",
    "$RECYCLE.BIN/1.jpg": "$RECYCLE.BIN",
    "System Volume Information/x.jpg": "System Volume Information",
    "dog/lost+found/1.jpg": "lost+found",
    "dog/ehthumbs.db": "ehthumbs.db",
    "cat_$folder$": "cat_$folder$",
    "#recycle/2.jpg": "#recycle",
}
"""Paths below a source and the part of each that makes it a system file."""
ORDINARY = [
    "cat/000.jpg",
    "cat/a.b.jpg",
    "thumbs/db.jpg",
    "MACOSX/1.jpg",
    "_MACOSX/1.jpg",
    "cat/..",
    "./1.jpg",
    "a/$.jpg",
]


def put(bucket: Bucket, paths: list[str], folder: str = "images/") -> None:
    for number, path in enumerate(paths):
        bucket.put(f"{folder}{path}", jpeg(seed=7000 + number))


def system_rows(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {key: row["reason"] for key, row in rows.items() if row["status"] == "system_file"}


def test_the_rule_names_the_part_that_is_hidden_or_of_a_system() -> None:
    assert {path: system_name(path) for path in SYSTEM} == SYSTEM
    assert [path for path in ORDINARY if system_name(path)] == []


@pytest.mark.parametrize("inventory", [False, True])
def test_class_folders_leave_them_out_and_count_them(
    bucket: Bucket, rows: Rows, caplog: pytest.LogCaptureFixture, inventory: bool
) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    put(bucket, list(SYSTEM))
    listing = {"inventory": Report(bucket).write()} if inventory else {}
    caplog.set_level(logging.INFO)
    version = bucket.build(bucket.conf(max_bad_fraction=0, **listing))
    assert (version.labels, version.counts.total) == (["cat", "dog"], 10)
    assert version.statuses == {"packed": 10, "system_file": len(SYSTEM)}
    assert set(system_rows(rows(version))) == {f"images/{path}" for path in SYSTEM}
    assert system_rows(rows(version))["images/cat/Thumbs.db"] == "a hidden or system file: 'Thumbs.db'"
    assert f"'system_file': {len(SYSTEM)}" in caplog.text
    assert "system_file" in bucket.get(version.layout.report).decode()


def test_split_folders_leave_them_out_at_every_level(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    hidden = ["Thumbs.db", ".ipynb_checkpoints/x.jpg", "train/.ipynb_checkpoints/y.jpg", "train/cat/._1.jpg"]
    put(bucket, hidden)
    version = bucket.build(bucket.conf(layout="split_folders", max_bad_fraction=0))
    assert version.labels == ["cat", "dog"]
    assert set(system_rows(rows(version))) == {f"images/{path}" for path in hidden}


def test_a_table_and_an_image_list_that_name_them_leave_them_out_too(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    put(bucket, [".ipynb_checkpoints/a-checkpoint.jpg", "cat/._000.jpg"])
    images = [f"{label}/{number:03d}.jpg" for label in ("cat", "dog") for number in range(4)]
    named = [*images, ".ipynb_checkpoints/a-checkpoint.jpg", "cat/._000.jpg", "dog/.DS_Store"]
    bucket.put("t.csv", "\n".join(["path,label", *(f"{path},{path.split('/')[0]}" for path in named)]).encode())
    bucket.put("list.txt", "\n".join([*named, "cat/._gone.jpg"]).encode())
    tables = {"label_tables": [f"s3://{bucket.name}/t.csv"]}
    lists = {"image_list": f"s3://{bucket.name}/list.txt"}
    for run, (chosen, count) in enumerate([(tables, 3), (tables | lists, 4), (lists, 4)]):
        conf = bucket.conf(max_bad_fraction=0, labels=["cat", "dog"], **chosen)
        version = bucket.build(conf, f"manual__{run}")
        assert version.statuses == {"packed": 8, "system_file": count}, chosen


def test_a_hidden_folder_in_the_source_address_hides_nothing(bucket: Bucket) -> None:
    put(bucket, [f"{label}/{number}.jpg" for label in ("cat", "dog") for number in range(3)], ".lake/photos/")
    version = bucket.build(bucket.conf(source=[f"s3://{bucket.name}/.lake/photos/"]))
    assert version.statuses == {"packed": 6}


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_an_archive_leaves_them_out_and_its_version_accounts_for_them(
    bucket: Bucket, rows: Rows, pack: Callable[..., bytes]
) -> None:
    pictures = {
        f"pets/{label}/{n}.jpg": jpeg(seed=n + 50 * len(label)) for label in ("cat", "kitten") for n in range(4)
    }
    hidden = {f"pets/{path}": b"x" for path in SYSTEM} | {"__MACOSX/._pets": b"x", ".DS_Store": b"x"}
    name = "a.zip" if pack is zip_of else "a.tar"
    bucket.put(name, pack({**pictures, **hidden}))
    conf = bucket.conf(source=[f"s3://{bucket.name}/{name}"], max_bad_fraction=0)
    unpack_sources(bucket.s3, conf, bucket.name)
    version = bucket.build(conf)
    assert version.labels == ["cat", "kitten"]
    assert version.statuses == {"packed": 8, "system_file": len(hidden)}
    left = {json.dumps(key.partition("/images/")[2]) for key in system_rows(rows(version))}
    assert left == {json.dumps(path) for path in hidden}


def test_the_upload_leaves_them_out_and_counts_them(bucket: Bucket, tmp_path: Path) -> None:
    for path in [*SYSTEM, "cat/000.jpg", "dog/000.jpg"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    folder, out = LocalFolder(tmp_path), io.StringIO()
    assert {found.name for found in folder.files()} == {"cat/000.jpg", "dog/000.jpg"}
    FolderUpload(bucket.s3, bucket.name, "images/", folder, dry_run=False, out=out).run()
    assert bucket.listing("") == ["images/cat/000.jpg", "images/dog/000.jpg"]
    assert f"{folder.left_out['hidden or system']} hidden or system files and folders left out" in out.getvalue()
    assert folder.left_out["hidden or system"] == len(SYSTEM)


def test_im2rec_lists_what_im2rec_lists(tmp_path: Path) -> None:
    for path in ("cat/1.jpg", "cat/._1.jpg", ".ipynb_checkpoints/1.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    found = find_images(tmp_path, [".jpg"], recursive=True)
    assert [image.path for image in found.images] == [".ipynb_checkpoints/1.jpg", "cat/._1.jpg", "cat/1.jpg"]


def test_a_class_that_is_a_hidden_folder_is_told_so(bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3, ".hidden": 3})
    with pytest.raises(DatasetError, match=r"'\.hidden' \(a hidden or system folder, which is left out\)"):
        bucket.plan(bucket.conf(labels=["cat", ".hidden"]))


def test_a_version_that_packed_them_grows_without_them(bucket: Bucket, rows: Rows, monkeypatch: Any) -> None:
    """A version of before the rule: its record of a hidden file is cut out."""
    bucket.put_images({"cat": 4, "dog": 4})
    put(bucket, ["cat/._000.jpg"])
    conf: DatasetConf = bucket.conf(max_bad_fraction=0)
    with monkeypatch.context() as patch:
        patch.setattr("include.datasets.sources.source.system_name", lambda _: None)
        parent = bucket.build(conf)
    grown = bucket.build(conf, "manual__2", parent=parent.uri)
    assert (parent.counts.total, grown.counts.total) == (9, 8)
    assert Counter(row["status"] for row in rows(grown).values()) == {"packed": 8, "system_file": 1}
