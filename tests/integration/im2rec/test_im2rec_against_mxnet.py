"""Our command line against MXNet's own im2rec.py: the same arguments, the same files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from im2rec.__main__ import main
from include.recordio.format import MAGIC
from tests.integration.recordio.test_against_mxnet import read_file, run_in_mxnet
from tests.support.hard_pictures import hard_images, write_images
from tests.support.pictures import jpeg, png

ODD_LABELS = (["0"], ["-1"], ["2.5"], ["1e3"], ["0.1"], [" 7 "], ["16777217"], ["1_0"], ["3.4e38"], ["-0.0"], ["+4"])
SEVERAL_LABELS = (["1", "0", "0.5"], ["0", "1", "-2"], ["1e-3", " 2 ", "3"])

PACKED: dict[str, tuple[list[str], tuple[list[str], ...]]] = {
    "default": ([], ODD_LABELS),
    "one-thread": (["--num-thread", "1", "--resize", "20"], ODD_LABELS),
    "many-threads": (["--num-thread", "7", "--resize", "20"], ODD_LABELS),
    "enlarged": (["--resize", "90"], ODD_LABELS),
    "cropped": (["--center-crop"], ODD_LABELS),
    "cropped-resized": (["--center-crop", "--resize", "16", "--quality", "40"], ODD_LABELS),
    "best": (["--quality", "100"], ODD_LABELS),
    "worst": (["--quality", "1"], ODD_LABELS),
    "gray": (["--color", "0", "--resize", "24"], ODD_LABELS),
    "gray-png": (["--color", "0", "--encoding", ".png", "--center-crop"], ODD_LABELS),
    "stored": (["--color", "-1", "--encoding", ".png"], ODD_LABELS),
    "stored-resized": (["--color", "-1", "--encoding", ".png", "--resize", "12", "--quality", "1"], ODD_LABELS),
    "png": (["--encoding", ".png", "--quality", "9", "--resize", "30"], ODD_LABELS),
    "as-they-are": (["--pass-through", "--resize", "10"], ODD_LABELS),
    "all-labels": (["--pack-label", "--resize", "28"], SEVERAL_LABELS),
    "all-labels-of-one": (["--pack-label", "--resize", "28"], ODD_LABELS),
    "first-label": (["--resize", "28"], SEVERAL_LABELS),
    "all-labels-as-they-are": (["--pack-label", "--pass-through"], SEVERAL_LABELS),
}

LISTED: dict[str, list[str]] = {
    "flat": [],
    "folders": ["--recursive"],
    "names": ["--recursive", "--no-shuffle"],
    "split": ["--recursive", "--train-ratio", "0.6", "--test-ratio", "0.2"],
    "no-validation": ["--recursive", "--train-ratio", "0.75", "--test-ratio", "0.25"],
    "no-test": ["--recursive", "--train-ratio", "0.8"],
    "no-training": ["--recursive", "--train-ratio", "0"],
    "chunks": ["--recursive", "--chunks", "4"],
    "chunks-split": ["--recursive", "--chunks", "3", "--train-ratio", "0.5", "--test-ratio", "0.3", "--no-shuffle"],
    "more-chunks-than-images": ["--chunks", "20"],
    "extensions": ["--recursive", "--exts", ".png", ".bmp", ".tif"],
}


def list_lines(names: list[str], labels: tuple[list[str], ...]) -> str:
    lines = ["\t".join([str(7 * number), *labels[number % len(labels)], name]) for number, name in enumerate(names)]
    lines[1] = f"  {lines[1]}  "
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists to pack and what im2rec.py made of them, below `theirs`; the same lists below `ours`."""
    folder = tmp_path_factory.mktemp("im2rec")
    images = hard_images()
    write_images(folder / "root", images)
    tree = {f"{name}/{number}.JPG": jpeg(9, 9) for name in ("b", "a", "a/ü", "c d") for number in range(5)}
    tree |= {
        "z.png": png(9, 9),
        "y.jpg": jpeg(9, 9),
        "x.jpeg": jpeg(9, 9),
        "notes.txt": b"",
        "b/w.bmp": b"",
        "none": b"",
    }
    write_images(folder / "tree", tree)
    (folder / "tree" / "empty").mkdir()
    runs = []
    for side in ("theirs", "ours"):
        (folder / side).mkdir()
        for case, (_, labels) in PACKED.items():
            (folder / side / f"{case}.lst").write_text(list_lines(list(images), labels))
    # A prefix of theirs stands for every list that begins with it: in full, it stands for one.
    runs += [
        [str(folder / "theirs" / f"{case}.lst"), str(folder / "root"), *arguments]
        for case, (arguments, _) in PACKED.items()
    ]
    for case, arguments in LISTED.items():
        for side in ("theirs", "ours"):
            (folder / side / case).mkdir()
        runs.append([str(folder / "theirs" / case / "made"), str(folder / "tree"), "--list", *arguments])
    run_in_mxnet("run_im2rec.py", json.dumps(runs))
    return folder


@pytest.mark.parametrize("case", PACKED)
def test_records_and_index_are_those_of_im2rec(case: str, folder: Path) -> None:
    assert main([str(folder / "ours" / case), str(folder / "root"), *PACKED[case][0]]) == 0

    for suffix in (".rec", ".idx"):
        theirs = (folder / "theirs" / case).with_suffix(suffix).read_bytes()
        ours = (folder / "ours" / case).with_suffix(suffix).read_bytes()
        assert len(ours) == len(theirs)
        assert ours == theirs


@pytest.mark.parametrize("case", LISTED)
def test_lists_are_those_of_im2rec(case: str, folder: Path) -> None:
    assert main([str(folder / "ours" / case / "made"), str(folder / "tree"), "--list", *LISTED[case]]) == 0

    theirs, ours = (
        {path.name: path.read_bytes() for path in (folder / side / case).iterdir()} for side in ("theirs", "ours")
    )
    assert ours == theirs
    assert len(theirs) == len([name for name in theirs if name.endswith(".lst")]) > 0


def test_mxnet_trains_on_what_was_listed_and_packed(tmp_path: Path) -> None:
    write_images(tmp_path / "root", {f"{label}/{number}.jpg": jpeg(30, 40) for label in "ab" for number in range(2)})
    prefix = tmp_path / "made"

    assert main([str(prefix), str(tmp_path / "root"), "--list", "--recursive", "--no-shuffle"]) == 0
    assert main([str(prefix), str(tmp_path / "root"), "--resize", "28"]) == 0

    read = read_file(prefix, 28, 1)
    assert [batch["labels"] for batch in read["batches"]] == [[0.0], [0.0], [1.0], [1.0]]
    assert [record["id"] for record in read["records"].values()] == [0, 1, 2, 3]


def test_mxnet_reads_several_labels_and_images_that_hold_the_magic(tmp_path: Path) -> None:
    plain = jpeg(30, 30)
    comments = [bytes(blanks) + MAGIC * 9 + b"odd" for blanks in range(4)]
    laced = [plain[:2] + b"\xff\xfe" + (2 + len(text)).to_bytes(2, "big") + text + plain[2:] for text in comments]
    write_images(tmp_path / "root", {f"{number}.jpg": image for number, image in enumerate(laced)})
    lines = [f"{number}\t{number % 2}\t0\t1\t{number}.jpg\n" for number in range(len(laced))]
    (tmp_path / "laced.lst").write_text("".join(lines))

    assert main([str(tmp_path / "laced"), str(tmp_path / "root"), "--pass-through", "--pack-label"]) == 0

    read = read_file(tmp_path / "laced", 28, 3)
    assert [record["image"] for record in read["records"].values()] == [
        hashlib.sha256(image).hexdigest() for image in laced
    ]
    assert [batch["labels"] for batch in read["batches"]] == [[float(number % 2), 0.0, 1.0] for number in range(4)]
