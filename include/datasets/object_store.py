"""obstore's view of a bucket, with the endpoint, region and credentials of a boto3 client."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from obstore.store import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CREDENTIALS_LAST = timedelta(minutes=5)
"""After this obstore asks the client again, which renews what has expired."""
LONGEST_REQUEST = timedelta(minutes=15)
"""Of one request with its body; a server that stalls is given up after the client's `read_timeout`."""


def open_store(s3: S3Client, bucket: str) -> S3Store:
    """Open a bucket for many requests at once, several times faster than boto3 in threads.

    Endpoint, region, credentials, timeouts, and retries where their number was given, are those of the client.
    """

    def credentials() -> Any:
        # The client has no public name for the credentials it signs with; obstore's own provider wants a session, which
        # a client does not give back and of which it may not have taken its credentials.
        frozen = s3._request_signer._credentials.get_frozen_credentials()  # type: ignore[attr-defined]
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_LAST,
        }

    endpoint = s3.meta.endpoint_url
    config: Any = s3.meta.config  # its stubs name no option
    # boto3's own default is too few for a bucket that asks to slow down: only a number that was asked for is taken.
    retries = (config.retries or {}).get("total_max_attempts")
    return S3Store(
        bucket,
        region=s3.meta.region_name,
        # Named in full: obstore also reads AWS_* variables, and the client's word must stand above them.
        aws_endpoint_url_s3=endpoint,
        skip_signature=False,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=config.connect_timeout),
            "read_timeout": timedelta(seconds=config.read_timeout),
            "timeout": LONGEST_REQUEST,
        },
        retry_config={"max_retries": retries - 1} if retries else {},
        credential_provider=credentials,
    )


def is_plain_key(key: str) -> bool:
    """Tell whether obstore takes a key as it is: no control characters, no empty, `.` or `..` segments."""
    if any(unicodedata.category(character) == "Cc" for character in key):
        return False
    return all(segment not in ("", ".", "..") for segment in key.split("/"))
