"""The way of the write-ups, step by step: a loop that downloads, im2rec.py, an upload.

python -m benchmarks.datasets.write_up download ENDPOINT BUCKET PATHS FOLDER
python -m benchmarks.datasets.write_up upload ENDPOINT BUCKET FILE ...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3


def download(endpoint: str, bucket: str, paths: str, folder: str) -> None:
    """Download each key of a list, one after the other, as the write-up's script does."""
    images = _resource(endpoint).Bucket(bucket)
    with Path(paths).open() as keys:
        for line in keys:
            key = line.rstrip("\n")
            images.download_file(key, f"{folder}/{key.rpartition('/')[2]}")


def upload(endpoint: str, bucket: str, *files: str) -> None:
    """Upload the packed files."""
    target = _resource(endpoint).Bucket(bucket)
    for file in files:
        target.upload_file(file, f"write-up/{Path(file).name}")


def _resource(endpoint: str) -> Any:
    session = boto3.Session(aws_access_key_id="benchmark", aws_secret_access_key="benchmark", region_name="us-east-1")  # noqa: S106
    return session.resource("s3", endpoint_url=endpoint)


if __name__ == "__main__":
    if sys.argv[1] == "download":
        download(*sys.argv[2:])
    else:
        upload(*sys.argv[2:])
