"""Web addresses as they may be shown: without user and password, and without their query, in which signatures stand."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

WEB = ("http://", "https://")
SECRET_PARAMETERS = re.compile(r"(?i)signature|credential|token|sig$|key|secret|passw|auth|code|policy")
"""Names of a query's parameters whose values are secrets: those of AWS, Azure, Google and most others."""
LEAST_SECRET = 8
"""Characters: a shorter value is masked inside its query only, as it may be part of any word."""

_ADDRESS = re.compile(r"(?i)(\b(?!s3://)[a-z][a-z0-9+.-]*://)([^\s/?#\"'<>]*@)?([^\s?#\"'<>]*)(\?[^\s\"'<>]*)?")
_SIGNATURE = re.compile(r"(?i)\b(x-(?:amz|goog|ms)-(?:signature|credential|security-token)|sig|signature)=[^&\s\"'<>]+")


def is_web_address(address: str) -> bool:
    """Whether an address begins as one of the web."""
    return address.lower().startswith(WEB)


def shown_address(address: str) -> str:
    """An address as messages may show it; also one that is none."""
    if not is_web_address(address):
        return address
    try:
        url = urlsplit(address)
        return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "..." if url.query else "", ""))
    except ValueError:  # `http://[bad/a.zip`
        return masked(address)


def masked(text: str) -> str:
    """A text in which no address has a user, a password or a query, and no signature has its value.

    Addresses in S3 stay as they are: their keys may have any character.
    """
    if "://" in text:
        text = _ADDRESS.sub(
            lambda found: f"{found[1]}{'...@' if found[2] else ''}{found[3]}{'?...' if found[4] else ''}", text
        )
    return _SIGNATURE.sub(lambda found: f"{found[1]}=...", text) if "=" in text else text


def secrets_of(address: str) -> list[str]:
    """What no log may show of an address: its query, and the values of those parameters that are secrets."""
    query = address.partition("#")[0].partition("?")[2]
    if not is_web_address(address) or not query:
        return []
    raw = [part.partition("=")[2] for part in query.split("&") if SECRET_PARAMETERS.search(part.partition("=")[0])]
    plain = [value for name, value in parse_qsl(query) if SECRET_PARAMETERS.search(name)]
    return list(dict.fromkeys([query, *(value for value in (*raw, *plain) if len(value) >= LEAST_SECRET)]))
