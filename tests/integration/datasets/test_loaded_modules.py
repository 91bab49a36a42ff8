from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.dataset_bucket import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def test_packing_a_shard_loads_no_pandas(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3})
    plan = bucket.plan(bucket.conf())
    code = (
        "import sys, boto3\n"
        "from include.datasets.version import VersionPlan\n"
        "from include.datasets.packing import pack_shard\n"
        "s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='test',"
        " aws_secret_access_key='test')\n"
        "plan = VersionPlan.model_validate_json(sys.argv[2])\n"
        "assert pack_shard(s3, plan, plan.shards[0]).records\n"
        "sys.exit('pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", code, s3.meta.endpoint_url, plan.model_dump_json()]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
