"""What is wrong with a dataset, in words for who started the run: the one place that reads the error codes of S3.

A 403 of S3 has a dozen causes that only the code and the message in the answer's body tell apart. Source: Amazon S3 API
Reference, "Error responses"; AWS Key Management Service API, "Common errors"; IAM User Guide, "Access denied error
messages"; what S3 answers to a GET of an archived object is `InvalidObjectState` with its storage class.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

LONGEST_REASON = 200


class DatasetError(ValueError):
    """A dataset that cannot be built or read as asked; the message names field, value, origin and remedy."""


@contextmanager
def reading_foreign_bytes(
    error_of: Callable[[str], Exception], *, own: tuple[type[Exception], ...] = (DatasetError,)
) -> Iterator[None]:
    """Turn whatever a library raises on bytes that it did not write into the error that `error_of` makes of a reason.

    Libraries name no complete list of what they raise: pyarrow alone lets eleven kinds of exception through. Errors of
    the kinds `own`, and those of AWS, which are not about the bytes, stay as they are.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (*own, BotoCoreError, ClientError)):
            raise
        raise error_of(_reason_of(error)) from error


def _reason_of(error: BaseException) -> str:
    """What an exception of a library says, in one short line."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if not line or isinstance(error, KeyError | IndexError | AttributeError | TypeError):
        line = f"{type(error).__name__} {line}".strip()
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


STORAGE_CLASSES = {
    "GLACIER": "S3 Glacier Flexible Retrieval",
    "DEEP_ARCHIVE": "S3 Glacier Deep Archive",
    "ARCHIVE_ACCESS": "the Archive Access tier of S3 Intelligent-Tiering",
    "DEEP_ARCHIVE_ACCESS": "the Deep Archive Access tier of S3 Intelligent-Tiering",
}
"""Storage classes and tiers whose objects have to be restored before they can be read."""
READ, LIST, WRITE = "s3:GetObject", "s3:ListBucket", "s3:PutObject"
VERBS = {READ: "read", LIST: "listed", WRITE: "written"}
RENEW = "renew those of the AWS connection (aws_conn_id) or of the role, then clear the task"


@dataclass(frozen=True, slots=True)
class S3Fault:
    """What S3 answered; what an answer does not say is empty."""

    code: str
    message: str
    status: int
    storage_class: str = ""
    """Of an archived object: its class, or its tier."""

    @classmethod
    def of(cls, error: BaseException) -> S3Fault | None:
        """Read an error of boto3, or of obstore, in whose text the answer stands; None for any other."""
        if isinstance(error, ClientError):
            answer = error.response.get("Error", {})
            found: dict[str, str] = {name: str(value) for name, value in answer.items()}
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
        elif not isinstance(error, BotoCoreError) and type(error).__module__.startswith("obstore"):
            text = str(error)
            found = {name: _element(text, name) for name in ("Code", "Message", "StorageClass", "AccessTier", "Region")}
            number = re.search(r"status code: (\d{3})", text)
            status = int(number[1]) if number else 0
        else:
            return None
        storage_class = found.get("AccessTier") or found.get("StorageClass") or ""
        message = found.get("Message") or ""
        return cls(found.get("Code") or str(status or ""), message, int(status), storage_class)


def explained(error: BaseException, uri: str, permission: str = READ) -> str | None:
    """Why the object or bucket at `uri` may not be read, listed or written, and what to do; what follows its name.

    `permission` is the one that the request needs. None where S3 did not refuse, but failed: that may pass.
    """
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        remedy = "there are no AWS credentials; give them to the connection aws_conn_id names"
        return f"may not be {VERBS[permission]}: {remedy}"
    fault = S3Fault.of(error)
    if fault is None:
        return None
    reason = _of_code(fault, uri, permission) or _of_status(fault, permission)
    if reason is None:
        return None
    said = f" ({fault.code}{f': {fault.message[:200]}' if fault.message else ''})" if fault.code else ""
    denied = "may not" if fault.status in (401, 403) else "cannot"
    return f"{denied} be {VERBS[permission]}{said}: {reason}"


def restore_command(uri: str, storage_class: str) -> str:
    """The command that makes an archived object readable again, for some days or, in Intelligent-Tiering, for good."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    days = "" if storage_class.endswith("_ACCESS") else '"Days":7,'
    request = f'{{{days}"GlacierJobParameters":{{"Tier":"Bulk"}}}}'
    return (
        f"aws s3api restore-object --bucket {bucket} --key {shlex.quote(key)} --restore-request {shlex.quote(request)}"
    )


def archived(uri: str, storage_class: str) -> str:
    """What an archived object lies in, and how it comes back."""
    place = STORAGE_CLASSES.get(storage_class, storage_class or "an archive")
    return (
        f"it is in {place} ({storage_class or 'storage class unknown'}); restore it with "
        f"`{restore_command(uri, storage_class)}`, which takes up to 48 hours, and start again"
    )


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found[1] if found else ""


def _of_code(fault: S3Fault, uri: str, permission: str) -> str | None:
    code, message = fault.code, fault.message
    simple = SIMPLE.get(code)
    if simple is not None:
        return simple
    if code == "InvalidObjectState":
        return archived(uri, fault.storage_class)
    if code.startswith(("KMS.", "KMS")) or (code in DENIALS and "kms:" in message.lower()):
        return _of_kms(code)
    if code == "InvalidRequest" and "encryption" in message.lower():
        return (
            "it is encrypted with a key that only who uploaded it has (SSE-C); copy it with SSE-S3 or SSE-KMS and name "
            "the copy"
        )
    if code in DENIALS:
        return _of_denial(message, permission)
    return None


def _of_kms(code: str) -> str:
    if "Disabled" in code or "State" in code:
        return "its KMS key is disabled or about to be deleted; enable the key again, or copy the objects with another"
    if "NotFound" in code:
        return "its KMS key was deleted; name a copy of the objects"
    return "it is encrypted with a KMS key; give the role kms:Decrypt on it, and kms:GenerateDataKey to write"


def _of_denial(message: str, permission: str) -> str:
    lower = message.lower()
    if "explicit deny" in lower:
        where = next((words for words in POLICIES if words in lower), "policy")
        return f"a statement with an explicit deny in a {where} forbids it; the owner of that policy has to change it"
    if "request-payer" in lower or "requester pays" in lower:
        return REQUESTER_PAYS
    return (
        f"give the role {permission} on it, in the role's policy and, for a bucket of another account, in the bucket's "
        "policy too; a bucket whose requester pays refuses everyone: copy its objects"
    )


def _of_status(fault: S3Fault, permission: str) -> str | None:
    if fault.status == 401:
        return f"the credentials are not valid; {RENEW}"
    if fault.status == 403:
        return _of_denial(fault.message, permission)
    if fault.status == 301:
        return OTHER_REGION
    return None


OTHER_REGION = "its bucket is in another region than the setting region; use a bucket of that region"
REQUESTER_PAYS = "the requester pays for this bucket, which this project does not pay; copy its objects"
DENIALS = frozenset({"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "Forbidden", "403"})
POLICIES = (
    "resource-based policy",
    "service control policy",
    "resource control policy",
    "vpc endpoint policy",
    "permissions boundary",
    "session policy",
    "identity-based policy",
)
SIMPLE = {
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"),
        f"the credentials have expired; {RENEW}",
    ),
    **dict.fromkeys(("InvalidAccessKeyId", "InvalidToken"), f"AWS does not know the credentials; {RENEW}"),
    "SignatureDoesNotMatch": f"the secret does not belong to the access key; {RENEW}",
    "RequestTimeTooSkewed": "the clock of this machine is off by more than 15 minutes; set it",
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"), OTHER_REGION
    ),
    **dict.fromkeys(("RequestPayerRequired", "InvalidPayer"), REQUESTER_PAYS),
    "NoSuchBucket": "there is no such bucket; correct the address, or create it",
    "InvalidBucketName": "no bucket can have this name; correct the address",
    "KeyTooLongError": "the key is longer than 1024 bytes; correct the address",
    "AccountProblem": "AWS has closed or suspended the account; ask its owner",
    "NotSignedUp": "the account is not signed up for S3; ask its owner",
}
