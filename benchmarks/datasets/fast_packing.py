"""Pack a list with our packer, as the drop-in does it, with `fast_decode` where asked: im2rec.py has no such option.

python -m benchmarks.datasets.fast_packing LIST ROOT SIDE
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2

from im2rec.new_files import BUFFER_BYTES
from im2rec.packing import ListPacker, Progress
from include.recordio.format import listed_images
from include.recordio.options import ImageOptions, keep_freed_memory


def pack_list(path: Path, root: Path, side: int, *, fast_decode: bool = False) -> int:
    """Write the .rec and the .idx beside a list and return the number of records. Raises ValueError for a bad image."""
    cv2.setNumThreads(1)
    keep_freed_memory(largest=32 << 20, kept=256 << 20)
    options = ImageOptions(resize=side, fast_decode=fast_decode)
    packer = ListPacker(listed_images(path, same_width=False), root, options, pack_label=False, report=_refuse)
    with (
        path.with_suffix(".rec").open("wb", buffering=BUFFER_BYTES) as records,
        path.with_suffix(".idx").open("wb") as index,
    ):
        progress = Progress(path.name, 0, None)
        return packer.pack(records, index, threads=os.cpu_count() or 1, progress=progress).packed


def _refuse(line: int, reason: str) -> None:
    raise ValueError(f"line {line}: {reason}")


if __name__ == "__main__":
    pack_list(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), fast_decode=True)
