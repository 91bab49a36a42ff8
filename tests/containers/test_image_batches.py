from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from containers.image_classification.hyperparameters import Hyperparameters, read_hyperparameters
from containers.image_classification.image_batches import (
    CroppedImages,
    WholeImages,
    augmentation_options,
    training_batches,
)
from containers.image_classification.problems import CustomerError
from containers.image_classification.records import RecordFile, scan_records
from tests.containers.job_folder import corner_images, encoded, picture, several_corners, write_records
from tests.support.hostile_images import chunk, exif_segment, orientation_block, tiff

SHAPE = (3, 28, 28)


def records_of(folder: Path, count: int, **size: int) -> RecordFile:
    write_records(folder / "a.rec", ((float(n), image) for n, (_, image) in enumerate(corner_images(count, **size))))
    return scan_records("train", folder / "a.rec")


def chosen(**changes: object) -> Hyperparameters:
    values = {"num_classes": 3, "num_training_samples": 22, "num_layers": 20, "image_shape": "3,28,28"}
    return read_hyperparameters({**values, "mini_batch_size": 4, **changes}).hyperparameters()


def labels_of(batches: WholeImages | CroppedImages) -> list[float]:
    return [
        label for batch in batches for label in batch.labels.asnumpy()[: len(batch.labels) - batch.filling].tolist()
    ]


def test_whole_images_come_in_order_exactly_once(tmp_path: Path) -> None:
    batches = WholeImages(records_of(tmp_path, 22), SHAPE, 4, threads=2)
    for _ in range(2):
        assert labels_of(batches) == list(range(22))


@pytest.mark.parametrize("native", [True, False])
def test_training_shuffles_every_epoch_and_drops_the_partial_batch(tmp_path: Path, native: bool) -> None:
    records = records_of(tmp_path, 22, side=28 if native else 31)
    batches = training_batches(records, chosen(), seed=1, threads=2, workspace=tmp_path)
    assert isinstance(batches, CroppedImages if native else WholeImages)
    first, second = labels_of(batches), labels_of(batches)
    assert len(set(first)) == len(first) == 20
    assert len(set(second)) == 20
    assert first != second


def test_the_same_seed_gives_the_same_order(tmp_path: Path) -> None:
    records = records_of(tmp_path, 22)
    orders = [
        labels_of(training_batches(records, chosen(), seed=seed, threads=2, workspace=tmp_path)) for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_both_readers_see_the_same_pixels_in_the_order_red_green_blue(tmp_path: Path) -> None:
    image = np.zeros((28, 28, 3), np.uint8)
    image[:10] = (10, 120, 250)
    write_records(tmp_path / "a.rec", [(0.0, encoded(image, ".png"))] * 4)
    records = scan_records("train", tmp_path / "a.rec")
    whole = next(iter(WholeImages(records, SHAPE, 4, threads=1))).images.asnumpy()
    cropped = next(iter(CroppedImages(records, SHAPE, 4, seed=0, index=tmp_path / "a.idx"))).images.asnumpy()
    assert whole[0, :, 0, 0].tolist() == [250, 120, 10]
    assert np.array_equal(whole, cropped)


def test_both_readers_see_the_same_pixels_of_grayscale_images(tmp_path: Path) -> None:
    gray = [cv2.cvtColor(picture(n % 3, n), cv2.COLOR_BGR2GRAY) for n in range(4)]
    write_records(tmp_path / "a.rec", [(0.0, encoded(image, ".png")) for image in gray])
    records = scan_records("train", tmp_path / "a.rec")
    shape = (1, 28, 28)
    whole = next(iter(WholeImages(records, shape, 4, threads=1))).images.asnumpy()
    cropped = next(iter(CroppedImages(records, shape, 4, seed=0, index=tmp_path / "a.idx"))).images.asnumpy()
    assert whole.shape == cropped.shape == (4, *shape)
    assert whole[:, 0].tolist() == [image.tolist() for image in gray]
    assert sorted(cropped.reshape(4, -1).tolist()) == sorted(whole.reshape(4, -1).tolist())


@pytest.mark.parametrize("native", [True, False])
def test_header_records_before_the_first_image_reach_no_reader(tmp_path: Path, native: bool) -> None:
    images = [(float(n), image) for n, (_, image) in enumerate(corner_images(22, side=28 if native else 31))]
    write_records(tmp_path / "a.rec", [([7.0, 9.0], b""), ([7.0, 9.0], b""), *images])
    records = scan_records("train", tmp_path / "a.rec")
    batches = training_batches(records, chosen(), seed=1, threads=2, workspace=tmp_path)
    assert isinstance(batches, CroppedImages if native else WholeImages)
    for _ in range(2):
        assert set(labels_of(batches)) <= set(range(22))
        assert len(labels_of(batches)) == 20
    assert labels_of(WholeImages(records, SHAPE, 4, threads=2)) == list(range(22))


def test_several_labels_come_as_rows(tmp_path: Path) -> None:
    write_records(tmp_path / "a.rec", several_corners(8))
    records = scan_records("train", tmp_path / "a.rec")
    batch = next(iter(WholeImages(records, SHAPE, 8, threads=1)))
    assert batch.labels.asnumpy().tolist() == [list(labels) for labels, _ in several_corners(8)]
    cropped = next(iter(CroppedImages(records, SHAPE, 8, seed=0, index=tmp_path / "a.idx")))
    assert cropped.labels.shape == (8, 3)


def test_each_augmentation_adds_to_the_one_before() -> None:
    none, crop, color, transform = map(augmentation_options, (None, "crop", "crop_color", "crop_color_transform"))
    assert none == {}
    assert crop == {"rand_crop": True, "rand_mirror": True}
    assert crop.items() < color.items() < transform.items()


@pytest.mark.parametrize("augmentation", ["crop", "crop_color", "crop_color_transform"])
def test_augmented_images_differ_from_epoch_to_epoch(tmp_path: Path, augmentation: str) -> None:
    write_records(tmp_path / "a.rec", [(0.0, encoded(picture(0, 0, side=40)))] * 8)
    records = scan_records("train", tmp_path / "a.rec")
    batches = training_batches(
        records, chosen(augmentation_type=augmentation, mini_batch_size=8), seed=0, threads=1, workspace=tmp_path
    )
    (first,), (second,) = [[batch.images.asnumpy() for batch in batches] for _ in range(2)]
    assert first.shape == (8, *SHAPE)
    assert not np.array_equal(first, second)
    assert first.min() >= 0
    assert first.max() <= 255


def test_grayscale_networks_get_one_channel(tmp_path: Path) -> None:
    batch = next(iter(WholeImages(records_of(tmp_path, 4, side=40), (1, 28, 28), 4, threads=1)))
    assert batch.images.shape == (4, 1, 28, 28)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    broken = encoded(picture(0, 0), ".png")[:40]
    write_records(tmp_path / "a.rec", [(0.0, encoded(picture(0, 0))), (0.0, broken)])
    batches = WholeImages(scan_records("validation", tmp_path / "a.rec"), SHAPE, 2, threads=1)
    with pytest.raises(CustomerError, match=r"record 1 of a\.rec in channel 'validation': the image cannot be decoded"):
        list(batches)


def test_an_image_whose_pixels_are_broken_is_told(tmp_path: Path) -> None:
    picture_bytes = encoded(picture(0, 0), ".png")
    broken = picture_bytes[:60] + bytes(40) + picture_bytes[100:]
    write_records(tmp_path / "a.rec", [(0.0, broken)] * 8)
    records = scan_records("train", tmp_path / "a.rec")
    with pytest.raises(CustomerError, match=r"an image of a\.rec cannot be read as JPEG or PNG"):
        labels_of(training_batches(records, chosen(), seed=0, threads=1, workspace=tmp_path))


LYING = {
    "jpeg": lambda block, image: image[:2] + exif_segment(block) + image[2:],
    "jpeg, behind the JFIF header": lambda block, image: image[:20] + exif_segment(block) + image[20:],
    "png": lambda block, image: png_of(image)[:33] + chunk(b"eXIf", block) + png_of(image)[33:],
    "tiff": lambda block, image: tiff(
        (274, 3, 1, block[18]), data=pixels_of(image)[:, :, ::-1].tobytes(), width=60, height=30
    ),
}


def pixels_of(image: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)


def png_of(image: bytes) -> bytes:
    return encoded(pixels_of(image), ".png")


@pytest.mark.parametrize("place", LYING)
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_training_validation_and_the_size_check_see_the_same_upright_image(
    tmp_path: Path, place: str, orientation: int
) -> None:
    stored = encoded(picture(1, 0, side=30, width=60))
    standing = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}[orientation]
    expected = cv2.rotate(pixels_of(stored), standing)[:, :, ::-1].transpose(2, 0, 1)
    image = LYING[place](orientation_block(orientation), stored)
    write_records(tmp_path / "a.rec", [(float(n), image if n else encoded(picture(0, 0, side=60))) for n in range(4)])
    records = scan_records("train", tmp_path / "a.rec")
    height, width = expected.shape[1:]
    assert records.sizes[1:].tolist() == [[width, height]] * 3
    assert records.lying == (1, 2, 3)
    whole = next(iter(WholeImages(records, expected.shape, 4, threads=1))).images.asnumpy()
    cropped = CroppedImages(records, expected.shape, 4, seed=0, index=tmp_path / "train.idx")
    batch = next(iter(cropped))
    native = batch.images.asnumpy()[[int(n) for n in np.argsort(batch.labels.asnumpy())]]
    for number in (1, 2, 3):
        assert np.abs(whole[number] - expected).max() <= 2
        assert np.abs(native[number] - whole[number]).max() <= 2
