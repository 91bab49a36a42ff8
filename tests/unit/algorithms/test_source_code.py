from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.algorithms import source_code
from include.algorithms.source_code import SourceCodeError, archive, content_hash, pack_source, read_source
from tests.support.dataset_bucket import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a folder `mine` of a script and what does not belong to it."""
    monkeypatch.setattr(source_code, "PROJECT", tmp_path)
    for name in ("train.py", "models/net.py", ".git/config", "__pycache__/train.cpython-311.pyc", "models/.hidden"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}")
    return tmp_path


def packed(s3: S3Client, address: str) -> dict[str, bytes]:
    name, _, key = address.removeprefix("s3://").partition("/")
    body = s3.get_object(Bucket=name, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_a_folder_is_packed_once_for_each_content(project: Path, s3: S3Client, bucket: Bucket) -> None:
    first = pack_source(s3, "mine", bucket=bucket.name)
    written = s3.head_object(Bucket=bucket.name, Key=first.partition(f"{bucket.name}/")[2])["LastModified"]
    again = pack_source(s3, "mine", bucket=bucket.name)

    assert packed(s3, first) == {"models/net.py": b"# models/net.py", "train.py": b"# train.py"}
    assert again == first
    assert s3.head_object(Bucket=bucket.name, Key=first.partition(f"{bucket.name}/")[2])["LastModified"] == written
    (project / "mine/train.py").write_text("# changed")
    assert pack_source(s3, "mine", bucket=bucket.name) != first


def test_the_same_files_make_the_same_archive_whenever_they_are_packed(project: Path, s3: S3Client) -> None:
    files = read_source(s3, "mine")
    other = dict(reversed([*files.items()]))

    assert archive(files) == archive(other)
    assert content_hash(files) == content_hash(other)
    assert content_hash({"a": b"bc"}) != content_hash({"ab": b"c"})


def test_a_folder_in_s3_is_packed_as_one_of_the_project_is(project: Path, s3: S3Client, bucket: Bucket) -> None:
    for name in ("train.py", "models/net.py", ".hidden"):
        s3.put_object(Bucket=bucket.name, Key=f"code-of-mine/{name}", Body=f"# {name}".encode())

    from_s3 = pack_source(s3, f"s3://{bucket.name}/code-of-mine", bucket=bucket.name)

    assert from_s3 == pack_source(s3, "mine", bucket=bucket.name)


def test_an_archive_in_s3_is_used_as_it_is() -> None:
    nothing: Any = None

    assert pack_source(nothing, "s3://acme/v1/sourcedir.tar.gz", bucket="b") == "s3://acme/v1/sourcedir.tar.gz"


def test_a_source_that_is_not_there_or_holds_nothing_is_named(project: Path, s3: S3Client, bucket: Bucket) -> None:
    (project / "empty").mkdir()
    (project / "linked").mkdir()
    (project / "linked/train.py").symlink_to(project / "mine/train.py")
    for source, message in {
        "nowhere": "The source nowhere is not a folder of this project",
        "empty": "The source empty has no file",
        "linked": r"linked/train\.py is a link",
        f"s3://{bucket.name}/nothing/": "has no file",
    }.items():
        with pytest.raises(SourceCodeError, match=message):
            read_source(s3, source)


def test_data_beside_a_script_is_refused(project: Path, s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_code, "MOST_BYTES", 10)

    with pytest.raises(SourceCodeError, match=r"more than 0 MB: leave data out of it, .*further_channels"):
        read_source(s3, "mine")
