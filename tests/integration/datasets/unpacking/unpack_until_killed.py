"""Unpack the address given, say so after some objects were written, and wait there to be killed."""

from __future__ import annotations

import sys
import threading

import boto3

from include.datasets import objects
from include.datasets.unpacking import unpack as unpacking
from include.run_conf import DatasetConf

endpoint, bucket, address = sys.argv[1:]
written = threading.Semaphore(0)
put_object = objects.put_object


def put_some(*arguments: object, **named: object) -> None:
    if arguments[2].endswith("7.jpg"):  # type: ignore[attr-defined]
        sys.stdout.write("unpacking\n")
        sys.stdout.flush()
        threading.Event().wait()
    put_object(*arguments, **named)  # type: ignore[arg-type]


objects.put_object = put_some  # type: ignore[assignment]
objects.THREADS = 1
s3 = boto3.client(
    "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
)
unpacking.unpack_address(s3, DatasetConf(name="pets", source=[address]), address, bucket)
