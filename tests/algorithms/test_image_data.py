from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from augmentation import AUGMENTATIONS, LEAST_AREA, augmented, random_box
from hyperparameters import Hyperparameters
from image_data import TrainingOrder, ValidationOrder, loader_workers
from image_decoding import UndecodableImageError, decode, normalized, pixels, view
from processes import Processes
from tests.algorithms.job import encoded, picture

CPU = torch.device("cpu")
CHOSEN = Hyperparameters(batch_size=6)


def numbers(order: TrainingOrder | ValidationOrder) -> list[list[int]]:
    return [[number for _, number in batch] for batch in order]


def test_an_epoch_is_all_whole_batches_in_an_order_of_its_own() -> None:
    order = TrainingOrder(20, CHOSEN, Processes(0, 1, 1, CPU))
    order.start(0)
    first = numbers(order)
    order.start(1)
    second = numbers(order)

    assert [len(batch) for batch in first] == [6, 6, 6]
    assert len({number for batch in first for number in batch}) == 18
    assert first != second


def test_an_epoch_continues_with_the_batch_that_comes_next() -> None:
    order = TrainingOrder(20, CHOSEN, Processes(0, 1, 1, CPU))
    order.start(3)
    whole = numbers(order)
    order.start(3, step=2)

    assert numbers(order) == whole[2:]
    assert len(order) == 1


def test_processes_share_each_batch_and_all_validation_images() -> None:
    alone, shared = Processes(0, 1, 1, CPU), [Processes(rank, 3, 3, CPU) for rank in range(3)]
    parts = [numbers(TrainingOrder(20, CHOSEN, process)) for process in shared]

    for step, batch in enumerate(numbers(TrainingOrder(20, CHOSEN, alone))):
        assert sorted(number for part in parts for number in part[step]) == sorted(batch)
    seen = [number for process in shared for batch in numbers(ValidationOrder(20, CHOSEN, process)) for number in batch]
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize("count", [5, 6, 7, 12, 13, 20])
def test_the_steps_that_processes_may_speak_in_are_those_that_all_of_them_have(count: int) -> None:
    orders = [ValidationOrder(count, CHOSEN, Processes(rank, 2, 1, CPU)) for rank in range(2)]

    assert {order.shared_steps for order in orders} == {min(len(order) for order in orders)}


def test_workers_are_shared_among_the_processes_of_a_machine() -> None:
    assert loader_workers(0, 1) == 0
    assert loader_workers(3, 2) == 3
    assert 1 <= loader_workers(-1, 1000) <= loader_workers(-1, 1) <= 8


@pytest.mark.parametrize("kind", AUGMENTATIONS[1:])
def test_an_augmented_image_is_a_square_and_the_same_for_the_same_seed(kind: str) -> None:
    image = picture([0, 2], 1).resize((50, 30))
    shown = [augmented(image, 28, kind, flip=True, random=np.random.default_rng(seed)) for seed in (1, 1, 2)]

    assert [one.size for one in shown] == [(28, 28)] * 3
    assert shown[0].tobytes() == shown[1].tobytes()
    assert shown[0].tobytes() != shown[2].tobytes()


def test_every_trivial_change_keeps_size_and_colors() -> None:
    image = picture([0, 2], 1)
    random = np.random.default_rng(0)
    shown = [augmented(image, 28, "trivial", flip=False, random=random) for _ in range(100)]

    assert {(one.size, one.mode) for one in shown} == {((28, 28), "RGB")}


def test_a_crop_lies_in_the_image_and_is_not_too_small() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = random_box((60, 40), random)
        assert 0 <= left < right <= 60
        assert 0 <= top < bottom <= 40
        assert (right - left) * (bottom - top) >= LEAST_AREA * 60 * 40 - 1e-6
    assert random_box((1000, 10), random) == (0, 0, 1000, 10)


def test_an_image_is_shown_whole_or_by_its_middle() -> None:
    wide = Image.new("RGB", (80, 40))
    wide.paste((255, 255, 255), (0, 0, 10, 40))

    assert np.asarray(view(wide, 40, "whole"))[:, 0].min() == 255
    assert np.asarray(view(wide, 40, "center")).max() == 0


def test_a_photograph_is_turned_upright() -> None:
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[274] = 6
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)

    assert decode(stream.getvalue()).size == (10, 20)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)),
        Image.fromarray(np.full((4, 4), 156, dtype=np.uint8)),
        Image.fromarray(np.full((4, 4, 4), 156, dtype=np.uint8), "RGBA"),
    ],
    ids=["16 bits", "gray", "transparent"],
)
def test_any_kind_of_pixels_becomes_rgb(image: Image.Image) -> None:
    assert np.asarray(decode(encoded(image, "PNG"))).tolist() == np.full((4, 4, 3), 156).tolist()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the image is empty"),
        (b"no image", "cannot be decoded"),
        (encoded(picture([0], 1))[:400], "cannot be decoded"),
        (encoded(Image.new("1", (20_000, 6_000)), "PNG"), "20000 x 6000 pixels, at most 100000000 are read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "cannot be decoded"),
    ],
    ids=["empty", "text", "cut off", "huge", "postscript"],
)
def test_bytes_that_are_no_image_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImageError, match=reason):
        decode(data)


def test_pixels_are_normalized_by_color() -> None:
    images = pixels(Image.new("RGB", (3, 2), (255, 0, 51))).unsqueeze(0)
    shown = normalized(images, (0.5, 0.0, 0.1), (0.5, 1.0, 0.1))

    assert shown.shape == (1, 3, 2, 3)
    assert shown[0, :, 0, 0].tolist() == pytest.approx([1, 0, 1])
