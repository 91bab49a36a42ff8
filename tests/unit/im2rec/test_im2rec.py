"""What is wrong is said, with its list and line, and nothing half is written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from im2rec.__main__ import main
from im2rec.inspection import inspect_records
from include.recordio.format import read_records
from tests.support.pictures import jpeg, png

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(6):
        (root / f"{number}.jpg").write_bytes(jpeg(20, 24, seed=number))
    return root


def write_list(folder: Path, *lines: str, name: str = "train") -> Path:
    (folder / f"{name}.lst").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / name


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize(
    "bad",
    [
        ("missing.jpg", None, "there is no such file"),
        ("empty.jpg", b"", "no bytes"),
        ("text.jpg", b"no image at all", "no image format"),
        ("broken.png", png(20, 20)[:40], "decoded"),
        ("nul\0.jpg", None, "null byte"),
    ],
)
def test_a_bad_image_is_named_with_its_line_and_nothing_is_written(
    threads: str, bad: tuple[str, bytes | None, str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, source, reason = bad
    if source is not None:
        (root / name).write_bytes(source)
    prefix = write_list(root.parent, "0\t1\t0.jpg", f"1\t0\t{name}", "2\t1\t2.jpg", "3\t1\tgone.jpg")

    assert main([str(prefix), str(root), "--num-thread", threads]) == 1

    told = capsys.readouterr().err
    line = next(line for line in told.splitlines() if line.startswith(f"{prefix}.lst:2: {name}: "))
    assert reason in line
    assert f"{prefix}.lst:4: gone.jpg: there is no such file" in told
    assert f"{prefix}.lst: 2 of its 4 lines are bad: no train.rec is written" in told
    assert files(root.parent) == {"train.lst"}


def test_folders_and_pipes_are_no_images(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    prefix = write_list(root.parent, "0\t1\tfolder.jpg", "1\t0\tpipe.jpg")
    assert main([str(prefix), str(root)]) == 1
    told = capsys.readouterr().err
    assert "train.lst:1: folder.jpg: it is a folder" in told
    assert "train.lst:2: pipe.jpg: it is not a file" in told


def test_a_file_over_the_limit_of_a_record_is_refused_unread(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (root / "large.jpg").open("wb") as large:
        large.truncate(1 << 29)
    prefix = write_list(root.parent, "0\t1\t0.jpg", "1\t0\tlarge.jpg")
    assert main([str(prefix), str(root), "--pass-through"]) == 1
    assert "train.lst:2: large.jpg: its 536870912 bytes are over RecordIO's limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 0 1.jpg", "1 field(s) between tabs"),
        ("1\t1.jpg", "2 field(s) between tabs"),
        ("1\t0\t", "2 field(s) between tabs"),
        ("one\t0\t1.jpg", "the index 'one' is not a whole number"),
        ("-1\t0\t1.jpg", "the index -1 is not between"),
        ("18446744073709551616\t0\t1.jpg", "is not between 0 and 2^64 - 1"),
        ("1\tcat\t1.jpg", "the label 'cat' is not a finite number"),
        ("1\tnan\t1.jpg", "the label 'nan' is not a finite number"),
        ("1\t1e39\t1.jpg", "the label '1e39' is not a finite number of 32 bits"),
    ],
)
def test_a_malformed_line_is_named(line: str, reason: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_list(root.parent, "0\t1\t0.jpg", "", line)
    assert main([str(prefix), str(root)]) == 1
    told = capsys.readouterr().err
    assert any(text.startswith(f"{prefix}.lst:3: ") and reason in text for text in told.splitlines())
    assert files(root.parent) == {"train.lst"}


def test_labels_of_another_width_are_refused_where_all_are_packed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = write_list(root.parent, "0\t1\t0\t0.jpg", "1\t1\t1.jpg")
    assert main([str(prefix), str(root), "--pack-label"]) == 1
    assert "train.lst:2: 1 labels, the lines before have 2" in capsys.readouterr().err
    assert main([str(prefix), str(root)]) == 0
    assert "up to 2 labels a line, of which the first is packed" in capsys.readouterr().err


def test_skipping_bad_lines_packs_the_others_and_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_list(root.parent, "0\t1\t0.jpg", "1\t0\tgone.jpg", "what", "3\t1\t3.jpg")

    assert main([str(prefix), str(root), "--skip-bad"]) == 3

    told = capsys.readouterr().err
    assert "train.lst:2: gone.jpg: there is no such file" in told
    assert "2 images" in told
    assert "2 bad lines left out" in told
    with prefix.with_suffix(".rec").open("rb") as rec, prefix.with_suffix(".idx").open("rb") as idx:
        found = inspect_records("train.rec", rec, idx)
    assert (found.records, found.is_sound) == (2, True)
    assert prefix.with_suffix(".idx").read_text().split("\t")[0] == "0"


def test_a_list_of_bad_images_only_is_never_packed(root: Path) -> None:
    prefix = write_list(root.parent, "0\t1\tgone.jpg")
    assert main([str(prefix), str(root), "--skip-bad"]) == 1
    assert files(root.parent) == {"train.lst"}


@pytest.mark.parametrize("lines", [(), ("",)])
def test_an_empty_list_is_an_error(lines: tuple[str, ...], root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_list(root.parent, *lines)
    assert main([str(prefix), str(root)]) == 1
    assert "it names no image: no train.rec is written" in capsys.readouterr().err


def test_a_thousand_bad_images_end_the_search(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_list(root.parent, *(f"{number}\t0\tgone/{number}.jpg" for number in range(1500)))
    assert main([str(prefix), str(root)]) == 1
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1001
    assert f"is {root} the root of its paths?" in told


def test_records_of_before_stay_where_packing_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_list(root.parent, "0\t1\t0.jpg")
    assert main([str(prefix), str(root)]) == 0
    before = {name: (root.parent / name).read_bytes() for name in ("train.rec", "train.idx")}
    write_list(root.parent, "0\t1\tgone.jpg")
    assert main([str(prefix), str(root)]) == 1
    assert "the one that was there stays" in capsys.readouterr().err
    assert {name: (root.parent / name).read_bytes() for name in before} == before


def test_a_truncated_jpeg_is_packed_as_im2rec_does_and_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "half.jpg").write_bytes(jpeg(60, 80)[:700])
    prefix = write_list(root.parent, "0\t1\t0.jpg", "1\t1\thalf.jpg")
    assert main([str(prefix), str(root)]) == 0
    assert "train.lst:2: half.jpg: packed, but the JPEG ends early" in capsys.readouterr().err


def test_an_index_that_stands_twice_is_told_of(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_list(root.parent, "4\t1\t0.jpg", "900000000000\t1\t1.jpg", "4\t1\t2.jpg", "900000000000\t1\t3.jpg")
    assert main([str(prefix), str(root)]) == 0
    assert "train.lst:3: the index 4 stands in a line before (2 such lines)" in capsys.readouterr().err


def test_a_prefix_packs_its_own_lists_only(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train", "train_0", "train_val", "train_1_test", "train2", "train_old"):
        write_list(root.parent, "0\t1\t0.jpg", name=name)
    assert main([str(root.parent / "train"), str(root)]) == 0
    assert {name for name in files(root.parent) if name.endswith(".rec")} == {
        "train.rec",
        "train_0.rec",
        "train_val.rec",
        "train_1_test.rec",
    }
    assert "not packed, name them in full if they should be: train2.lst, train_old.lst" in capsys.readouterr().err


def test_a_folder_stands_for_the_lists_in_it(root: Path) -> None:
    lists = root.parent / "lists"
    lists.mkdir()
    for name in ("one", "two"):
        write_list(lists, "0\t1\t0.jpg", name=name)
    assert main([str(lists), str(root)]) == 0
    assert files(lists) == {"one.lst", "one.rec", "one.idx", "two.lst", "two.rec", "two.idx"}


def test_a_prefix_without_a_list_is_an_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(root.parent / "nothing"), str(root)]) == 1
    assert "nothing.lst: there is no such list" in capsys.readouterr().err


def test_one_bad_list_keeps_no_other_from_being_packed(root: Path) -> None:
    write_list(root.parent, "0\t1\tgone.jpg", name="train_train")
    write_list(root.parent, "0\t1\t0.jpg", name="train_val")
    assert main([str(root.parent / "train"), str(root)]) == 1
    assert files(root.parent) == {"train_train.lst", "train_val.lst", "train_val.rec", "train_val.idx"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--chunks", "0"],
        ["--resize", "-1"],
        ["--quality", "101"],
        ["--train-ratio", "0.8", "--test-ratio", "0.3"],
        ["--exts", "JPG"],
        ["--color", "2"],
        ["--encoding", ".webp"],
    ],
)
def test_wrong_use_has_a_status_of_its_own(arguments: list[str], root: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(root.parent / "train"), str(root), *arguments])
    assert ended.value.code == 2


def test_listing_tells_of_what_no_list_can_hold(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "a\tb.jpg").write_bytes(b"")
    (root / "nowhere.jpg").symlink_to("gone")
    (root / "loop").symlink_to(".")
    (root / "x.webp").write_bytes(b"")
    prefix = root.parent / "train"

    assert main([str(prefix), str(root), "--list", "--recursive"]) == 1

    told = capsys.readouterr().err
    assert "'a\\tb.jpg': a list cannot hold a name with a tab" in told
    assert "nowhere.jpg: a link that leads nowhere" in told
    assert "loop: a link to a folder it stands in" in told
    assert files(root.parent) == set()
    assert main([str(prefix), str(root), "--list", "--recursive", "--skip-bad"]) == 3
    assert len((root.parent / "train.lst").read_text().splitlines()) == 6
    assert "1 files with other extensions are in no list: 1 .webp" in capsys.readouterr().err


def test_listing_no_image_is_an_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(root.parent / "train"), str(root), "--list", "--exts", ".tif"]) == 1
    assert "no image with the extension .tif" in capsys.readouterr().err
    assert main([str(root.parent / "train"), str(root / "gone"), "--list"]) == 1
    assert "the root is not a folder" in capsys.readouterr().err
    assert files(root.parent) == set()


def test_images_that_rounding_leaves_in_no_list_are_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "6.jpg").write_bytes(jpeg())
    arguments = ["--list", "--train-ratio", "0.5", "--test-ratio", "0.5"]
    assert main([str(root.parent / "train"), str(root), *arguments]) == 0
    assert "1 images are in no list" in capsys.readouterr().err


def test_names_that_are_no_unicode_are_listed_and_packed(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9.jpg")).write_bytes(jpeg())
    prefix = root.parent / "train"
    assert main([str(prefix), str(root), "--list"]) == 0
    assert main([str(prefix), str(root), "--silent"]) == 0
    with prefix.with_suffix(".rec").open("rb") as rec:
        assert len(list(read_records(rec))) == 7


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A folder for a user to whom permissions matter, whoever runs the tests."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_what_may_not_be_read_or_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with without_privileges() as folder:
        (folder / "0.jpg").write_bytes(jpeg())
        (folder / "0.jpg").chmod(0)
        prefix = write_list(folder, "0\t1\t0.jpg")
        assert main([str(prefix), str(folder)]) == 1
        assert "train.lst:1: 0.jpg: it cannot be read: Permission denied" in capsys.readouterr().err
        (folder / "0.jpg").chmod(0o644)
        folder.chmod(0o555)
        assert main([str(prefix), str(folder)]) == 1
        assert "Permission denied: no train.rec is written" in capsys.readouterr().err
        assert files(folder) == {"0.jpg", "train.lst"}
