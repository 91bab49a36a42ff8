"""Endpoints that no local AWS makes: what is behind them is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from include.promotion.champion import UnknownChampionError, live_endpoint
from tests.support.documents import settings


def sagemaker(variants: list[dict[str, Any]] | None) -> Any:
    """A client that knows the endpoint `pets` alone; without variants its configuration was deleted."""

    def describe_endpoint_config(**_: Any) -> dict[str, Any]:
        if variants is None:
            error = {"Code": "ValidationException", "Message": "Could not find endpoint configuration config-1."}
            raise ClientError({"Error": error}, "DescribeEndpointConfig")
        return {"ProductionVariants": variants}

    endpoint = {"EndpointStatus": "InService", "EndpointConfigName": "config-1"}
    return SimpleNamespace(describe_endpoint=lambda **_: endpoint, describe_endpoint_config=describe_endpoint_config)


@pytest.mark.parametrize(
    ("variants", "found"),
    [
        (None, "a configuration that was deleted"),
        ([{"VariantName": "AllTraffic", "InstanceType": "ml.g5.xlarge"}], "no model of its own"),
    ],
)
def test_an_endpoint_without_one_model_is_named(variants: list[dict[str, Any]] | None, found: str) -> None:
    with pytest.raises(UnknownChampionError) as unknown:
        live_endpoint(sagemaker(variants), "pets", settings=settings(), dataset="pets")

    assert unknown.value.endpoint == "pets"
    assert str(unknown.value) == (
        f"Endpoint pets serves {found}, configuration config-1: deploy a registered version of pets with "
        "deploy_endpoint, or delete the endpoint."
    )
