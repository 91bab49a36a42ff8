from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from include.datasets.layout import UnpackedLayout, find_unpacked
from include.datasets.unpacking.unpack import unpack_sources
from include.run_conf import DatasetConf
from tests.support.archives import zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg

ROOT = Path(__file__).parents[4]
PETS = {
    f"pets/{pet}/{number}.jpg": jpeg(seed=1000 * place + number)
    for place, pet in enumerate(("cat", "dog"))
    for number in range(12)
}


def test_a_worker_killed_in_the_middle_costs_only_a_retry(bucket: Bucket, endpoint: str) -> None:
    address = f"s3://{bucket.name}/a.zip"
    place = UnpackedLayout(bucket.name, "pets", address)
    bucket.put("a.zip", zip_of(PETS))
    command = [
        sys.executable,
        "-m",
        "tests.integration.datasets.unpacking.unpack_until_killed",
        endpoint,
        bucket.name,
        address,
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = worker.stdout.readline()
        worker.kill()
    assert said == "unpacking\n"
    there = bucket.listing(place.images)
    assert 0 < len(there) < 24
    assert find_unpacked(bucket.s3, place) is None

    conf = DatasetConf(name="pets", source=[address])
    unpack_sources(bucket.s3, conf, bucket.name)
    assert bucket.build(conf).counts.total == 24
