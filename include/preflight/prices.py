"""What a machine costs an hour: the deployment's own prices, else AWS's price list.

Source: AWS Price List API, service `AmazonSageMaker`; its products name the machine (`instanceName`), the region
(`regionCode`) and what it is used for (`component`: Training, Hosting, Batch Transform).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from include.preflight.remembered import Remembered

PRICE_LIST_REGION = "us-east-1"
"""The price list of all regions is asked there."""

Use = Literal["training", "hosting", "batchtransform"]


class NotOfferedError(LookupError):
    """The price list has this machine, and not in this region."""


@dataclass
class PriceList:
    """Prices in USD an hour by machine and use; `own` goes before what AWS lists.

    Without a client only `own` and what is remembered of today are known.
    """

    own: Mapping[str, float]
    region: str
    client: Any = None
    remembered: Remembered | None = None

    @cached_property
    def _known(self) -> dict[str, float]:
        return self.remembered.read() if self.remembered else {}

    def price(self, machine: str, use: Use) -> float | None:
        """USD an hour, None where nobody tells.

        Raises NotOfferedError, and botocore's errors where the price list gives no answer.
        """
        if machine in self.own:
            return self.own[machine]
        key = f"{machine} {use}"
        if key not in self._known and self.client:
            self._known.update({f"{machine} {other}": price for other, price in self._listed(machine).items()})
            if self.remembered:
                self.remembered.write(self._known)
        return self._known.get(key)

    def _listed(self, machine: str) -> dict[str, float]:
        prices: dict[str, float] = {}
        here = list(self._products(instanceName=machine, regionCode=self.region))
        if not here and next(self._products(instanceName=machine), None):
            raise NotOfferedError(machine)
        for product in here:
            use = _letters(product["product"]["attributes"].get("component", ""))
            for price in _hourly(product):
                prices[use] = max(price, prices.get(use, 0.0))
        return prices

    def _products(self, **attributes: str) -> Iterator[dict[str, Any]]:
        if self.client is None:
            return
        filters: Any = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
        answer = self.client.get_products(ServiceCode="AmazonSageMaker", Filters=filters, FormatVersion="aws_v1")
        for text in answer["PriceList"]:
            yield json.loads(text)


def _hourly(product: Mapping[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if price > 0 and _letters(dimension.get("unit", "")) in ("hrs", "hours", "hour"):
                yield price


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalpha())
