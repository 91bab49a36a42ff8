from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.sources.image_list import UnmatchedLine, explain_mismatch
from include.datasets.sources.label_table import read_label_tables
from include.datasets.sources.labelled_objects import row_objects
from include.run_conf.dataset import GroundTruthConf
from tests.fuzz.bounds import damaged, fuzz, within
from tests.unit.datasets.sources.memory_s3 import MemoryListing, MemoryS3


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
    "manifest": [
        b'{"source-ref": "s3://images-of-acme/1.jpg", "k": 0, "k-metadata": {"class-name": "cat", "confidence": 0.9, '
        b'"human-annotated": "yes", "type": "groundtruth/image-classification"}}\n'
        b'{"source-ref": "2.jpg", "k-metadata": {"failure-reason": "none"}}\n{"source": "text"}\n',
        b'{"source-ref": "1.jpg", "k": [0, 2], "k-metadata": {"class-map": {"0": "sun", "2": "sea"}, "confidence-map": '
        b'{"0": 0.9, "2": 1e9}, "type": "groundtruth/image-classification-multilabel"}}\n',
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
                table = read_label_tables(bucket.client, [uri], ground_truth=GroundTruthConf(minimum_confidence=0.5))
                lines = [UnmatchedLine(f"line {row.line}", row.path) for row in table.rows]
                assert len(explain_mismatch(lines, MemoryListing(bucket.name), "images/")) < 20_000
                row_objects(table, "s3://images-of-acme/images/", MemoryListing)
            except DatasetError as error:
                assert uri in str(error)
                assert len(str(error)) < 5000

    read()
