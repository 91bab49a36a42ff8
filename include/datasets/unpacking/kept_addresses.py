"""The one place where the query of a web address is kept: beside what was unpacked from it, and shown nowhere.

A pre-signed address gives whoever reads it the file. So a run continues with a sealed one, `https://host/a.zip?kept-query=
0123456789abcdef`, and so do its XComs, its logs and `dataset.json`; the address itself lies in

    s3://DATA/unpacked/NAME/0123456789abcdef/address.txt
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError
from include.web_addresses import is_web_address, shown_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

_SEALED = re.compile(r"(?s)(?P<address>[^?#]*)\?kept-query=(?P<reference>[0-9a-f]{16})")


def reference_of(address: str) -> str:
    """The name under which an address is kept, and its content unpacked; a sealed address has that of the whole one."""
    sealed = _SEALED.fullmatch(address)
    return sealed["reference"] if sealed else hashlib.sha256(address.encode()).hexdigest()[:16]


def sealed_address(address: str) -> str:
    """An address with a reference instead of its query; one without a query, or not of the web, as it is."""
    if not is_web_address(address) or _SEALED.fullmatch(address) or "?" not in address.partition("#")[0]:
        return address
    return f"{address.partition('#')[0].partition('?')[0]}?kept-query={reference_of(address)}"


def keep_queries(s3: S3Client, conf: DatasetConf, data_bucket: str) -> DatasetConf:
    """Keep the web addresses of a run conf that have a query, and give the conf with sealed ones instead.

    A conf without such addresses, or with sealed ones, comes back as it is.
    """
    sealed = keep_addresses(s3, conf.source, data_bucket, conf.name)
    return conf if sealed == conf.source else conf.model_copy(update={"source": sealed})


def keep_addresses(s3: S3Client, addresses: Iterable[str], data_bucket: str, name: str) -> list[str]:
    """Keep those of a dataset's addresses that have a query; returns all of them, sealed."""
    sealed = []
    for address in addresses:
        sealed.append(sealed_address(address))
        if sealed[-1] != address:
            body = address.encode()
            s3.put_object(Bucket=data_bucket, Key=_key(name, address), Body=body, ContentType="text/plain")
    return sealed


def whole_address(s3: S3Client, address: str, data_bucket: str, name: str) -> str:
    """The address behind a sealed one; any other as it is. Raises DatasetError where it is not kept any more."""
    sealed = _SEALED.fullmatch(address)
    if sealed is None:
        return address
    try:
        kept = s3.get_object(Bucket=data_bucket, Key=_key(name, address))["Body"].read().decode()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        kept = ""
    # Who names another server beside the reference must not be sent the query of this one.
    if kept.partition("#")[0].partition("?")[0] != sealed["address"]:
        raise DatasetError(
            f"dataset.source = {shown_address(address)}: the rest of this address is not kept in "
            f"s3://{data_bucket}/{_key(name, address)}: name the whole address again in dataset.source"
        )
    return kept


def _key(name: str, address: str) -> str:
    return f"unpacked/{name}/{reference_of(address)}/address.txt"
