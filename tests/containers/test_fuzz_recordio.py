from __future__ import annotations

import math
from pathlib import Path

import mxnet as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers.image_classification.image_lists import pack_listed_images, read_image_list
from containers.image_classification.record_checks import record_problems
from containers.image_classification.records import scan_records
from tests.fuzz.bounds import damaged, fuzz, within
from tests.support.hostile_images import jpeg_of_scans, png

VALUES = {
    "num_training_samples": 4,
    "mini_batch_size": 2,
    "image_shape": (3, 8, 8),
    "num_classes": 2,
    "multi_label": False,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, ...]:
    path = tmp_path_factory.mktemp("fuzz") / "a.rec"
    magic = b"\x0a\x23\xd7\xce"
    bodies = []
    for labels in ((0.0, 1.0, math.nan, 1e30), ([0.0, 1.0],) * 4):
        writer = mx.recordio.MXRecordIO(str(path), "w")
        for number, image in enumerate((png(), jpeg_of_scans(16, 16, 1), b"\0" * 4 + magic * 3, b"")):
            writer.write(mx.recordio.pack(mx.recordio.IRHeader(0, labels[number], number, 0), image))
        writer.close()
        bodies.append(path.read_bytes())
    return tuple(bodies)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_record_file_is_scanned_and_its_problems_are_named(
    tmp_path: Path, files: tuple[bytes, ...], multi_label: bool
) -> None:
    path = tmp_path / "train.rec"

    @fuzz
    @given(body=damaged(*files))
    def scan(body: bytes) -> None:
        path.write_bytes(body)
        with within(seconds=2, megabytes=100):
            problems = record_problems(scan_records("train", path), VALUES | {"multi_label": multi_label})
        assert all(problem and len(problem) < 1000 for problem in problems)

    scan()


def test_an_image_list_is_read_or_its_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    lines = (
        b"0\t1\ta.png\n1\t0\t../a.png\n",
        b"18446744073709551616\t1\ta.png\n-1\t1\ta.png\n",
        b"2\tnan\ta.png\n3\tinf\ta.png\n4\t1e300\ta.png\n",
        b"5\t0\t" + b"a" * 5000 + b"\n6\t0\ta\0b\n" + b"9" * 5000 + b"\t0\ta.png\n",
    )

    @fuzz
    @given(body=damaged(*lines) | st.sampled_from(lines))
    def read(body: bytes) -> None:
        (tmp_path / "train.lst").write_bytes(body)
        with within(seconds=1, megabytes=50):
            listed, problems = read_image_list(tmp_path / "train.lst", tmp_path)
            pack_listed_images(listed, tmp_path / "train.rec")
        assert all(len(problem) < 2000 for problem in problems)

    read()
