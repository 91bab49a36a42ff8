from __future__ import annotations

import hashlib
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from include.datasets import upload
from include.datasets.upload import etag_in_parts, main
from tests.support.dataset_bucket import Bucket
from tests.unit.docs.commands import shown

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for pet in ("cat", "dog ü"):
        (root / pet).mkdir(parents=True)
        for number in range(3):
            (root / pet / f"{number} a.jpg").write_bytes(f"{pet} {number}".encode())
    return root


@pytest.fixture
def run(bucket: Bucket, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def call(folder: Path, *options: str, target: str = "") -> tuple[int, str]:
        out = io.StringIO()
        to = target or f"s3://{bucket.name}/pets"
        code = main([str(folder), to, "--endpoint-url", endpoint, *options], out)
        return code, out.getvalue()

    return call


def test_a_folder_is_uploaded_with_its_names(run: Run, bucket: Bucket, folder: Path) -> None:
    code, said = run(folder)

    assert code == 0
    assert bucket.listing("") == sorted(f"pets/{pet}/{n} a.jpg" for pet in ("cat", "dog ü") for n in range(3))
    assert bucket.get("pets/dog ü/1 a.jpg") == "dog ü 1".encode()
    assert "6 sent, 0 there already" in said


def test_the_command_of_the_container_template_uploads(
    run: Run, endpoint: str, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    (command,) = shown("python -m include.datasets.upload *")
    given = {"FOLDER": str(folder), "s3://BUCKET/PREFIX/": f"s3://{bucket.name}/template/"}

    assert main([given[word] for word in command.words[3:]], io.StringIO()) == 0

    assert len(bucket.listing("template/")) == 6


def test_only_what_is_missing_or_differs_is_sent(run: Run, bucket: Bucket, folder: Path) -> None:
    run(folder)
    (folder / "cat/1 a.jpg").write_bytes(b"cat 9")
    (folder / "cat/new.jpg").write_bytes(b"new")

    code, said = run(folder)

    assert (code, bucket.get("pets/cat/1 a.jpg")) == (0, b"cat 9")
    assert "2 sent, 5 there already" in said


def test_a_dry_run_sends_nothing_and_says_what_is_missing(run: Run, bucket: Bucket, folder: Path) -> None:
    code, said = run(folder, "--dry-run")
    assert (code, bucket.listing("")) == (1, [])
    assert "6 would be sent" in said

    run(folder)
    assert run(folder, "--dry-run")[0] == 0


@pytest.mark.parametrize("metadata", [True, False])
def test_large_files_go_in_parts_and_are_known_again(
    run: Run, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch, metadata: bool
) -> None:
    monkeypatch.setattr(upload, "LARGE", 6 << 20)
    monkeypatch.setattr(upload, "PART", 5 << 20)
    body = os.urandom(12 << 20)
    (folder / "large.tif").write_bytes(body)

    assert run(folder)[0] == 0
    head = bucket.s3.head_object(Bucket=bucket.name, Key="pets/large.tif")
    assert head["ETag"].strip('"') == etag_in_parts(folder / "large.tif", 5 << 20)
    assert head["Metadata"] == {"md5": hashlib.md5(body).hexdigest()}
    if not metadata:  # as another tool would have left it
        monkeypatch.setattr(upload.StoredObjects, "holds", lambda *_: False)
        assert "1 there already" in run(folder, "--dry-run")[1]
    else:
        assert "0 sent, 7 there already" in run(folder)[1]


def test_what_cannot_be_uploaded_is_named_and_counted(run: Run, bucket: Bucket, folder: Path) -> None:
    (folder / "cat/.DS_Store").write_bytes(b"x")
    (folder / "cat/loop").symlink_to(folder)
    (folder / "cat/gone.jpg").symlink_to(folder / "nowhere")
    Path(os.fsdecode(os.fsencode(folder) + b"/cat/\xff.jpg")).write_bytes(b"x")
    os.mkfifo(folder / "cat/pipe")

    code, said = run(folder)

    assert code == 1
    assert "6 sent, 0 there already, 1 hidden or system files and folders left out" in said
    assert "not uploaded: cat/loop/: a symbolic link to a folder above it\n" in said
    assert "not uploaded: cat/gone.jpg: No such file or directory\n" in said
    assert "not uploaded: cat/\\udcff.jpg: its name is not UTF-8\n" in said
    assert "not uploaded: cat/pipe: not a file" in said
    assert len(bucket.listing("")) == 6


def test_a_file_that_goes_away_on_the_way_is_named(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def unreadable(path: Path) -> bytes:
        if path.name == "1 a.jpg":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    code, said = run(folder)

    assert code == 1
    assert "not uploaded: cat/1 a.jpg: Permission denied" in said


@pytest.mark.parametrize(
    ("target", "said"), [("s3://there-is-none-of-it/", "there is no such bucket"), ("bucket/x", "is not an S3 address")]
)
def test_mistakes_are_one_line(run: Run, folder: Path, target: str, said: str) -> None:
    code, text = run(folder, target=target)

    assert code == 2
    assert said in text
    assert text.count("\n") == 1


def test_a_folder_that_is_not_there_is_a_mistake(run: Run, folder: Path) -> None:
    assert run(folder / "none") == (2, f"FOLDER = {folder / 'none'}: there is no such folder\n")


def test_after_an_interrupt_the_same_command_goes_on(
    run: Run, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def interrupted(path: Path) -> bytes:
        if path.parent.name.startswith("dog"):
            signal.raise_signal(signal.SIGINT)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", interrupted)
    code, said = run(folder)
    assert code == 130
    assert "run the same command to continue" in said
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    assert run(folder)[0] == 0
    assert len(bucket.listing("")) == 6


def test_a_terminal_shows_one_line_that_changes(bucket: Bucket, run: Run, folder: Path, endpoint: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    assert main([str(folder), f"s3://{bucket.name}/pets/", "--endpoint-url", endpoint], out) == 0
    assert "\r6 of 6 files" in out.getvalue()
