from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from include.recordio.format import MAGIC
from job_folders import JobError
from record_files import RecordFile
from tests.algorithms.job import Record, write_records

RECORDS: list[Record] = [
    ([1.0], b"first"),
    ([2.0], MAGIC + b"abcd" + MAGIC + b"efg"),
    ([0.0], b""),
    ([3.0], b"last, of another length"),
]


@pytest.mark.parametrize("index", [False, True], ids=["scanned", "indexed"])
def test_records_are_read_by_number_in_any_order(tmp_path: Path, index: bool) -> None:
    write_records(tmp_path / "a.rec", RECORDS, index=index)
    file = RecordFile(tmp_path / "a.rec")

    assert file.was_scanned is not index
    assert len(file) == 4
    for number in (3, 1, 0, 2):
        labels, image = file.read(number)
        assert labels.tolist() == list(RECORDS[number][0])
        assert bytes(image) == RECORDS[number][1]
    assert file.labels[:, 0].tolist() == [1, 2, 0, 3]


def test_several_labels_stand_before_the_image(tmp_path: Path) -> None:
    write_records(tmp_path / "a.rec", [([0.0, 1.0, 1.0], b"x"), ([1.0, 0.0, 0.0], b"y")])

    assert np.array_equal(RecordFile(tmp_path / "a.rec").labels, [[0, 1, 1], [1, 0, 0]])


def test_a_loader_worker_maps_the_file_anew(tmp_path: Path) -> None:
    write_records(tmp_path / "a.rec", RECORDS)
    file = RecordFile(tmp_path / "a.rec")

    assert bytes(pickle.loads(pickle.dumps(file)).read(0)[1]) == b"first"


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.rec").touch()

    assert len(RecordFile(tmp_path / "a.rec")) == 0


def test_records_with_different_numbers_of_labels_are_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "a.rec", [([0.0], b"x"), ([1.0, 0.0, 0.0], b"y")])

    with pytest.raises(JobError, match="have 1 to 3 labels: all need as many"):
        RecordFile(tmp_path / "a.rec")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda data: data[:-4], "a record of 47 bytes that the file does not hold at byte 128"),
        (lambda data: data + b"abcd", "the file ends at byte 184"),
        (lambda data: b"abcd" + data[4:], "no record at byte 0"),
        (lambda data: data[72:], "a record without a beginning at byte 0"),
        (lambda data: data[:72] + data[:40], "a record without an end at byte 40"),
    ],
)
def test_damage_is_named_with_its_byte(tmp_path: Path, damage: object, found: str) -> None:
    write_records(tmp_path / "a.rec", RECORDS)
    data = (tmp_path / "a.rec").read_bytes()
    (tmp_path / "a.rec").write_bytes(damage(data))  # type: ignore[operator]

    with pytest.raises(JobError, match=r"a\.rec is damaged: .*Upload the file again") as raised:
        RecordFile(tmp_path / "a.rec")
    assert found in str(raised.value)


@pytest.mark.parametrize("text", ["", "no index", "0\t4\n1\t44\n", "0\t0\n"])
def test_an_index_that_is_not_the_files_is_refused(tmp_path: Path, text: str) -> None:
    write_records(tmp_path / "a.rec", RECORDS)
    (tmp_path / "a.idx").write_text(text)

    with pytest.raises(JobError, match="Remove it: the file is then scanned"):
        RecordFile(tmp_path / "a.rec")
