"""What S3 refuses is told by its code: in each place the same words, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from include.datasets.errors import DatasetError, explained, restore_command
from include.datasets.labels import read_document
from include.datasets.manifest import ManifestRow
from include.datasets.objects import ObjectWriter, StoredObjects
from include.datasets.packing import ObjectFetcher
from include.datasets.sources.listing import LiveBucket
from include.datasets.unpacking.addresses import StoredSource
from include.datasets.unpacking.byte_stream import look_at
from include.datasets.upload import open_bucket
from tests.support.faulty_s3 import FaultyS3, client_of, serve

DENIED = "User: arn:aws:sts::123456789012:assumed-role/airflow/x is not authorized to perform: "
BECAUSE = " because no identity-based policy allows the action"
FAULTS: dict[str, tuple[str, str, str, str]] = {
    "a permission": ("403 Forbidden", "AccessDenied", f"{DENIED}s3:X{BECAUSE}", r"give the role s3:\w+ on it"),
    "an explicit deny": (
        "403 Forbidden",
        "AccessDenied",
        f"{DENIED}s3:X with an explicit deny in a resource-based policy",
        "explicit deny in a resource-based policy forbids it",
    ),
    "a policy of the organisation": (
        "403 Forbidden",
        "AccessDenied",
        f"{DENIED}s3:X with an explicit deny in a service control policy",
        "explicit deny in a service control policy forbids it",
    ),
    "a key": (
        "403 Forbidden",
        "AccessDenied",
        f"{DENIED}kms:Decrypt on the resource associated with this ciphertext{BECAUSE}",
        "give the role kms:Decrypt on it",
    ),
    "a disabled key": ("400 Bad Request", "KMS.DisabledException", "is disabled.", "its KMS key is disabled"),
    "a key that is gone": ("400 Bad Request", "KMS.NotFoundException", "does not exist", "was deleted"),
    "SSE-C": (
        "400 Bad Request",
        "InvalidRequest",
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided.",
        r"only who uploaded it has \(SSE-C\)",
    ),
    "requester pays": (
        "403 Forbidden",
        "AccessDenied",
        "Requester Pays bucket: x-amz-request-payer",
        "the requester pays",
    ),
    "expired": (
        "400 Bad Request",
        "ExpiredToken",
        "The provided token has expired.",
        "the credentials have expired; renew",
    ),
    "an unknown key id": ("403 Forbidden", "InvalidAccessKeyId", "does not exist", "AWS does not know the credentials"),
    "a wrong secret": ("403 Forbidden", "SignatureDoesNotMatch", "", "the secret does not belong to the access key"),
    "a wrong clock": ("403 Forbidden", "RequestTimeTooSkewed", "", "the clock of this machine is off"),
    "an account": ("403 Forbidden", "AccountProblem", "", "AWS has closed or suspended the account"),
}
ARCHIVED = (
    "403 Forbidden",
    "InvalidObjectState",
    "Not valid for its storage class</Message><StorageClass>DEEP_ARCHIVE</StorageClass><Message>",
    r"it is in S3 Glacier Deep Archive \(DEEP_ARCHIVE\); restore it with `aws s3api restore-object --bucket ",
)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve(FaultyS3()) as faulty:
        yield faulty


def refusing(server: FaultyS3, status: str, code: str, message: str) -> Any:
    def answer(_: FaultyS3, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    server.chosen = re.compile(".")
    server.fault, server.times = answer, 10**9
    return client_of(server, retries={"total_max_attempts": 1})


def write(s3: Any) -> None:
    stored = StoredObjects(s3, "images", "unpacked/")
    with ObjectWriter(s3, stored) as writer:
        writer.put("unpacked/1.jpg", b"x")


ROW = ManifestRow("images", "cat/1.jpg", "e1", 5, "train", ("cat",), "planned")
ODD = ManifestRow("images", "cat/odd\tkey.jpg", "e1", 5, "train", ("cat",), "planned")
PLACES: dict[str, Callable[[Any], object]] = {
    "packing": lambda s3: ObjectFetcher(s3).fetch(ROW),
    "packing through boto3": lambda s3: ObjectFetcher(s3).fetch(ODD),
    "listing": lambda s3: LiveBucket(s3, "images", field="dataset.source", uri="s3://images/").folder(""),
    "listing all": lambda s3: list(LiveBucket(s3, "images", field="dataset.source", uri="s3://images/").objects("")),
    "looking keys up": lambda s3: LiveBucket(s3, "images", field="dataset.source", uri="s3://images/").find(["a"]),
    "a document": lambda s3: read_document(s3, "dataset.label_tables", "s3://images/a.csv"),
    "a look at an archive": lambda s3: look_at(StoredSource(s3, "s3://images/a.zip")),
    "reading an archive": lambda s3: StoredSource(s3, "s3://images/a.zip").open(0, None),
    "listing what was written": lambda s3: StoredObjects(s3, "images", "unpacked/").list_all(),
    "writing": write,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_refusal_is_told_by_its_code_wherever_it_comes(server: FaultyS3, place: str, fault: str) -> None:
    *answer, words = FAULTS[fault]
    with pytest.raises(DatasetError, match=words) as error:
        PLACES[place](refusing(server, *answer))
    text = str(error.value)
    assert answer[1] in text
    assert "Traceback" not in text
    assert len(text) < 1000


READS = ["packing", "packing through boto3", "a document", "reading an archive", "a look at an archive"]


@pytest.mark.parametrize("place", READS)
def test_an_archived_object_is_named_with_its_class_and_a_command(server: FaultyS3, place: str) -> None:
    *answer, words = ARCHIVED
    with pytest.raises(DatasetError, match=words):
        PLACES[place](refusing(server, *answer))


def test_an_upload_tells_a_refusal_by_its_code(server: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    refusing(server, *FAULTS["an unknown key id"][:3])
    with pytest.raises(DatasetError, match="AWS does not know the credentials"):
        open_bucket("images", server.endpoint)


def test_what_may_pass_is_no_refusal(server: FaultyS3) -> None:
    for status, code in (("503 Slow Down", "SlowDown"), ("500 Internal Server Error", "InternalError")):
        with pytest.raises(Exception, match=code) as error:
            read_document(refusing(server, status, code, ""), "dataset.label_tables", "s3://images/a.csv")
        assert not isinstance(error.value, DatasetError)
        assert explained(error.value, "s3://images/a.csv") is None


def test_no_credentials_are_told_as_that() -> None:
    assert "aws_conn_id" in (explained(NoCredentialsError(), "s3://b/k") or "")


def test_the_command_that_restores_takes_any_key() -> None:
    assert restore_command("s3://b/it's a key.jpg", "GLACIER") == (
        "aws s3api restore-object --bucket b --key 'it'\"'\"'s a key.jpg' --restore-request "
        '\'{"Days":7,"GlacierJobParameters":{"Tier":"Bulk"}}\''
    )
    assert "Days" not in restore_command("s3://b/k", "ARCHIVE_ACCESS")
