from __future__ import annotations

import cv2
import numpy as np
import pytest

from include.datasets.errors import DatasetError
from include.datasets.version import held_out_images
from include.recordio.images import accept_image, pack_image
from include.recordio.options import ImageOptions, working_bytes
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg, png


def put_pictures(bucket: Bucket) -> dict[str, bytes]:
    """Colour, gray, transparent and 16-bit pictures of two classes."""
    sources = {}
    for place, label in enumerate(("cat", "dog")):
        for number in range(12):
            seed = 2 * number + place
            deep = np.random.default_rng(seed).integers(0, 65535, (20, 24, 3), dtype=np.uint16)
            kinds = [
                (".jpg", jpeg(20, 24, seed=seed)),
                (".jpg", jpeg(20, 24, 1, seed)),
                (".png", png(20, 24, 4, seed)),
                (".png", cv2.imencode(".png", deep)[1].tobytes()),
            ]
            ending, body = kinds[number % 4]
            sources[f"images/{label}/{number}{ending}"] = body
    for key, body in sources.items():
        bucket.put(key, body)
    return sources


@pytest.mark.parametrize("color", [-1, 0, 1])
@pytest.mark.parametrize("encoding", ["jpg", "png"])
def test_a_version_is_packed_as_im2rec_packs_with_this_color(bucket: Bucket, color: int, encoding: str) -> None:
    sources = put_pictures(bucket)
    packing = {"color": color, "encoding": encoding, "resize": 16, "quality": 9}
    version = bucket.build(bucket.conf(packing=packing, split={"train": 0.4, "validation": 0.2, "test": 0.4}))
    options = ImageOptions(color=color, encoding=f".{encoding}", resize=16, quality=9)  # type: ignore[arg-type]
    assert version.packing == options
    shapes = set()
    for image in held_out_images(bucket.s3, version):
        assert image.image_bytes == pack_image(sources[image.key], options).data
        pixels = cv2.imdecode(np.frombuffer(image.image_bytes, np.uint8), cv2.IMREAD_UNCHANGED)
        shapes.add((pixels.shape[2:], pixels.dtype.name))
    expected = {0: {((), "uint8")}, 1: {((3,), "uint8")}}
    assert shapes == expected[color] if color >= 0 else len(shapes) > 1


def test_a_version_does_not_grow_with_other_channels(bucket: Bucket) -> None:
    put_pictures(bucket)
    parent = bucket.build(bucket.conf(packing={"color": 0}))
    with pytest.raises(DatasetError, match=r"dataset\.packing differs from parent version .* \(color 0 -> 1\)"):
        bucket.plan(bucket.conf(), "manual__2", parent=parent.uri)


@pytest.mark.parametrize(("channels", "dtype"), [(4, np.uint8), (3, np.uint16), (4, np.uint16), (1, np.uint16)])
def test_the_memory_of_an_image_that_keeps_its_channels_is_counted(channels: int, dtype: type) -> None:
    shape = (400, 500) if channels == 1 else (400, 500, channels)
    source = cv2.imencode(".png", np.zeros(shape, dtype))[1].tobytes()
    decoded = np.zeros(shape, dtype).nbytes
    assert working_bytes(accept_image(source), ImageOptions(color=-1)) >= 3 * decoded
