"""What an endpoint sees in images: `python -m include.deployment.predict ENDPOINT IMAGE|FOLDER|URL|s3://... [...]`.

Each image is packed by the steps of the dataset version that the endpoint's model learned from, as evaluation does it,
and then sent. The names of the classes are that version's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import boto3
import botocore.session
from botocore.config import Config
from botocore.configprovider import ConstantProvider
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from urllib3 import Timeout

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.source_image import system_name
from include.datasets.unpacking.addresses import StoredSource, WebSource
from include.datasets.unpacking.byte_stream import BrokenOffError, ByteStream, Network, Remote
from include.datasets.upload import LocalFolder
from include.datasets.version import load
from include.deployment.endpoint import NoServedModelError, served_model
from include.evaluation.prediction import SHOWN_FROM, PredictionError, packed_like, probabilities, ranked
from include.problems import is_web_address, shown_address
from include.recordio.format import MAX_LENGTH
from include.sagemaker.api import error_code

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from include.datasets.version import DatasetVersion

DONE, INCOMPLETE, MISTAKE, INTERRUPTED = 0, 1, 2, 130
_ABOUT = """Ask an endpoint what is in images. Each image is packed as the model's training images were, and then sent.
Exit status: 0 every image was answered, 1 some were not, 2 wrong use, no such endpoint."""
LOCAL_SERVICES = Path(__file__).resolve().parents[2] / ".local" / "services.json"
"""Where `make demo` and `make local` note the address of the local AWS that they started."""
LOCAL_REGION = "us-east-1"
Clients = Callable[[str], Any]
"""Makes a boto3 client of a service."""
CHUNK = 1 << 20
NAME_WIDTH = 40
REFUSED_IMAGE = ("ModelError", "ValidationError")
"""Codes of errors that are about one image: the container's own refusal, and a request that is too large."""


class UsageError(ValueError):
    """A command that cannot run as it was written; the message says what to write instead."""


@dataclass(frozen=True)
class Image:
    """An image as it was named, and how its bytes are read; `read` raises DatasetError and OSError."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Answer:
    """What the endpoint said of one image, the most probable class first, or why it said nothing.

    `sent` is the packed image, empty if it could not be packed.
    """

    image: str
    classes: tuple[tuple[str, float], ...] = ()
    milliseconds: float = 0.0
    problem: str = ""
    sent: bytes = field(default=b"", repr=False, compare=False)


def main(arguments: Sequence[str] | None = None, stream: TextIO | None = None) -> int:
    """Run the command; returns its exit code: 0 only when every image was answered."""
    out = stream or sys.stdout
    asked = _parser().parse_args(arguments)
    try:
        client = local_clients(LOCAL_SERVICES) if asked.local else _clients()
        dataset = _dataset(client, asked.endpoint, asked.dataset)
        source = ImageSource(client("s3"), tuple(asked.network))
        show = _as_json if asked.json else _Table().show
        runtime = client("sagemaker-runtime")
        failed = False
        for image in source.images(asked.images):
            answer = answer_of(runtime, asked.endpoint, image, dataset)
            failed = failed or bool(answer.problem)
            for line in show(answer, dataset, asked.top, asked.threshold):
                out.write(f"{line}\n")
            out.flush()
        for problem in source.problems:
            sys.stderr.write(f"not sent: {problem}\n")
    except KeyboardInterrupt:
        return INTERRUPTED
    except (UsageError, NoServedModelError, DatasetError, BotoCoreError, ClientError, OSError) as error:
        sys.stderr.write(f"{_explained(error, local=asked.local)}\n")
        return MISTAKE
    return INCOMPLETE if failed or source.problems else DONE


def answer_of(runtime: SageMakerRuntimeClient, endpoint: str, image: Image, dataset: DatasetVersion) -> Answer:
    """Pack and send one image. An image that cannot be read, packed or answered has a problem instead of an answer.

    Raises botocore's errors if the endpoint itself does not answer.
    """
    try:
        packed = packed_like(dataset, image.read())
        began = time.perf_counter()
        values = probabilities(runtime, endpoint=endpoint, image=packed, classes=dataset.num_classes)
        milliseconds = 1000 * (time.perf_counter() - began)
    except (PredictionError, DatasetError, OSError) as error:
        return Answer(image.name, problem=_explained(error))
    except ClientError as error:
        if error_code(error) not in REFUSED_IMAGE or "not found" in str(error):
            raise
        return Answer(image.name, problem=_explained(error))
    return Answer(image.name, tuple(ranked(values, dataset.labels)), milliseconds, sent=packed)


def read_web_image(address: str, networks: Sequence[Network], *, most: int, seconds: float) -> bytes:
    """What lies at a web address: at most so many bytes, in about so many seconds, in one try.

    The guards are those of `dataset.source`: it leads to the public internet or to one of the networks, and each
    redirect is checked. Raises DatasetError with the reason in one sentence.
    """
    content, until = bytearray(), time.monotonic() + seconds
    try:
        if not is_web_address(address):
            raise DatasetError(f"{shown_address(address)[:100]} is not a web address: write http:// or https://")
        timeout = Timeout(connect=seconds / 4, read=seconds / 4)
        body = WebSource(address, networks, timeout=timeout).open(0, None)
        try:
            while data := body.read(CHUNK):
                content += data
                if len(content) > most:
                    raise DatasetError(f"it has more than {most / 1e6:.0f} MB, the limit here")
                if time.monotonic() > until:
                    raise DatasetError(f"it did not arrive within {seconds:.0f} s")
        finally:
            body.close()
    except (DatasetError, BrokenOffError) as error:
        raise DatasetError(re.sub(r"dataset\.source( = | )", "", str(error))) from error
    return bytes(content)


@dataclass
class ImageSource:
    """The images behind files, folders, web addresses and addresses in S3; `networks` are internal ones to read from.

    `problems` names files of folders that could not be taken.
    """

    s3: S3Client
    networks: tuple[Network, ...] = ()
    problems: list[str] = field(default_factory=list)

    def images(self, addresses: Sequence[str]) -> Iterator[Image]:
        """Every image, in the order of the addresses. Raises DatasetError for one behind which there is none."""
        for address in addresses:
            if is_web_address(address):
                yield Image(shown_address(address), partial(self._read_web, address))
            elif address.startswith("s3://"):
                yield from self._stored(address)
            elif Path(address).is_dir():
                yield from self._folder(Path(address))
            else:
                yield Image(address, partial(_read_file, Path(address)))

    def _stored(self, address: str) -> Iterator[Image]:
        bucket, key = parse_s3_uri(address)
        if key and not key.endswith("/"):
            yield Image(address, partial(self._read_object, address))
            return
        # pyarrow takes half a second to load, and most commands name no prefix.
        from include.datasets.sources.listing import LiveBucket  # noqa: PLC0415

        found = False
        for listed in LiveBucket(self.s3, bucket, field="IMAGE", uri=address).objects(key):
            if system_name(listed.key.removeprefix(key)) is None:
                found = True
                uri = f"s3://{bucket}/{listed.key}"
                yield Image(uri, partial(self._read_object, uri))
        if not found:
            raise DatasetError(f"IMAGE = {address}: there is no image: correct the address")

    def _folder(self, folder: Path) -> Iterator[Image]:
        local, found = LocalFolder(folder), False
        for file in local.files():
            found = True
            yield Image(str(folder / file.name), partial(_read_file, file.path))
        self.problems += local.problems
        if not found:
            raise DatasetError(f"IMAGE = {folder}: there is no image in this folder: name another")

    def _read_object(self, address: str) -> bytes:
        return _read_all(StoredSource(self.s3, address))

    def _read_web(self, address: str) -> bytes:
        return _read_all(WebSource(address, self.networks))


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_LENGTH:
            raise DatasetError(f"it has {size} bytes, an image may have {MAX_LENGTH}")
        return file.read()


def _read_all(remote: Remote) -> bytes:
    """The whole content; no more of it is read than an image may have."""
    content = bytearray()
    with ByteStream(remote) as stream:
        while data := stream.read(CHUNK):
            content += data
            if len(content) > MAX_LENGTH:
                raise DatasetError(f"it has more bytes than the {MAX_LENGTH} that an image may have")
    return bytes(content)


def _dataset(client: Clients, endpoint: str, named: str) -> DatasetVersion:
    """The version that the endpoint's model learned from, or the one that was named."""
    try:
        uri = named or served_model(client("sagemaker"), endpoint).dataset_uri
    except NoServedModelError as error:
        hint = " (--dataset s3://BUCKET/datasets/NAME/VERSION/)" if "dataset version" in str(error) else ""
        raise NoServedModelError(f"{error}{hint}") from None
    return load(client("s3"), uri)


def _clients() -> Clients:
    """Clients of the AWS that the environment names."""
    session: Any = boto3.Session()
    return partial(session.client)


def local_clients(services: Path) -> Clients:
    """Clients of the local AWS that `services` notes; nothing of the caller's own AWS counts.

    Raises UsageError if none is noted.
    """
    try:
        url = str(json.loads(services.read_text())["aws_url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"No local AWS is running ({services} names none): start it with `make local`.") from None
    session = botocore.session.Session()
    session.get_component("config_store").set_config_provider("profile", ConstantProvider(None))
    for name in ("config_file", "credentials_file"):
        session.set_config_variable(name, os.devnull)
    local = boto3.Session(
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - the local AWS checks none
        region_name=LOCAL_REGION,
        botocore_session=session,
    )
    config = Config(proxies={}, s3={"addressing_style": "path"}, retries={"total_max_attempts": 2, "mode": "standard"})
    return partial(local.client, endpoint_url=url, config=config)


def _as_json(answer: Answer, dataset: DatasetVersion, top: int, threshold: float) -> Iterator[str]:
    """One line for each image."""
    if answer.problem:
        yield json.dumps({"image": answer.image, "problem": answer.problem}, ensure_ascii=False)
        return
    document: dict[str, Any] = {"image": answer.image}
    if dataset.multi_label:
        document["labels"] = [label for label, value in answer.classes if value >= threshold]
    else:
        document["label"], document["probability"] = answer.classes[0]
    document["classes"] = [{"label": label, "probability": value} for label, value in answer.classes[:top]]
    document["milliseconds"] = round(answer.milliseconds, 1)
    yield json.dumps(document, ensure_ascii=False)


class _Table:
    """A line for each class that is shown of an image; lines come as the answers do."""

    def __init__(self) -> None:
        self._width = 0

    def show(self, answer: Answer, dataset: DatasetVersion, top: int, threshold: float) -> Iterator[str]:
        """The lines of one answer, under the heading for the first."""
        if not self._width:
            self._width = max(map(len, ("class", "none", *dataset.labels)))
            yield f"{'image':<{NAME_WIDTH}}  {'class':<{self._width}}  probability  milliseconds"
        name = answer.image if len(answer.image) <= NAME_WIDTH else f"...{answer.image[3 - NAME_WIDTH :]}"
        if answer.problem:
            yield f"{name:<{NAME_WIDTH}}  {answer.problem}"
            return
        several = dataset.multi_label
        shown = [pair for pair in answer.classes if pair[1] >= threshold] if several else list(answer.classes[:top])
        first, *others = [f"{label:<{self._width}}  {value:11.4f}" for label, value in shown] or [
            f"{'none':<{self._width}}  {'':11}"
        ]
        yield f"{name:<{NAME_WIDTH}}  {first}  {answer.milliseconds:12.1f}"
        yield from (f"{'':<{NAME_WIDTH}}  {other}" for other in others)


def _explained(error: Exception, *, local: bool = False) -> str:
    """The error in one line, in the words of this command: what reads images elsewhere names fields of a run conf."""
    if isinstance(error, NoRegionError | NoCredentialsError | PartialCredentialsError):
        return f"{error}: set AWS_PROFILE, or AWS_DEFAULT_REGION and credentials; --local asks the AWS of `make local`."
    if isinstance(error, EndpointConnectionError) and local:
        return f"The local AWS does not answer ({error}): start it with `make local`."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    said = re.sub(r"dataset\.source( = | )", "", said).removeprefix("The image ")
    return re.sub(r'allow its network in the setting source_networks, as in \["(.+?)"\]', r"add --network \1", said)


def _top(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _probability(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.deployment.predict", description=_ABOUT)
    parser.add_argument("endpoint", metavar="ENDPOINT", help="the endpoint's name")
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="a file, a folder, a web address, s3://bucket/key or s3://bucket/prefix/",
    )
    parser.add_argument("--top", type=_top, default=5, metavar="N", help="the N most probable classes (default 5)")
    parser.add_argument(
        "--threshold",
        type=_probability,
        default=SHOWN_FROM,
        metavar="P",
        help="lowest probability at which an image shows a class, for a model of several labels per image "
        "(default 0.5)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document per line, one for each image")
    parser.add_argument("--local", action="store_true", help="ask the local AWS of `make demo` or `make local`")
    parser.add_argument(
        "--dataset",
        default="",
        metavar="s3://.../datasets/NAME/VERSION/",
        help="the dataset version that the model learned from, if it cannot be found",
    )
    parser.add_argument(
        "--network",
        type=ip_network,
        action="append",
        default=[],
        metavar="10.1.0.0/16",
        help="an internal network that web addresses may lead to; without it only the public internet",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
