"""Who is answered: programs that reach this machine by a name of its own, in an account and region that can be.

No web page is. A browser lets any page send requests to a loopback port. This server runs programs, so such a request
is refused before anything reads it: by its `Host` (a page may give a name of its own the address 127.0.0.1), by its
`Origin`, and by `Sec-Fetch-Site`, which browsers add where they leave `Origin` out.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable

from botocore.loaders import create_loader
from werkzeug.wrappers import Response

from local_aws.aws_errors import AwsError, validation_error
from local_aws.calls import ACCOUNT_HEADER, Signature, WSGIEnvironment, signature

HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::\d{1,5})?")
PAGE_POLICY = "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads"
CROSS_ORIGIN_HEADERS = "access-control-"
OLD_SIGNATURE = re.compile(r"(AWS \S+:\S+|Bearer \S+)\Z")
ACCOUNT = re.compile(r"[0-9]{12}")
LONGEST_REGION = 32


class Access:
    """The rule by which requests are let in; `names` are answered beside the names of this machine."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower().strip("[]").rstrip(".") for name in names if name)

    def check(self, environ: WSGIEnvironment) -> None:
        """Raise AccessDenied (HTTP 403) for a foreign host and for what a web page sends."""
        host = str(environ.get("HTTP_HOST", ""))
        if not self._is_own(host):
            raise _denied(
                f"The local AWS does not answer to the Host {host!r}, only to localhost and loopback addresses. If the "
                "name is yours, start it with --allow-host NAME."
            )
        if "HTTP_ORIGIN" in environ:
            raise _denied(
                f"The local AWS does not answer web pages, and a page of {environ['HTTP_ORIGIN']!r} sent this request."
            )
        if environ.get("HTTP_SEC_FETCH_SITE", "none") != "none" and not _is_followed_link(environ):
            raise _denied("The local AWS does not answer web pages; a link may lead to an object of S3.")

    def _is_own(self, host: str) -> bool:
        found = HOST.fullmatch(host)
        if found is None:
            return False
        name = (found["v6"] or found["name"]).lower().rstrip(".")
        if name in self._names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return any(name == own or name.endswith(f".{own}") for own in ("localhost", *self._names))


def _is_followed_link(environ: WSGIEnvironment) -> bool:
    """Whether a person follows a link to an object: the page that shows the link does not see the answer."""
    is_document = (environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST")) == ("navigate", "document")
    is_object = (
        signature(environ).service in ("", "s3")
        and "Action=" not in environ.get("QUERY_STRING", "")
        and not environ.get("PATH_INFO", "").startswith(("/moto-api", "/_local_aws", "/latest/", "/favicon.ico"))
        and "HTTP_X_AMZ_TARGET" not in environ
    )
    return is_document and is_object and environ["REQUEST_METHOD"] in ("GET", "HEAD")


def close_to_pages(response: Response) -> None:
    """Take away what would let a page read the answer, and the right of a stored page to act as this server."""
    for name in [name for name, _ in response.headers if name.lower().startswith(CROSS_ORIGIN_HEADERS)]:
        response.headers.pop(name, None)
    response.headers["Content-Security-Policy"] = PAGE_POLICY


def _denied(message: str) -> AwsError:
    return AwsError("AccessDenied", message, status=403)


def check_caller(environ: WSGIEnvironment, signed: Signature) -> None:
    """Refuse an account that is not twelve digits, and a region that AWS could not have: folders bear their names."""
    account = environ.get(ACCOUNT_HEADER)
    if account is not None:
        checked_account(str(account))
    given = str(environ.get("HTTP_AUTHORIZATION", ""))
    if given and not signed.service and OLD_SIGNATURE.match(given) is None:
        expected = "a credential scope KEY/DATE/REGION/SERVICE/aws4_request is expected"
        message = f"The header Authorization is {given[:100]!r}; {expected}."
        raise AwsError("IncompleteSignatureException", message)
    if not is_region(signed.region):
        if signed.service == "s3":
            message = f"The authorization header is malformed; the region {signed.region!r} is wrong"
            raise AwsError("AuthorizationHeaderMalformed", message)
        message = f"Credential should be scoped to a valid region, not {signed.region!r}."
        raise AwsError("InvalidSignatureException", message, status=403)


def checked_account(account: str) -> str:
    """An account's number; raises ValidationException for anything else."""
    if ACCOUNT.fullmatch(account) is None:
        raise validation_error(f"{account!r} is not an account: twelve digits are expected")
    return account


def is_region(name: str) -> bool:
    """Whether a name has the form of a region in one of AWS's partitions, as botocore describes them."""
    named, patterns = _regions()
    return name in named or (len(name) <= LONGEST_REGION and any(pattern.match(name) for pattern in patterns))


@functools.cache
def _regions() -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    partitions = create_loader().load_data("partitions")["partitions"]
    named = frozenset(name for partition in partitions for name in partition["regions"])
    return named, tuple(re.compile(f"(?:{partition['regionRegex']})\\Z", re.ASCII) for partition in partitions)
