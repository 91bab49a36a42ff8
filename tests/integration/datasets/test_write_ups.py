"""The datasets of the write-ups, built from the examples' own run confs over small stand-ins of what they name.

Of a conf only hosts and buckets change: a web server on loopback answers for the web addresses, buckets of the test for
the buckets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from include.datasets import upload
from include.datasets.unpacking.addresses import SourcePolicy
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import DatasetVersion
from include.preflight.checking import check
from include.preflight.dataset_checks import dataset_problems
from include.recordio.format import decode_image_record, read_records
from include.run_conf import RunConf
from tests.integration.recordio.test_against_mxnet import read_file
from tests.support.archives import rec_of, tar_of, zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.documents import WRITE_UPS, settings
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Example = Callable[[str], RunConf]
MXNet = Callable[..., dict[str, Any]]
Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]
ROOT = Path(__file__).parents[3]
PHOTOGRAPH = jpeg(226, 240)


class Site:
    """Web servers of the examples, all of them on loopback; a document is put under the address that a conf names."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url

    def put(self, address: str, body: bytes) -> None:
        file = self._folder / urlsplit(address).path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)

    def stand_in(self, address: str) -> str:
        """The address with scheme and host of the stand-in; one in S3 as it is."""
        url = urlsplit(address)
        return f"{self._url}{url.path}" if url.scheme in ("http", "https") else address


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Site]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Site(folder, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "web"
    folder.mkdir()
    with serving(folder) as site:
        yield site


@pytest.fixture
def others(s3: S3Client, bucket: Bucket) -> Bucket:
    """The bucket of other people's images."""
    others = Bucket(s3, f"{bucket.name}-user-content")
    s3.create_bucket(Bucket=others.name)
    return others


@pytest.fixture
def read(bucket: Bucket, others: Bucket, site: Site) -> Example:
    """Read a run conf, its hosts and buckets being those of the test."""

    def conf_of(text: str) -> RunConf:
        text = text.replace("s3://my-bucket/", f"s3://{bucket.name}/")
        conf = json.loads(text.replace("s3://my-user-content/", f"s3://{others.name}/"))
        source = conf["dataset"]["source"]
        addresses = [source] if isinstance(source, str) else source
        conf["dataset"]["source"] = [site.stand_in(address) for address in addresses]
        return RunConf.from_conf(conf)

    return conf_of


@pytest.fixture
def example(read: Example) -> Example:
    return lambda name: read(text_of(name))


@pytest.fixture
def read_by_mxnet(bucket: Bucket, tmp_path: Path) -> MXNet:
    """Tell what MXNet's readers find in the training channel of a version, with images of so many pixels."""

    def read(version: DatasetVersion, *, side: int) -> dict[str, Any]:
        (tmp_path / "train.rec").write_bytes(bucket.get(version.layout.records("train")))
        (tmp_path / "train.idx").write_bytes(bucket.get(version.layout.index("train")))
        return read_file(tmp_path / "train", side, version.num_classes if version.multi_label else 1)

    return read


def text_of(name: str) -> str:
    return WRITE_UPS[name].read_text(encoding="utf-8")


def sources_of(name: str) -> list[str]:
    source = json.loads(text_of(name))["dataset"]["source"]
    return [source] if isinstance(source, str) else source


def photographs() -> Iterator[bytes]:
    """JPEGs of 226 x 240 pixels, no two of the same bytes: each has its number in a comment."""
    for number in count():
        yield PHOTOGRAPH[:2] + b"\xff\xfe\0\x06" + number.to_bytes(4, "big") + PHOTOGRAPH[2:]


def images_at(paths: Iterable[str]) -> dict[str, bytes]:
    return dict(zip(paths, photographs(), strict=False))


def build(bucket: Bucket, conf: RunConf) -> DatasetVersion:
    """What a run of the chain does with a conf: preflight, unpacking, planning, packing, publishing."""
    here = {"data_bucket": bucket.name, "output_bucket": bucket.name, "source_networks": ["127.0.0.0/8"]}
    installation = settings(region="us-east-1", **here)
    check(conf, installation, s3=bucket.s3)
    unpack_sources(bucket.s3, conf.dataset, bucket.name, SourcePolicy.of(installation))
    return bucket.build(conf.dataset)


def trains(conf: RunConf, version: DatasetVersion) -> bool:
    """Whether all that stands between the dataset and its training is that the stand-in has fewer images."""
    problems = dataset_problems(conf, version)
    return all(problem.field.endswith("mini_batch_size") for problem in problems)


def test_caltech_is_its_record_files_with_the_names_of_its_257_classes(
    bucket: Bucket, rows: Rows, site: Site, example: Example, read_by_mxnet: MXNet
) -> None:
    images = photographs()
    for address, of_each_class in zip(sources_of("caltech-256"), (2, 1), strict=True):
        classes = [index for index in range(257) for _ in range(of_each_class)]
        site.put(address, rec_of([((index,), next(images)) for index in classes]))
    conf = example("caltech-256")

    version = build(bucket, conf)

    assert version.num_classes == 257
    assert [version.labels[index] for index in (0, 1, 255, 256)] == ["ak47", "american-flag", "toad", "clutter"]
    assert version.counts.model_dump() == {"train": 257, "validation": 257, "test": 257}
    assert {tuple(counts.model_dump().values()) for counts in version.class_counts.values()} == {(1, 1, 1)}
    files = {row["split"]: key.split("/")[2] for key, row in rows(version).items()}
    assert files["train"] == files["test"] != files["validation"]
    assert trains(conf, version)
    records = read_by_mxnet(version, side=0)["records"].values()
    assert sorted(record["labels"] for record in records) == [[float(index)] for index in range(257)]


def test_caltech_from_its_archive_trains_on_60_images_of_each_class(
    bucket: Bucket, site: Site, example: Example
) -> None:
    sizes = {"001.ak47": 98, "002.american-flag": 97, "257.clutter": 80}
    paths = (f"256_ObjectCategories/{name}/{n:04d}.jpg" for name, of in sizes.items() for n in range(of))
    site.put(*sources_of("caltech-256-archive"), tar_of(images_at(paths), mode="w"))
    conf = example("caltech-256-archive")

    version = build(bucket, conf)

    assert version.labels == list(sizes)
    counts = {label: tuple(counts.model_dump().values()) for label, counts in version.class_counts.items()}
    assert counts == {"001.ak47": (60, 19, 19), "002.american-flag": (60, 19, 18), "257.clutter": (60, 10, 10)}
    assert version.smallest_side == 256
    assert trains(conf, version)


def test_cats_and_dogs_are_records_packed_as_they_are(
    bucket: Bucket, rows: Rows, site: Site, example: Example, read_by_mxnet: MXNet
) -> None:
    images = photographs()
    for address, of_each_class in zip(sources_of("cats-and-dogs"), (18, 4), strict=True):
        site.put(address, rec_of([((n % 2,), next(images)) for n in range(2 * of_each_class)]))
    conf = example("cats-and-dogs")

    version = build(bucket, conf)

    assert version.labels == ["cat", "dog"]
    assert version.counts.model_dump() == {"train": 32, "validation": 8, "test": 4}
    assert version.smallest_side == 226
    assert {row["status"] for row in rows(version).values()} == {"packed"}
    assert trains(conf, version)
    batches = read_by_mxnet(version, side=224)["batches"]
    assert [sum(batch["labels"] == [label] for batch in batches) for label in (0.0, 1.0)] == [16, 16]


def test_cats_and_dogs_in_folders_are_the_conf_of_the_first_run(bucket: Bucket, read: Example) -> None:
    folders = {"train": 18, "test": 4}
    paths = (
        f"dataset_dogs_cats/{split}/{pet}/{n}.jpg" for split, of in folders.items() for pet in "cd" for n in range(of)
    )
    for key, body in images_at(paths).items():
        bucket.put(key, body)
    tutorial = (ROOT / "docs" / "tutorial" / "first-run.md").read_text(encoding="utf-8")
    conf = read(tutorial.partition("```json\n")[2].partition("```")[0])

    version = build(bucket, conf)

    assert version.labels == ["c", "d"]
    assert version.counts.model_dump() == {"train": 32, "validation": 4, "test": 8}
    assert trains(conf, version)


def test_dog_breeds_keep_the_splits_of_their_archive(bucket: Bucket, site: Site, rows: Rows, example: Example) -> None:
    breeds = ["001.Affenpinscher", *(f"{n:03d}.Breed_{n}" for n in range(2, 133)), "133.Yorkshire_terrier"]
    folders = dict.fromkeys(("train", "valid", "test"), 1)
    paths = (
        f"dogImages/{split}/{breed}/{n}.jpg" for split, of in folders.items() for breed in breeds for n in range(of)
    )
    site.put(*sources_of("dog-breeds"), zip_of(images_at(paths)))
    conf = example("dog-breeds")

    version = build(bucket, conf)

    assert version.labels == breeds
    assert version.counts.model_dump() == dict.fromkeys(("train", "validation", "test"), 133)
    given = {(key.split("/dogImages/")[1].split("/")[0], row["split"]) for key, row in rows(version).items()}
    assert given == {("train", "train"), ("valid", "validation"), ("test", "test")}
    assert version.smallest_side == 256
    assert trains(conf, version)


@pytest.fixture
def flags(bucket: Bucket, others: Bucket) -> dict[str, list[int]]:
    """48 pictures in the other bucket, and lists and names in one's own; returns the labels of each picture."""
    keys = [f"user/{number % 7}/picture {number}.jpg" for number in range(48)]
    flags = {key: [int((7 * n + 5 * label) % 11 < 3) for label in range(334)] for n, key in enumerate(keys)}
    for key, body in images_at([*keys, "user/not listed.jpg"]).items():
        others.put(key, body)
    bucket.put("labels/s3-paths.txt", "".join(f"{key}\n" for key in keys).encode())
    for folder, columns in {"labels": 334, "labels-50": 50}.items():
        bucket.put(f"{folder}/labels.txt", "".join(f"label {number}\n" for number in range(columns)).encode())
        for name, numbers in {"train": range(36), "val": range(36, 48)}.items():
            shown = {n: [f"{flag:f}" for flag in flags[keys[n]][:columns]] for n in numbers}
            lines = ("\t".join([str(n), *row, keys[n].rpartition("/")[2]]) for n, row in shown.items())
            bucket.put(f"{folder}/{name}.lst", "".join(f"{line}\n" for line in lines).encode())
    return flags


def test_334_labels_are_those_of_the_lists_for_the_pictures_of_another_bucket(
    bucket: Bucket, flags: dict[str, list[int]], rows: Rows, example: Example, read_by_mxnet: MXNet
) -> None:
    conf = example("multi-label-334")

    version = build(bucket, conf)

    assert version.labels == [f"label {number}" for number in range(334)]
    assert version.multi_label
    assert (version.counts.total, version.counts.validation) == (48, 12)
    assert version.smallest_side == 96
    assert trains(conf, version)
    manifest = rows(version)
    assert manifest.keys() == flags.keys(), "and none that is not listed"
    read_back = read_by_mxnet(version, side=96)
    assert {number: record["labels"] for number, record in read_back["records"].items()} == {
        str(row["record_id"]): flags[key] for key, row in manifest.items() if row["split"] == "train"
    }
    assert {len(batch["labels"]) for batch in read_back["batches"]} == {334}


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("chosen", [True, False], ids=["chosen from the 334", "from lists of their own"])
def test_50_labels_are_a_version_of_the_same_pictures(bucket: Bucket, read: Example, *, chosen: bool) -> None:
    labels = [f"label {number}" for number in range(50)]
    document = json.loads(text_of("multi-label-334" if chosen else "multi-label-50"))
    if chosen:
        document["dataset"]["labels"] = labels

    version = build(bucket, read(json.dumps(document)))

    assert version.labels == labels
    assert (version.counts.total, version.counts.validation) == (48, 12)
    records = list(read_records(BytesIO(bucket.get(version.layout.records("train")))))
    assert {len(decode_image_record(record.payload).labels) for record in records} == {50}


def test_a_local_folder_of_flowers_is_uploaded_and_split_in_three(
    bucket: Bucket, endpoint: str, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = (f"{flower}/{number}.jpg" for flower in ("daisy", "rose", "tulip") for number in range(10))
    for path, body in images_at(paths).items():
        file = tmp_path / "flower photos" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    conf = example("custom-container")

    command = [str(tmp_path / "flower photos"), *conf.dataset.source, "--endpoint-url", endpoint]
    assert upload.main(command) == upload.DONE
    version = build(bucket, conf)

    assert version.labels == ["daisy", "rose", "tulip"]
    assert {tuple(counts.model_dump().values()) for counts in version.class_counts.values()} == {(8, 1, 1)}
    assert trains(conf, version)
