"""The bytes against MXNet's own im2rec.py, and MXNet's own readers on ours."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from include.recordio.format import MAGIC, RecordWriter, encode_image_record
from include.recordio.images import pack_image
from include.recordio.options import ImageOptions
from tests.support.pictures import jpeg, readable_images

SUPPORT = Path(__file__).parents[2] / "support"
MXNET_PYTHON = SUPPORT.parents[1] / ".venv-mxnet" / "bin" / "python"

MATRIX: dict[str, tuple[list[str], ImageOptions]] = {
    "default": ([], ImageOptions()),
    "resize": (["--resize", "32"], ImageOptions(resize=32)),
    "enlarge": (["--resize", "100"], ImageOptions(resize=100)),
    "crop": (["--center-crop"], ImageOptions(center_crop=True)),
    "crop_resize_quality": (
        ["--center-crop", "--resize", "24", "--quality", "60"],
        ImageOptions(center_crop=True, resize=24, quality=60),
    ),
    "png": (["--encoding", ".png"], ImageOptions(encoding=".png")),
    "png_quality": (["--encoding", ".png", "--quality", "3"], ImageOptions(encoding=".png", quality=3)),
    "gray": (["--color", "0", "--resize", "20"], ImageOptions(color=0, resize=20)),
    "as_stored": (["--color", "-1", "--encoding", ".png"], ImageOptions(color=-1, encoding=".png")),
    "pass_through": (["--pass-through"], ImageOptions(pass_through=True)),
    "several_labels": (["--pack-label", "--resize", "28"], ImageOptions(resize=28)),
}


def run_in_mxnet(script: str, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    command = [str(MXNET_PYTHON), str(SUPPORT / script), *arguments]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def labels_of(name: str, number: int) -> list[float]:
    return [float(number % 2), 0.0, 1.0] if name == "several_labels" else [float(number % 3)]


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    return readable_images()


@pytest.fixture(scope="module")
def im2rec_files(tmp_path_factory: pytest.TempPathFactory, images: dict[str, bytes]) -> Path:
    folder = tmp_path_factory.mktemp("im2rec")
    root = folder / "root"
    root.mkdir()
    for name, source in images.items():
        (root / name).write_bytes(source)
    runs = []
    for case, (arguments, _) in MATRIX.items():
        lines = [
            "\t".join([str(number), *(f"{label:f}" for label in labels_of(case, number)), name])
            for number, name in enumerate(images)
        ]
        prefix = folder / case / case
        prefix.parent.mkdir()
        prefix.with_suffix(".lst").write_text("".join(f"{line}\n" for line in lines))
        runs.append([str(prefix), str(root), *arguments])
    run_in_mxnet("run_im2rec.py", json.dumps(runs))
    return folder


@pytest.mark.parametrize("case", MATRIX)
def test_records_and_index_are_those_of_im2rec(case: str, im2rec_files: Path, images: dict[str, bytes]) -> None:
    records, index = io.BytesIO(), io.BytesIO()
    writer = RecordWriter(records, index)
    for number, source in enumerate(images.values()):
        packed = pack_image(source, MATRIX[case][1])
        writer.write(number, encode_image_record(labels_of(case, number), number, packed.data))

    theirs = im2rec_files / case / case
    assert len(records.getvalue()) == theirs.with_suffix(".rec").stat().st_size
    assert records.getvalue() == theirs.with_suffix(".rec").read_bytes()
    assert index.getvalue() == theirs.with_suffix(".idx").read_bytes()


def write_file(prefix: Path, records: list[tuple[int, list[float], bytes]]) -> None:
    with prefix.with_suffix(".rec").open("wb") as rec, prefix.with_suffix(".idx").open("wb") as idx:
        writer = RecordWriter(rec, idx)
        for record_id, labels, image in records:
            writer.write(record_id, encode_image_record(labels, record_id, image))


def read_file(prefix: Path, side: int, label_width: int) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(run_in_mxnet("read_with_mxnet.py", str(prefix), str(side), str(label_width)))
    return read


@pytest.mark.parametrize("width", [1, 3])
def test_mxnet_reads_our_records_and_trains_on_them(tmp_path: Path, width: int) -> None:
    # A comment segment puts the magic into the JPEG itself, on and off multiples of four.
    comment = b"\xff\xfe" + (2 + 43).to_bytes(2, "big") + (MAGIC * 10 + b"odd")
    plain = jpeg(30, 30)
    laced = [
        plain[:2] + comment[:2] + (len(pad) + 45).to_bytes(2, "big") + pad + comment[4:] + plain[2:]
        for pad in (b"", b"1", b"12", b"123")
    ]
    written = [(10 + n, [float((n + k) % 2) for k in range(width)], image) for n, image in enumerate([plain, *laced])]
    write_file(tmp_path / "ours", written)

    read = read_file(tmp_path / "ours", 28, width)

    assert read["records"] == {
        str(record_id): {"id": record_id, "labels": labels, "image": hashlib.sha256(image).hexdigest()}
        for record_id, labels, image in written
    }
    assert [batch["labels"] for batch in read["batches"]] == [labels for _, labels, _ in written]
    assert {tuple(batch["shape"]) for batch in read["batches"]} == {(1, 3, 28, 28)}


def test_mxnet_reads_payloads_made_of_magics(tmp_path: Path) -> None:
    payloads = [b"", MAGIC, MAGIC * 2, b"abcd" + MAGIC, b"abc" + MAGIC, MAGIC + b"x", b"x" * 5 + MAGIC * 3 + b"y"]
    written = [(number, [1.0], payload) for number, payload in enumerate(payloads)]
    write_file(tmp_path / "ours", written)
    read = read_file(tmp_path / "ours", 0, 1)
    assert [record["image"] for record in read["records"].values()] == [
        hashlib.sha256(payload).hexdigest() for payload in payloads
    ]
