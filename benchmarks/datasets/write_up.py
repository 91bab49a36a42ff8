"""The first step of the write-ups' way: their script that downloads the images, loop, logs and all.

python .../benchmarks/datasets/write_up.py ENDPOINT BUCKET

It reads `s3-paths.txt` in the working directory and fills `images/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
from botocore.exceptions import ClientError


def download(endpoint: str, bucket: str) -> None:
    """Download each key of the list, one after the other, and log which arrived."""
    session = boto3.Session(aws_access_key_id="benchmark", aws_secret_access_key="benchmark", region_name="us-east-1")  # noqa: S106
    s3 = session.resource("s3", endpoint_url=endpoint)
    with (
        Path("s3-paths.txt").open() as paths,
        Path("logs.txt").open("w") as errors,
        Path("no-download.txt").open("w") as failed,
        Path("downloaded.txt").open("w") as downloaded,
    ):
        for path in paths:
            key = path.rstrip("\n")
            try:
                s3.Bucket(bucket).download_file(key, f"images/{key.rpartition('/')[2]}")
                downloaded.write(path)
            except ClientError as error:
                errors.write(f"{error} {path}")
                failed.write(path)


if __name__ == "__main__":
    download(*sys.argv[1:])
