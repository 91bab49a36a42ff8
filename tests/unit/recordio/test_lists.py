from __future__ import annotations

from pathlib import Path

import pytest

from include.datasets.sources.table_formats import read_list_rows
from include.recordio.lists import BadLine, ListedImage, label_number, line_fields, read_list

LIST = "0\t1.000000\tcats/a b.jpg\n\n 7 \t 0 \t dogs/1.jpg \r\n"


def test_blanks_around_fields_are_no_part_of_them() -> None:
    assert line_fields(" 7 \t 0 \t1\t dogs/a b.jpg \r\n") == ["7", "0", "1", "dogs/a b.jpg"]


@pytest.mark.parametrize(("text", "number"), [("1", 1.0), ("1e3", 1000.0), ("-0.5", -0.5)])
def test_a_label_is_a_number(text: str, number: float) -> None:
    assert label_number(text) == number


@pytest.mark.parametrize("text", ["", "cat", "nan", "inf", "1e39"])
def test_a_label_is_a_finite_number_of_32_bits(text: str) -> None:
    assert label_number(text) is None


def test_im2rec_and_a_dataset_read_the_same_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.lst"
    path.write_text(LIST)

    listed = [*read_list(path)]
    width, rows = read_list_rows("s3://bucket/train.lst", LIST.encode())

    assert listed == [ListedImage(1, 0, (1.0,), "cats/a b.jpg"), ListedImage(3, 7, (0.0,), "dogs/1.jpg")]
    assert width == 1
    assert [(row.line, row.path, row.labels) for row in rows] == [
        (1, "cats/a b.jpg", ("1",)),
        (3, "dogs/1.jpg", ("0",)),
    ]


def test_a_line_with_too_few_fields_names_their_number(tmp_path: Path) -> None:
    path = tmp_path / "train.lst"
    path.write_text("0 1 cats/1.jpg\n")
    assert [*read_list(path)] == [
        BadLine(1, "1 field(s) between tabs; an index, one label or more, and a path are needed")
    ]
