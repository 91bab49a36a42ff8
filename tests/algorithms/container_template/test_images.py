from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from algorithms.container_template.classifier.augmentation import augmented
from algorithms.container_template.classifier.config import read_config
from algorithms.container_template.classifier.decoding import UndecodableImageError, decode, pixels
from algorithms.container_template.classifier.images import open_images
from algorithms.container_template.classifier.job_folders import JobError, JobFolders
from algorithms.container_template.classifier.record_files import RecordFile
from include.recordio.format import RecordWriter, encode_image_record
from tests.algorithms.job import CLASSES, encoded, picture

MAGIC = b"\x0a\x23\xd7\xce"


def written(path: Path, *records: tuple[list[float], bytes]) -> Path:
    with path.open("wb") as stream:
        writer = RecordWriter(stream, io.BytesIO())
        for number, (labels, image) in enumerate(records):
            writer.write(number, encode_image_record(labels, number, image))
    return path


def test_records_are_what_was_written_also_where_the_magic_number_is_in_an_image(tmp_path: Path) -> None:
    """A record is cut at each magic number that begins at a multiple of four."""
    images = [b"", b"abc", MAGIC, b"abcd" + MAGIC * 3 + b"e", b"a" + MAGIC]
    file = RecordFile(written(tmp_path / "a.rec", *(([float(number)], image) for number, image in enumerate(images))))

    assert [file.image(number) for number in range(len(file))] == images
    assert file.labels == [0, 1, 2, 3, 4]


def test_a_label_behind_the_header_is_read_too(tmp_path: Path) -> None:
    packed = b"\x01\0\0\0" + bytes(20) + np.float32(2).tobytes() + b"image"
    path = tmp_path / "a.rec"
    with path.open("wb") as stream:
        RecordWriter(stream, io.BytesIO()).write(0, packed)

    assert (RecordFile(path).labels, RecordFile(path).image(0)) == ([2.0], b"image")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (MAGIC, "a.rec is damaged: the file ends at byte 0"),
        (bytes(8), "damaged: no record at byte 0"),
        (MAGIC + b"\xff\xff\0\0", "a record of 65535 bytes that the file does not hold at byte 0"),
        (MAGIC + b"\0\0\0\x60", "a record without a beginning at byte 0"),
        (MAGIC + b"\0\0\0\x20" + MAGIC + b"\0\0\0\0", "a record without an end at byte 0"),
        (MAGIC + b"\4\0\0\0abcd", "Record 0 of .*a.rec has no image header"),
    ],
)
def test_a_damaged_record_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.rec").write_bytes(content)

    with pytest.raises(JobError, match=message):
        RecordFile(tmp_path / "a.rec")


def test_records_of_several_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="has 2 labels, and this algorithm learns one class of an image"):
        RecordFile(written(tmp_path / "a.rec", ([0.0, 1.0], b"")))


def test_several_record_files_are_one_channel(tmp_path: Path) -> None:
    folder = tmp_path / "input" / "data" / "train"
    folder.mkdir(parents=True)
    written(folder / "b.rec", ([2.0], b"third"))
    written(folder / "a.rec", ([0.0], b"first"), ([1.0], b"second"))

    images = open_images(JobFolders(tmp_path), "train", CLASSES)

    assert images.labels.tolist() == [0, 1, 2]
    assert [images.encoded(number) for number in range(3)] == [b"first", b"second", b"third"]
    assert images.place(2) == "record 0 of b.rec in channel 'train'"
    with pytest.raises(JobError, match=r"label of record 0 of b.rec .* is 2; expected is a class from 0 to 1"):
        open_images(JobFolders(tmp_path), "train", CLASSES[:2])


def test_folders_within_class_folders_count_and_hidden_files_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "input" / "data" / "train"
    for name in ("a/1.jpg", "a/more/2.PNG", "a/.hidden.jpg", "a/notes.txt", ".cache/3.jpg", "b/4.img"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())

    images = open_images(JobFolders(tmp_path), "train", ("a", "b"))

    assert [images.encoded(number).decode() for number in range(3)] == ["a/1.jpg", "a/more/2.PNG", "b/4.img"]
    assert images.labels.tolist() == [0, 0, 1]
    assert caplog.messages == [
        "Channel 'train': 1 files are left out, as their names are not those of images: notes.txt"
    ]


def test_images_of_every_kind_become_upright_pixels_of_three_colours() -> None:
    deep = Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16))
    lying = Image.new("RGB", (16, 8))
    tags = lying.getexif()
    tags[0x112] = 6
    stream = io.BytesIO()
    lying.save(stream, "JPEG", exif=tags)

    assert decode(encoded(deep, "PNG")).getpixel((0, 0)) == (128, 128, 128)
    assert decode(encoded(Image.new("LA", (8, 8)), "PNG")).mode == "RGB"
    assert decode(stream.getvalue()).size == (8, 16)
    assert pixels(Image.new("RGB", (8, 16)), 12).shape == (12, 12, 3)


def test_what_is_too_large_is_refused_before_it_is_decoded() -> None:
    huge = encoded(Image.new("1", (10_000, 6_000)), "PNG")

    with pytest.raises(UndecodableImageError, match="10000 x 6000 pixels, at most 50000000 are read"):
        decode(huge)


def test_images_are_changed_by_what_the_config_allows_and_by_nothing_else() -> None:
    image = picture([0], 5)
    random = np.random.default_rng(1)

    assert augmented(image, read_config({}), random) is image
    turned = augmented(image, read_config({"rotation": "180"}), random)
    mirrored = {augmented(image, read_config({"flip": "horizontal"}), random).tobytes() for _ in range(20)}
    assert turned.size == image.size
    assert turned.tobytes() != image.tobytes()
    assert mirrored == {image.tobytes(), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()}


def test_zoom_and_shift_move_the_square_around_the_middle() -> None:
    """The same random numbers: a zoom of up to 90 % alone leaves the middle where it is."""
    image = Image.new("L", (29, 29)).convert("RGB")
    image.putpixel((14, 14), (255, 255, 255))

    for seed in range(5):
        zoomed = np.asarray(augmented(image, read_config({"zoom": "0.5"}), np.random.default_rng(seed)))
        assert zoomed[14, 14, 0] == zoomed.max()
    shifted = np.asarray(augmented(image, read_config({"shift": "0.4"}), np.random.default_rng(3)))
    assert shifted[14, 14, 0] == 0
