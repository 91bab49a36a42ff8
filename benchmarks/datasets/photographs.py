"""Photographs that are not: smooth shapes with noise, made once, the same on every machine, and kept."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.s3_keys import FIRST_STAMP

CACHE = Path(__file__).resolve().parents[2] / ".local" / "bench-datasets"
CLASSES = 10
NOISE_SIDE = 4608


@dataclass(frozen=True)
class Corpus:
    """A folder of JPEGs under class folders, `class-3/000013.jpg`."""

    name: str
    count: int
    width: int
    height: int
    quality: int
    noise: float
    """Standard deviation of the noise, in steps of 255."""
    distinct: int
    """So many are made, the others are their copies, each with an ETag of its own."""

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return CACHE / f"{self.name}-{self.count}"

    @property
    def keys(self) -> list[str]:
        """Paths in the folder, in order."""
        return [key_of(number) for number in range(self.count)]

    def make(self) -> Path:
        """Make the corpus if it is not there yet; returns its folder."""
        done = CACHE / f"{self.folder.name}.made"
        if not done.exists():
            print(f"Making {self.count} images, {self.name} ...", file=sys.stderr, flush=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            for label in range(min(CLASSES, self.count)):
                (self.folder / f"class-{label}").mkdir(parents=True)
            bodies = list(self._bodies())
            for number, key in enumerate(self.keys):
                path = str(self.folder / key)
                with open(path, "wb") as file:  # noqa: PTH123 - a Path for each of 200,000 files costs seconds
                    file.write(bodies[number % len(bodies)])
                os.utime(path, (FIRST_STAMP + number, FIRST_STAMP + number))
            done.touch()
        return self.folder

    def _bodies(self) -> Iterator[bytes]:
        noise = np.random.default_rng(0).standard_normal((NOISE_SIDE, NOISE_SIDE, 3), np.float32)
        noise *= self.noise
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(lambda number: self._body(number, noise), range(self.distinct))

    def _body(self, number: int, noise: NDArray[np.float32]) -> bytes:
        chance = np.random.default_rng(number)
        spread = max(self.width // 16, 1)
        width, height = (side + int(chance.integers(-spread, spread + 1)) for side in (self.width, self.height))
        coarse = chance.integers(0, 256, (7, 9, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(6):
            centre = (int(chance.integers(0, width)), int(chance.integers(0, height)))
            axes = (
                int(chance.integers(width // 20 + 1, width // 4 + 2)),
                int(chance.integers(height // 20 + 1, height // 4 + 2)),
            )
            colour = tuple(float(part) for part in chance.integers(0, 256, 3))
            cv2.ellipse(picture, centre, axes, float(chance.integers(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        top, left = int(chance.integers(0, NOISE_SIDE - height)), int(chance.integers(0, NOISE_SIDE - width))
        grained = np.clip(picture + noise[top : top + height, left : left + width], 0, 255).astype(np.uint8)
        return cv2.imencode(".jpg", grained, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1].tobytes()


def key_of(number: int) -> str:
    """Name the image of a number; its class is the last figure."""
    return f"class-{number % CLASSES}/{number:06d}.jpg"


def photographs(count: int, distinct: int | None = None) -> Corpus:
    """Photographs of about 650 x 550 pixels and 100 KB."""
    return Corpus("photographs", count, 650, 550, 90, 7.8, distinct or count)


def light_photographs(count: int) -> Corpus:
    """Photographs of 12 megapixels and about 0.5 MB, compressed as for the web."""
    return Corpus("light-photographs", count, 4000, 3000, 75, 3.0, min(count, 40))


def large_photographs(count: int) -> Corpus:
    """Photographs of 12 megapixels and about 1.5 MB."""
    return Corpus("large-photographs", count, 4000, 3000, 90, 3.0, min(count, 40))


def grainy_photographs(count: int) -> Corpus:
    """Photographs of 12 megapixels and about 3.5 MB, their grain finer than any lens is."""
    return Corpus("grainy-photographs", count, 4000, 3000, 90, 8.0, min(count, 40))


def small_images(count: int) -> Corpus:
    """Images of 48 x 48 pixels and about 2 KB."""
    return Corpus("small-images", count, 48, 48, 90, 9.0, min(count, 500))


def write_list(path: Path, corpus: Corpus) -> Path:
    """Write the corpus in order as a `.lst`, its class as the label; the paths are those below the corpus's root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{number}\t{number % CLASSES:.6f}\t{key_of(number)}\n" for number in range(corpus.count)]
    path.write_text("".join(lines))
    return path
