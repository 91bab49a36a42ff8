"""The pages of a dataset's versions."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from include.datasets.version import DatasetVersion
from tests.integration.plugins.ui.conftest import SignIn
from tests.integration.plugins.ui.test_pages import is_not_found, shown
from tests.support.dataset_bucket import RUN_AFTER, Bucket
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.pictures import jpeg


class Photographs:
    """A folder of images, and dataset versions of it."""

    def __init__(self, aws: RunningLocalAws, name: str) -> None:
        self.bucket = Bucket(aws.client("s3"), BUCKET)
        self.name = name

    def put(self, path: str, seed: int, body: bytes = b"") -> None:
        self.bucket.put(f"{self.name}/{path}", body or jpeg(20, 16, seed=seed))

    def build(self, day: int = 0, *, parent: DatasetVersion | None = None, **changes: Any) -> DatasetVersion:
        grown = {"parent": parent.uri} if parent else {}
        conf = self.bucket.conf(name=self.name, source=[f"s3://{BUCKET}/{self.name}/"], max_bad_fraction=0.5, **changes)
        return self.bucket.build(conf, f"manual__{day}", run_after=RUN_AFTER + timedelta(days=day), **grown)


@pytest.fixture
def photographs(aws: RunningLocalAws, pets: str) -> Photographs:
    found = Photographs(aws, pets)
    for number in range(8):
        found.put(f"cat/{number}.jpg", number)
        found.put(f"dog/{number}.jpg", 100 + number)
    return found


def test_the_versions_are_listed_with_their_growth_and_sorted_by_any_column(
    sign_in: SignIn, photographs: Photographs, aws: RunningLocalAws
) -> None:
    first = photographs.build()
    photographs.put("dog/new.jpg", 200)
    second = photographs.build(1, parent=first)
    unpublished = f"datasets/{photographs.name}/20990101T000000Z-0a1b2c3d/plan/plan.json"
    aws.client("s3").put_object(Bucket=BUCKET, Key=unpublished, Body=b"{}")
    client, path = sign_in("VIEWER"), f"/datasets/{photographs.name}/versions"

    page = shown(client, path, ">17</strong>", ">16</strong>", "not published")

    assert page.index(second.version) < page.index(first.version)
    up = client.get(f"{path}?sort=images&up=1").text
    assert up.index(f'id="choose-{first.version}"') < up.index(f'id="choose-{second.version}"')
    assert f'<span class="version">{first.version}</span>' in page, "what the second one has grown from"
    assert "Images by version. all images: from 16 to 17" in page
    assert f'id="choose-{unpublished.split("/")[2]}"' not in page


def test_a_version_shows_its_images_by_class_and_split_and_what_is_wrong_with_others(
    sign_in: SignIn, photographs: Photographs
) -> None:
    photographs.put("cat/note.jpg", 0, b"<script>alert(1)</script>")
    for number in range(3):
        photographs.put(f"owl/{number}.jpg", 300 + number)
    version = photographs.build(labels=["cat", "dog"])
    client, path = sign_in("VIEWER"), f"/datasets/{photographs.name}/versions/{version.version}"

    page = shown(
        client, path, "data:image/jpeg;base64,", "not an image", "did not ask for 1 class of the source, 3 images"
    )
    dogs = shown(client, f"{path}?label=dog&split=train", "Images of dog for train", "data:image/jpeg;base64,")

    alternatives = set(re.findall(r'<img src="data:[^"]*" alt="([^"]*)"', page))
    assert {each.partition(",")[0] for each in alternatives} == {"cat", "dog"}
    assert set(re.findall(r'<img src="data:[^"]*" alt="([^"]*)"', dogs)) == {"dog, train"}
    assert "cat/note.jpg" in page
    assert '<th scope="row">owl</th><td class="number">3</td>' in page
    assert client.get(f"{path}?label=wolf").status_code == 404
    assert client.get(f"{path}?split=exam").status_code == 404


def test_two_versions_are_compared_by_their_images(sign_in: SignIn, photographs: Photographs) -> None:
    older = photographs.build()
    body = photographs.bucket.get(f"{photographs.name}/cat/0.jpg")
    photographs.bucket.client.delete_object(Bucket=BUCKET, Key=f"{photographs.name}/cat/0.jpg")
    photographs.put("dog/was-a-cat.jpg", 0, body)
    photographs.put("dog/new.jpg", 500)
    newer = photographs.build(1)
    client, path = sign_in("VIEWER"), f"/datasets/{photographs.name}/versions/compare"

    page = shown(client, f"{path}?version={newer.version}&version={older.version}", "<b>1</b><span>relabelled</span>")

    assert "<b>1</b><span>images added</span>" in page
    assert "<b>0</b><span>removed</span>" in page
    assert re.search(r"dog/was-a-cat\.jpg</span>: cat → dog", page)
    one = client.get(f"{path}?version={newer.version}")
    assert (one.status_code, "this address names 1" in one.text) == (404, True)


@pytest.mark.parametrize("version", ["20990101T000000Z-0a1b2c3d", "..%2f..", "x%20y"])
def test_a_version_that_is_not_there_has_no_page(version: str, sign_in: SignIn, pets: str) -> None:
    assert is_not_found(sign_in("VIEWER"), f"/datasets/{pets}/versions/{version}")
