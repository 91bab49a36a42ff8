from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.labels import read_labels_file
from tests.fuzz.bounds import damaged, fuzz, within
from tests.unit.datasets.sources.memory_s3 import MemoryS3

FILES = {
    "txt": [b"\xef\xbb\xbfowl\r\n\r\n tabby cat \r\n", "ü\n日本\n".encode()],
    "json": [b'["owl", "tabby cat", "\\u00fc\\ud83d\\ude00"]', b'[["owl"], {"a": 1}, 1e999, 12345678901234567890]'],
}


@pytest.mark.parametrize("ending", FILES)
def test_only_a_dataset_error_comes_out(ending: str) -> None:
    @fuzz
    @given(body=damaged(*FILES[ending]) | st.binary(max_size=200))
    def read(body: bytes) -> None:
        bucket = MemoryS3()
        uri = bucket.put(f"labels.{ending}", body)
        with within(seconds=1, megabytes=50):
            try:
                names = read_labels_file(bucket.client, uri)
            except DatasetError as error:
                assert uri in str(error)
                assert len(str(error)) < 2000
            else:
                assert all(name.encode() for name in names)

    read()
