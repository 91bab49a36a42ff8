"""What a training image may look like: a random view of it, drawn again in every epoch."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

NONE, CROP, CROP_COLOR, TRIVIAL = "none", "crop", "crop_color", "trivial"
AUGMENTATIONS = (NONE, CROP, CROP_COLOR, TRIVIAL)
LEAST_AREA = 0.3
"""Smallest share of the image that a crop shows. ImageNet is trained with 0.08, which is little of a small data set."""
WIDEST = 4 / 3
COLOR_CHANGE = 0.4
GREATEST_ANGLE = 135.0
GREATEST_SHEAR = 0.99
GREATEST_SHIFT = 0.25
GREATEST_ENHANCEMENT = 0.99


def augmented(image: Image.Image, size: int, kind: str, *, flip: bool, random: np.random.Generator) -> Image.Image:
    """A random square view of `size` pixels.

    `crop`: a part of the image, mirrored in half of the cases with `flip`. `crop_color`: also other brightness,
    contrast and saturation. `trivial`: also one change of TrivialAugment, drawn at random (arXiv 2103.10158).
    """
    cropped = image.resize((size, size), Image.Resampling.BILINEAR, box=random_box(image.size, random))
    if flip and random.random() < 0.5:
        cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if kind == CROP_COLOR:
        for enhance in random.permutation([ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]):
            cropped = enhance(cropped).enhance(random.uniform(1 - COLOR_CHANGE, 1 + COLOR_CHANGE))
    if kind == TRIVIAL:
        cropped = trivially_changed(cropped, random)
    return cropped


def random_box(size: tuple[int, int], random: np.random.Generator) -> tuple[float, float, float, float]:
    """A part of LEAST_AREA or more of an image, up to WIDEST times as wide as high or the reverse."""
    width, height = size
    for _ in range(10):
        area = width * height * random.uniform(LEAST_AREA, 1)
        aspect = math.exp(random.uniform(-math.log(WIDEST), math.log(WIDEST)))
        wide, high = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if wide <= width and high <= height:
            left, top = random.uniform(0, width - wide), random.uniform(0, height - high)
            return left, top, left + wide, top + high
    return 0, 0, width, height


def trivially_changed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The image after one of TrivialAugment's changes, of random strength."""
    amount = random.uniform(-1, 1)
    shear, shift = GREATEST_SHEAR * amount, GREATEST_SHIFT * amount * image.width
    enhancement = 1 + GREATEST_ENHANCEMENT * amount
    changes = (
        lambda: image,
        lambda: _transformed(image, (1, shear, 0, 0, 1, 0)),
        lambda: _transformed(image, (1, 0, 0, shear, 1, 0)),
        lambda: _transformed(image, (1, 0, shift, 0, 1, 0)),
        lambda: _transformed(image, (1, 0, 0, 0, 1, shift)),
        lambda: image.rotate(GREATEST_ANGLE * amount, Image.Resampling.BILINEAR),
        lambda: ImageEnhance.Brightness(image).enhance(enhancement),
        lambda: ImageEnhance.Color(image).enhance(enhancement),
        lambda: ImageEnhance.Contrast(image).enhance(enhancement),
        lambda: ImageEnhance.Sharpness(image).enhance(enhancement),
        lambda: ImageOps.posterize(image, 8 - round(6 * abs(amount))),
        lambda: ImageOps.solarize(image, round(255 * (1 - abs(amount)))),
        lambda: ImageOps.autocontrast(image),
        lambda: ImageOps.equalize(image),
    )
    return changes[int(random.integers(len(changes)))]()


def _transformed(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
