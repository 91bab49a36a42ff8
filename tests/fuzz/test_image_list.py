from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.sources.image_list import ListedImages, read_image_list
from tests.fuzz.bounds import damaged, fuzz, within
from tests.unit.datasets.sources.memory_s3 import MemoryListing, MemoryS3

LISTS = (
    b"\xef\xbb\xbfs3://images-of-acme/images/1.jpg\r\n\r\nimages/a b, c.jpg\r\n  2.jpg  \r\nsub/3.jpg\r\n",
    "1.jpg\nü/日本.jpg\n./x.jpg\n../y.jpg\n/z.jpg\n".encode(),
    b"https://acme.com/1.jpg\ns3:///1.jpg\ns3://\ncat/\n",
)


@fuzz
@given(body=damaged(*LISTS) | st.binary(max_size=200))
def test_only_a_dataset_error_comes_out(body: bytes) -> None:
    bucket = MemoryS3()
    uri = bucket.put("paths.txt", body)
    with within(seconds=1, megabytes=50):
        try:
            found = read_image_list(bucket.client, uri, "s3://images-of-acme/images/")
        except DatasetError as error:
            assert uri in str(error)
        else:
            assert all(key.encode() and not key.endswith("/") for key in found.lines)
            listed = ListedImages(found, MemoryListing(found.bucket), "s3://images-of-acme/images/")
            assert len(listed.image_list.lines) <= len(found.lines)
            assert len(listed.unmatched()) < 20_000
