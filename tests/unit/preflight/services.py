"""AWS services that the tests of the preflight ask: moto's, stubs with canned answers, and ones that never answer."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

import boto3
from botocore.config import Config
from botocore.stub import Stubber

NOWHERE = "http://127.0.0.1:9"


@functools.cache
def silent(service: str) -> Any:
    """The client of a service that never answers: nobody changes it, and reading a service's model takes its time."""
    return client(service, NOWHERE)


def client(service: str, endpoint_url: str | None = None) -> Any:
    """A client with credentials of the tests'."""
    return boto3.client(
        service,
        region_name="eu-central-1",
        endpoint_url=endpoint_url,
        aws_access_key_id="tests",
        aws_secret_access_key="tests",
        config=Config(retries={"total_max_attempts": 1}),
    )


def clients(**made: Any) -> Any:
    """A factory of clients as the preflight takes it: those given, and silence for all others."""

    def make(service: str, region: str | None = None) -> Any:
        return made.get(service.replace("-", "_")) or silent(service)

    return make


def quotas(*listed: tuple[str, float]) -> Any:
    """Service Quotas that lists quotas of these names, and answers for each in their order."""
    stubbed = client("service-quotas")
    stub = Stubber(stubbed)
    rows = [
        {"QuotaName": name, "QuotaCode": f"L-{place:08d}", "Value": value} for place, (name, value) in enumerate(listed)
    ]
    stub.add_response("list_service_quotas", {"Quotas": rows})
    for row in rows:
        asked = {"ServiceCode": "sagemaker", "QuotaCode": row["QuotaCode"]}
        stub.add_response("get_service_quota", {"Quota": row}, asked)
    stub.activate()
    return stubbed


def prices(*answers: Iterable[dict[str, float]]) -> Any:
    """A price list that answers one request after the other, each with products: component -> USD an hour."""
    stubbed = client("pricing")
    stub = Stubber(stubbed)
    for products in answers:
        stub.add_response(
            "get_products",
            {"PriceList": [_product(use, price) for product in products for use, price in product.items()]},
        )
    stub.activate()
    return stubbed


def refusing(service: str, method: str, code: str = "AccessDeniedException") -> Any:
    """A service that refuses one call with an error code."""
    stubbed = client(service)
    stub = Stubber(stubbed)
    stub.add_client_error(method, service_error_code=code, http_status_code=403)
    stub.activate()
    return stubbed


def _product(component: str, price: float) -> str:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": str(price)}}
    return json.dumps(
        {
            "product": {"attributes": {"component": component}},
            "terms": {"OnDemand": {"A": {"priceDimensions": {"B": dimension}}}},
        }
    )
