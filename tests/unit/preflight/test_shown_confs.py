"""The run confs that pages and the demo show pass the check that `check_conf` makes, if what they name is there.

tests/integration/datasets/test_write_ups.py does the same with those of the write-ups, and then builds their datasets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from include.preflight.checking import check
from include.recordio.format import encode_image_record, encode_record
from include.run_conf import RunConf
from tests.support.documents import dataset_version, settings
from tests.unit.docs.commands import PAGES, ROOT, shown_json

DIGEST = "sha256:" + "0" * 64
"""In the place of one that a page leaves out."""
RUNS = ("dataset", "training")
"""The sections of a whole conf: others are fields to add to one."""


def whole_confs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each conf that a run can be started with, and the page that shows it."""
    for page in PAGES:
        for conf in shown_json(page):
            if all(isinstance(conf.get(section), dict) for section in RUNS):
                yield str(page.relative_to(ROOT)), conf
    for file in sorted((ROOT / "demo").glob("*.json")):
        yield str(file.relative_to(ROOT)), json.loads(file.read_text(encoding="utf-8"))


CONFS = [*whole_confs()]


def put(s3: Any, bucket: str, key: str, body: bytes = b"image") -> None:
    try:
        s3.head_bucket(Bucket=bucket)
    except s3.exceptions.ClientError:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    s3.put_object(Bucket=bucket, Key=key, Body=body)


def put_version(s3: Any, name: str, version: str) -> None:
    """A finished dataset version of photographs."""
    uri = f"s3://images-of-acme/datasets/{name}/{version}/"
    counts = {"train": 800, "validation": 100, "test": 100}
    built = dataset_version(name=name, version=version, uri=uri, counts=counts, smallest_side=256)
    put(s3, "images-of-acme", built.layout.document, built.model_dump_json().encode())
    for split in ("train", "validation"):
        record = encode_record(encode_image_record([0.0], 0, b"image"))
        put(s3, "images-of-acme", built.layout.records(split), record)  # type: ignore[arg-type]


def test_pages_show_whole_confs() -> None:
    assert len({page for page, _ in CONFS if page.endswith(".md")}) >= 4
    assert len([page for page, _ in CONFS if page.startswith("demo/")]) == 3


@pytest.mark.parametrize(("page", "document"), CONFS, ids=[f"{n} {page}" for n, (page, _) in enumerate(CONFS)])
def test_a_whole_conf_passes_the_check_as_it_is_shown(s3: Any, page: str, document: dict[str, Any]) -> None:
    text = json.dumps(document).replace("sha256:...", DIGEST)
    conf = RunConf.from_conf(json.loads(text))
    for bucket, key in re.findall(r"s3://([\w.-]+)/([^\"]*)", text):
        put(s3, bucket, f"{key}cat/1.jpg" if key.endswith("/") else key)
    put(s3, "images-of-acme", "images/cat/1.jpg")
    for name, _, version in ((trial.dataset or "").partition("/") for trial in conf.training.trials):
        if name:
            put_version(s3, name, version or "20260102T030405Z-0a1b2c3d")

    assert check(conf, settings(), s3=s3).problems == ()
