from __future__ import annotations

import gzip
import json
import tarfile
import uuid
from pathlib import Path
from typing import Any

import pytest

from local_aws.storage import (
    DataError,
    S3Location,
    StoredFile,
    download,
    files_of_manifest,
    files_under,
    upload_archive,
)
from tests.support.local_aws import BUCKET, RunningLocalAws


@pytest.fixture
def prefix(s3: Any) -> str:
    return f"storage-{uuid.uuid4().hex}"


def put(s3: Any, prefix: str, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=key.encode())


def test_nobody_else_reads_the_state_of_the_server(local_aws: RunningLocalAws, s3: Any, prefix: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/large", Body=bytes(1 << 20))

    written = [file for file in local_aws.state_dir.rglob("*") if not file.is_symlink()]
    assert written
    assert [file for file in written if file.stat().st_mode & 0o077] == []


def paths(s3: Any, prefix: str) -> list[str]:
    return [file.path for file in files_under(s3, S3Location(BUCKET, prefix))]


def fetch(s3: Any, files: list[StoredFile], folder: Path, *, gunzip: bool = False) -> list[str]:
    download(s3, files, folder, gunzip=gunzip, cancelled=lambda: False)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_prefix_is_a_folder_a_beginning_or_one_object(s3: Any, prefix: str) -> None:
    put(s3, prefix, "train/a.rec", "train/deep/b.rec", "train_more/c.rec", "train/")
    assert paths(s3, f"{prefix}/train/") == ["a.rec", "deep/b.rec"]
    assert paths(s3, f"{prefix}/train") == ["a.rec", "deep/b.rec", "train_more/c.rec"]
    assert paths(s3, f"{prefix}/train/a.rec") == ["a.rec"]
    assert paths(s3, f"{prefix}/tr") == ["train/a.rec", "train/deep/b.rec", "train_more/c.rec"]
    assert paths(s3, f"{prefix}/nothing") == []


def test_a_manifest_names_its_objects(s3: Any, prefix: str, tmp_path: Path) -> None:
    put(s3, prefix, "a.rec", "b/c.rec", "left-out.rec")
    manifest = S3Location(BUCKET, f"{prefix}/manifest.json")
    listed: list[Any] = [{"prefix": f"s3://{BUCKET}/{prefix}/"}, "a.rec", "b/c.rec"]
    s3.put_object(Bucket=BUCKET, Key=manifest.key, Body=json.dumps(listed).encode())
    assert fetch(s3, files_of_manifest(s3, manifest), tmp_path) == ["a.rec", "b/c.rec"]
    assert (tmp_path / "b/c.rec").read_bytes() == b"b/c.rec"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "is not JSON"),
        (b'["a"]', "does not begin with"),
        (b'[{"prefix": "s3://local-aws-tests/"}, "absent"]', "which S3 does not hold"),
        (b'[{"prefix": "s3://local-aws-tests/"}, 3]', "entry 3 is not a key"),
    ],
)
def test_a_broken_manifest_is_refused(s3: Any, prefix: str, body: bytes, said: str) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/manifest.json", Body=body)
    with pytest.raises(DataError, match=said):
        files_of_manifest(s3, S3Location(BUCKET, f"{prefix}/manifest.json"))


def test_compressed_channels_are_unpacked(s3: Any, prefix: str, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/a.rec.gz", Body=gzip.compress(b"records"))
    files = files_under(s3, S3Location(BUCKET, f"{prefix}/"))
    assert fetch(s3, files, tmp_path, gunzip=True) == ["a.rec"]
    assert (tmp_path / "a.rec").read_bytes() == b"records"


def test_what_is_not_compressed_is_refused(s3: Any, prefix: str, tmp_path: Path) -> None:
    put(s3, prefix, "a.rec")
    with pytest.raises(DataError, match="is not compressed with gzip"):
        fetch(s3, files_under(s3, S3Location(BUCKET, f"{prefix}/")), tmp_path, gunzip=True)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a//b", ".", "a/./b", "nul\0"])
def test_no_path_leaves_the_folder(path: str, tmp_path: Path) -> None:
    stranger = StoredFile(S3Location(BUCKET, "key"), path, 1)
    with pytest.raises(DataError, match="cannot be a file of the channel"):
        download(None, [stranger], tmp_path / "channel", cancelled=lambda: False)  # type: ignore[arg-type]
    assert not any((tmp_path / "channel").iterdir())


def test_a_key_that_is_a_file_and_a_folder_is_refused(s3: Any, prefix: str, tmp_path: Path) -> None:
    put(s3, prefix, "a", "a/b")
    with pytest.raises(DataError, match="a file and a folder at once"):
        fetch(s3, files_under(s3, S3Location(BUCKET, f"{prefix}/")), tmp_path)


def test_a_cancelled_copy_stops(s3: Any, prefix: str, tmp_path: Path) -> None:
    put(s3, prefix, "a", "b")
    download(s3, files_under(s3, S3Location(BUCKET, f"{prefix}/")), tmp_path, cancelled=lambda: True)
    assert not any(tmp_path.iterdir())


def test_an_archive_holds_the_folder_but_no_links_out_of_it(s3: Any, prefix: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.params").write_bytes(b"a")
    (folder / "deep/b.json").write_bytes(b"b")
    (folder / "outside").symlink_to("/etc/hostname")
    upload_archive(s3, folder, S3Location(BUCKET, f"{prefix}/model.tar.gz"))
    s3.download_file(BUCKET, f"{prefix}/model.tar.gz", str(tmp_path / "back.tar.gz"))
    with tarfile.open(tmp_path / "back.tar.gz") as archive:
        assert archive.getnames() == ["a.params", "deep/b.json"]
    assert [path.name for path in tmp_path.iterdir() if path.name != "back.tar.gz"] == ["model"]


@pytest.mark.parametrize("uri", ["bucket/key", "https://bucket/key", "s3://", "s3:///key"])
def test_what_is_no_s3_uri_is_refused(uri: str) -> None:
    with pytest.raises(DataError, match="is not an S3 URI"):
        S3Location.parse(uri)
