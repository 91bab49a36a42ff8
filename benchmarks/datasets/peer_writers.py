"""The same images through other writers; runs in .venv-peers.

    .venv-peers/bin/python -m benchmarks.datasets.peer_writers webdataset|mosaic LIST ROOT FOLDER
    .venv-peers/bin/python -m benchmarks.datasets.peer_writers img2dataset URLS COUNT FOLDER

WebDataset and mosaicml-streaming only write: decode, resize and encode are a pool of cv2 threads, as in our packer.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIDE = 256
QUALITY = 95
THREADS = os.cpu_count() or 1


def packed_images(path: Path, root: Path) -> Iterator[tuple[int, int, bytes]]:
    """Iterate number, label and packed bytes of a list's images, in order."""
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)

    def pack(line: str) -> tuple[int, int, bytes]:
        number, label, name = line.split("\t")
        pixels = cv2.imread(str(root / name))
        height, width = pixels.shape[:2]
        size = (SIDE, height * SIDE // width) if height > width else (width * SIDE // height, SIDE)
        encoded = cv2.imencode(".jpg", cv2.resize(pixels, size), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        return int(number), int(float(label)), encoded.tobytes()

    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(pack, path.read_text().splitlines())


def webdataset(path: str, root: str, folder: str) -> None:
    """Write one tar with WebDataset's TarWriter."""
    make = importlib.import_module("webdataset").TarWriter
    with _clock(folder), make(f"{folder}/images.tar") as writer:
        for number, label, data in packed_images(Path(path), Path(root)):
            writer.write({"__key__": f"{number:06d}", "jpg": data, "cls": label})


def mosaic(path: str, root: str, folder: str) -> None:
    """Write shards with mosaicml-streaming's MDSWriter."""
    columns = {"image": "bytes", "label": "int"}
    make = _mds_writer()
    with _clock(folder), make(out=folder, columns=columns) as writer:
        for _, label, data in packed_images(Path(path), Path(root)):
            writer.write({"image": data, "label": label})


def img2dataset(urls: str, count: str, folder: str) -> None:
    """Download, resize and write tars with img2dataset, a process a core. Raises RuntimeError where images are lost."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    download = importlib.import_module("img2dataset").download
    with _clock(folder):
        download(
            url_list=urls,
            output_folder=folder,
            output_format="webdataset",
            image_size=SIDE,
            resize_mode="keep_ratio",
            encode_quality=QUALITY,
            processes_count=THREADS,
            thread_count=32,
            number_sample_per_shard=-(-int(count) // THREADS),
        )
    done = sum(json.loads(path.read_text())["successes"] for path in Path(folder).glob("*_stats.json"))
    if done != int(count):
        raise RuntimeError(f"img2dataset wrote {done} of {count} images")


@contextmanager
def _clock(folder: str) -> Iterator[None]:
    """Leave beside the folder how long the writing alone took: the imports of some writers take longer."""
    started = time.perf_counter()
    yield
    Path(f"{folder}.seconds").write_text(f"{time.perf_counter() - started:.2f}")


def _mds_writer() -> Any:
    try:
        return importlib.import_module("streaming").MDSWriter
    except RuntimeError:
        # torchvision does not fit torch's CPU build; the writer has no use for it, but the package imports it.
        for name in [name for name in sys.modules if name.partition(".")[0] in ("streaming", "torchvision")]:
            del sys.modules[name]
        for name, needed in (
            ("torchvision", None),
            ("torchvision.datasets", "VisionDataset"),
            ("torchvision.transforms", None),
            ("torchvision.transforms.functional", "to_tensor"),
        ):
            module = types.ModuleType(name)
            if needed:
                setattr(module, needed, object)
            sys.modules[name] = module
        return importlib.import_module("streaming").MDSWriter


if __name__ == "__main__":
    {"webdataset": webdataset, "mosaic": mosaic, "img2dataset": img2dataset}[sys.argv[1]](*sys.argv[2:])
