"""What a training image may look like: changed again in every epoch, by what config.toml allows."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from .config import Config


def augmented(image: Image.Image, config: Config, random: np.random.Generator) -> Image.Image:
    """The image after random changes within the bounds of the config; its size stays."""
    if config.flip in ("horizontal", "both") and random.random() < 0.5:
        image = ImageOps.mirror(image)
    if config.flip in ("vertical", "both") and random.random() < 0.5:
        image = ImageOps.flip(image)
    if config.rotation or config.zoom or config.shift:
        image = _moved(image, config, random)
    for bound, enhance in ((config.brightness, ImageEnhance.Brightness), (config.contrast, ImageEnhance.Contrast)):
        if bound:
            image = enhance(image).enhance(random.uniform(1 - bound, 1 + bound))
    return image


def _moved(image: Image.Image, config: Config, random: np.random.Generator) -> Image.Image:
    """The image turned, zoomed and shifted in one step; what comes in from outside has the image's mean colour."""
    angle = math.radians(random.uniform(-config.rotation, config.rotation))
    scale = 1 / random.uniform(1 - config.zoom, 1 + config.zoom)
    across, down = (side * random.uniform(-config.shift, config.shift) for side in image.size)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    x, y = image.width / 2, image.height / 2
    # From a place in the result to its place in the image: around the middle, then moved.
    left = x - cosine * (x + across) - sine * (y + down)
    top = y + sine * (x + across) - cosine * (y + down)
    matrix = (cosine, sine, left, -sine, cosine, top)
    fill = tuple(int(channel) for channel in np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0])
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)
