from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import cv2
import numpy as np
import pytest
from moto import mock_aws

from im2rec.inspect import main
from im2rec.inspection import check_index
from include.recordio.format import RecordWriter, encode_image_record, encode_record
from tests.support.pictures import jpeg, png


def write_records(prefix: Path, records: list[tuple[int, list[float], bytes]]) -> Path:
    with prefix.with_suffix(".rec").open("wb") as rec, prefix.with_suffix(".idx").open("wb") as idx:
        writer = RecordWriter(rec, idx)
        for number, labels, image in records:
            writer.write(number, encode_image_record(labels, number, image))
    return prefix.with_suffix(".rec")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    images = [jpeg(20, 30), png(24, 18), jpeg(40, 10, seed=1)]
    return write_records(tmp_path / "train", [(number, [number % 2], image) for number, image in enumerate(images)])


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = main([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_sound_file_is_counted(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = inspected(capsys, str(sound), "--decode")
    assert status == 0
    assert found["is_sound"]
    assert found["size"] == sound.stat().st_size
    assert (found["records"], found["labels"]) == (3, {"0.0": 2, "1.0": 1})
    assert found["formats"] == {"JPEG": 2, "PNG": 1}
    assert (found["widths"]["smallest"], found["widths"]["largest"], found["heights"]["total"]) == (10, 30, 84)
    assert found["index"] == {"lines": 3, "foreign_keys": 0, "faults": []}


def test_a_sound_file_reads_well(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sound)]) == 0
    told = capsys.readouterr().out
    assert f"{sound}: 3 records" in told
    assert "2 different; records by number of labels: 3 with 1" in told
    assert "width    10 to 30 pixels, 19.3 in the mean" in told
    assert told.endswith("sound\n")


def test_several_labels_are_the_labels_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_records(tmp_path / "a", [(0, [5, 7.5], jpeg()), (1, [9, 7.5], jpeg()), (2, [5, -1], jpeg())])
    _, found = inspected(capsys, str(path))
    assert (found["label_widths"], found["labels"]) == ({"2": 3}, {"5.0": 2, "7.5": 2, "9.0": 1, "-1.0": 1})
    assert found["labels_by_place"] == [{"5.0": 2, "9.0": 1}, {"7.5": 2, "-1.0": 1}]
    main([str(path)])
    told = capsys.readouterr().out
    assert "  labels   4 different; records by number of labels: 3 with 2\n" in told
    assert "  label 1 of 2: 5 in 2 records, 9 in 1\n" in told
    assert "  label 2 of 2: -1 in 1 record, 7.5 in 2\n" in told


def test_a_0_or_1_for_each_class_reads_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_records(tmp_path / "a", [(0, [1, 0, 1], jpeg()), (1, [0, 0, 1], jpeg())])
    _, found = inspected(capsys, str(path))
    assert found["labels"] == {"0.0": 2, "1.0": 2}
    assert found["labels_by_place"] == [{"0.0": 1, "1.0": 1}, {"0.0": 2}, {"1.0": 2}]
    main([str(path)])
    told = capsys.readouterr().out
    assert [line.removeprefix("  labels").strip() for line in told.splitlines() if " of 3: " in line] == [
        "label 1 of 3: 0 in 1 record, 1 in 1",
        "label 2 of 3: 0 in 2 records",
        "label 3 of 3: 1 in 2 records",
    ]


def test_a_label_that_a_record_has_twice_counts_one_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_records(tmp_path / "a", [(0, [4, 4, 4], jpeg()), (1, [4, 6, 4], jpeg())])
    assert inspected(capsys, str(path))[1]["labels"] == {"4.0": 2, "6.0": 1}


def test_many_labels_are_cut_short_in_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [(number, [number, *range(30)], jpeg()) for number in range(12)]
    main([str(write_records(tmp_path / "a", records)), "--labels", "8"])  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    assert (
        "label 1 of 31: 0 in 1 record, 1 in 1, 2 in 1, 3 in 1, 4 in 1, 5 in 1, 6 in 1, 7 in 1, ... 4 others" in lines[2]
    )
    assert "label 8 of 31: 6 in 12 records" in lines[9]
    assert lines[10].endswith("  ... 23 more labels of a record")


def test_files_with_records_of_one_and_of_several_labels_show_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_records(tmp_path / "a", [(0, [3], jpeg()), (1, [3, 8], jpeg())])
    status, found = inspected(capsys, str(path))
    assert (status, found["labels"], found["labels_by_place"]) == (1, {"3.0": 2, "8.0": 1}, [{"3.0": 1}, {"8.0": 1}])
    main([str(path)])
    told = capsys.readouterr().out
    assert "  3: 2\n" in told
    assert "label 2 of 2: 8 in 1 record\n" in told


def test_the_first_bad_byte_is_named(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = int(sound.with_suffix(".idx").read_text().splitlines()[1].split("\t")[1])
    sound.write_bytes(sound.read_bytes()[: second + 20])
    status, found = inspected(capsys, str(sound))
    assert (status, found["records"], found["damaged_at"]) == (1, 1, second)
    assert main([str(sound)]) == 1
    assert f"damaged at byte {second}: the file ends after 12 of" in capsys.readouterr().out


def test_records_without_a_readable_image_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_records(tmp_path / "a", [(0, [1], jpeg()), (1, [0], b"text")])
    with path.open("ab") as rec:
        rec.write(encode_record(b"short"))
    status, found = inspected(capsys, str(path))
    assert (status, found["unreadable"]) == (1, 2)
    assert "id 1: 4 bytes that begin with 74 65 78 74: no readable image" in found["faults"][0]
    assert "shorter than its header" in found["faults"][1]


def test_what_ends_a_training_is_not_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    webp = cv2.imencode(".webp", np.zeros((20, 20, 3), np.uint8))[1].tobytes()
    path = write_records(tmp_path / "a", [(0, [1], jpeg()), (1, [0], webp)])
    status, found = inspected(capsys, str(path))
    assert status == 1
    assert found["faults"][0].endswith("id 1: MXNet's decoders read no WebP: it ends with this image")
    assert main([str(write_records(tmp_path / "none", []))]) == 1
    told = capsys.readouterr().out
    assert "the file has no record" in told
    assert told.endswith("NOT SOUND\n")


def test_decoding_finds_what_the_header_hides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = png(30, 30)
    place = picture.index(b"IDAT") + 20
    path = write_records(tmp_path / "a", [(0, [1], picture[:place] + bytes(50) + picture[place + 50 :])])
    assert inspected(capsys, str(path))[0] == 0
    assert inspected(capsys, str(path), "--decode")[0] == 1


def test_two_widths_of_labels_are_not_sound_and_repeated_ids_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_records(tmp_path / "a", [(5, [1], jpeg()), (5, [1, 0], jpeg())])
    status, found = inspected(capsys, str(path))
    assert (status, found["label_widths"], found["repeated_ids"]) == (1, {"1": 1, "2": 1}, 1)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda lines: lines[:2], "1 records from byte"),
        (lambda lines: lines[1:], "the record at byte 0 is not in it"),
        (lambda lines: [*lines, b"9\t3\n"], "key 9: no record begins at byte 3"),
        (lambda lines: [lines[0], *lines], "key 0: no record begins at byte 0, or a key before leads there"),
        (lambda lines: [*lines, b"nine 3\n"], "line 4: b'nine 3\\n' is not a key and byte offset"),
    ],
)
def test_an_index_that_leads_astray_is_not_sound(
    change: Any, fault: str, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = sound.with_suffix(".idx")
    index.write_bytes(b"".join(change(index.read_bytes().splitlines(keepends=True))))
    status, found = inspected(capsys, str(sound))
    assert status == 1
    assert found["index"]["faults"][0].startswith(fault)


def test_an_index_in_another_order_with_keys_of_its_own_is_sound(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = sound.with_suffix(".idx")
    lines = index.read_bytes().splitlines()[::-1]
    index.write_bytes(b"".join(b"7" + line + b"\n" for line in lines))
    status, found = inspected(capsys, str(sound))
    assert (status, found["index"]["foreign_keys"]) == (0, 3)


def test_no_index_is_no_fault_and_no_file_is_wrong_use(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound.with_suffix(".idx").unlink()
    assert inspected(capsys, str(sound))[1]["index"] is None
    assert main([str(sound.with_name("gone.rec")), str(sound)]) == 2
    told = capsys.readouterr()
    assert "gone.rec: No such file or directory" in told.err
    assert "3 records" in told.out


def test_objects_are_read_as_a_stream(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="data")
        for path in (sound, sound.with_suffix(".idx")):
            s3.upload_file(str(path), "data", f"sets/{path.name}")
        status, found = inspected(capsys, "s3://data/sets/train.rec")
        assert (status, found["records"], found["index"]["lines"]) == (0, 3, 3)
        assert found["size"] == sound.stat().st_size
        assert main(["s3://data/sets/gone.rec"]) == 2
        assert "there is no such object" in capsys.readouterr().err


def test_the_index_of_a_dataset_version_is_found_outside_of_its_channel(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channel, index = tmp_path / "version" / "train", tmp_path / "version" / "index"
    channel.mkdir(parents=True)
    index.mkdir()
    sound.rename(channel / "train.rec")
    sound.with_suffix(".idx").rename(index / "train.idx")

    assert main([str(channel / "train.rec")]) == 0
    assert "lines, right" in capsys.readouterr().out


def test_records_of_a_header_before_the_first_image_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [(number, [number % 2], jpeg(seed=number)) for number in (2, 3, 4)]
    path = write_records(tmp_path / "a", [(0, [5, 9], b""), (1, [5, 9, 7], b""), *images])
    status, found = inspected(capsys, str(path))
    assert (status, found["is_sound"]) == (0, True)
    assert (found["records"], found["imageless"], found["imageless_at"]) == (5, 2, [])
    assert (found["labels"], found["label_widths"]) == ({"0.0": 2, "1.0": 1}, {"1": 3})
    main([str(path)])
    assert "  headers  2 records of a header and no image\n" in capsys.readouterr().out


@pytest.mark.parametrize("place", [1, 3])
def test_mxnet_ends_at_a_record_of_a_header_behind_an_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    records = [(number, [number % 2], jpeg(seed=number)) for number in range(3)]
    records.insert(place, (9, [5, 9], b""))
    path = write_records(tmp_path / "a", records)  # type: ignore[arg-type]
    status, found = inspected(capsys, str(path))
    assert (status, found["imageless"], found["imageless_at"], found["unreadable"]) == (1, 1, [place + 1], 0)
    main([str(path)])
    assert f"record {place + 1} stands behind an image: MXNet's reader ends there\n" in capsys.readouterr().out


def test_a_file_of_headers_alone_is_not_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_records(tmp_path / "a", [(0, [5, 9], b"")])
    status, found = inspected(capsys, str(path))
    assert (status, found["imageless"], found["is_sound"]) == (1, 1, False)


@pytest.mark.parametrize("number", [b"9" * 5000, b"18446744073709551616", b"\xc2\xb2"])
def test_an_index_with_numbers_that_are_none_is_wrong_and_no_error(number: bytes) -> None:
    for line in (number + b"\t0\n", b"0\t" + number + b"\n"):
        assert "is not a key and byte offset" in check_index([line], [0], [0]).faults[0]
    assert not check_index([b"00\t" + b"0" * 5000 + b"\n"], [0], [0]).faults
