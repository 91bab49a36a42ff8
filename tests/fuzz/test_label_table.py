from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.sources.label_table import read_label_tables
from include.datasets.sources.row_keys import row_keys
from tests.fuzz.bounds import damaged, fuzz, within
from tests.unit.datasets.sources.memory_s3 import MemoryS3


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)  # type: ignore[arg-type]
    return sink.getvalue()


PATHS = ["cat/1.jpg", "ü b.jpg", "s3://images-of-acme/dog/2.jpg"]
TABLES = {
    "csv": [
        b'\xef\xbb\xbfpath,label,split\ncat/1.jpg,cat,train\n"a, b.jpg",dog,\r\n',
        b"path,sun,sea\n1.jpg,1,0\n2.jpg,0.0,1\n",
    ],
    "jsonl": [
        b'{"path": "1.jpg", "label": ["sun", "sea"]}\n{"path": "2.jpg", "label": "\\u00fc"}\n',
        b'{"path": "1.jpg", "sun": 1, "sea": true, "split": "val"}\n\n{"path": "2.jpg", "sun": 0.0, "sea": false}\n',
    ],
    "parquet": [
        parquet(path=PATHS, label=["cat", "owl", "dog"], split=["train", None, "test"]),
        parquet(path=PATHS, label=[["sun", "sea"], [], ["sea"]], taken=pa.array([1, 2, 3], pa.timestamp("us", "UTC"))),
        parquet(path=PATHS, sun=[1, 0, 1], sea=[True, False, True]),
    ],
    "lst": [b"0\t1.000000\tcat/1.jpg\n1\t0\tdog 2.jpg\n", b"0\t1\t0\t1.jpg\n1\t0\t1\t2.jpg\n"],
}


@pytest.mark.parametrize("ending", TABLES)
def test_only_a_dataset_error_comes_out(ending: str) -> None:
    @fuzz
    @given(body=damaged(*TABLES[ending]) | st.binary(max_size=200))
    def read(body: bytes) -> None:
        bucket = MemoryS3()
        uri = bucket.put(f"labels.{ending}", body)
        with within(seconds=2, megabytes=150):
            try:
                table = read_label_tables(bucket.client, [uri])
                row_keys(table, "s3://images-of-acme/images/")
            except DatasetError as error:
                assert uri in str(error)
                assert len(str(error)) < 5000

    read()
