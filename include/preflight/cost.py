"""The most that a run can cost: every job at its longest, at the on-demand price.

Machines only: storage and transfer are small beside them. A spot job costs what it runs, never above the on-demand
price. SageMaker knows no longest run of a transform job; its task stops it after LONGEST_TRANSFORM. What is started
again after a failure costs money again.

What a machine costs an hour: the settings' own prices, else AWS's price list. Source: AWS Price List API, service
`AmazonSageMaker`; its products name the machine (`instanceName`), the region (`regionCode`) and what it is used for
(`component`: Training, Hosting, Batch Transform).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from include.evaluation.transform import LONGEST_TRANSFORM
from include.preflight.questions import Charge, Charged, Findings, Stage, reason
from include.problems import Problem
from include.sagemaker.instance_types import transform_instance_type

if TYPE_CHECKING:
    from include.preflight.questions import Remembered, Use
    from include.run_conf import RunConf
    from include.settings import Settings

log = logging.getLogger(__name__)

HOUR = 3600
MAX_COST = "resources.max_cost"
PRICE_LIST_REGION = "us-east-1"
"""The price list of all regions is asked there."""


class NotOfferedError(LookupError):
    """The price list has this machine, and not in this region."""


@dataclass
class PriceList:
    """Prices in USD an hour by machine and use; `own` overrides what AWS lists.

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
        """USD an hour, None if it is unknown.

        Raises NotOfferedError, and botocore's errors if the price list gives no answer.
        """
        if machine in self.own:
            return self.own[machine]
        key = f"{machine} {use}"
        if key not in self._known and self.client:
            self._known.update({f"{machine} {other}": price for other, price in self._listed(machine).items()})
            if self.remembered:
                self.remembered.write(self._known)
        return self._known.get(key)

    def if_known(self, machine: str, use: str) -> float | None:
        """USD an hour, None if it is unknown or the price list gives no answer."""
        try:
            return self.price(machine, cast("Use", use))
        except (NotOfferedError, ClientError, BotoCoreError) as error:
            log.debug("No price of %s: %s", machine, error)
            return None

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


def charges(conf: RunConf, settings: Settings, stages: Collection[Stage], *, goes_on: bool = False) -> list[Charge]:
    """What the run is charged for, in the order in which it happens.

    Where it `goes_on` from a model that is there, no job starts from scratch.
    """
    found: list[Charge] = []
    if "training" in stages:
        found += _training_charges(conf, settings, from_scratch=not goes_on)
    if "training" in stages or "prediction" in stages:
        compared = "training" in stages and conf.promotion.compare != "off"
        found.append(_transform_charge(conf, jobs=2 if compared else 1))
    if "endpoint" in stages and conf.endpoint.deploy and not conf.endpoint.serverless.enabled:
        endpoint = conf.endpoint
        machine, count = endpoint.instance_type, endpoint.most_machines
        found.append(Charge("endpoint", "endpoint.instance_type", machine, "hosting", count, None))
    return found


def cost_findings(conf: RunConf, asked: Collection[Charge], prices: PriceList) -> Findings:
    """The table of what the run can cost at most, beside `resources.max_cost`."""
    known: dict[Charge, float | None] = {}
    problems: list[Problem] = []
    notes: list[str] = []
    for charge in asked:
        try:
            known[charge] = prices.price(charge.machine, charge.use)
        except NotOfferedError:
            known[charge] = None
            remedy = f"is not offered in {prices.region}: use another machine, or another region"
            problems.append(Problem(field=charge.field, value=charge.machine, remedy=remedy))
        except (ClientError, BotoCoreError) as error:
            known[charge] = None
            notes.append(f"prices: {reason(error)}")
    unknown = {charge.machine: charge for charge, price in known.items() if price is None and charge.hours}
    total = sum(price * charge.machines * charge.hours for charge, price in known.items() if price and charge.hours)
    problems += _budget_problems(conf.resources.max_cost, total, unknown)
    charged = tuple(Charged(charge, price) for charge, price in known.items())
    return Findings(tuple(problems), tuple(notes), tuple(_table(conf, known, total)), charged)


def _training_charges(conf: RunConf, settings: Settings, *, from_scratch: bool) -> Iterator[Charge]:
    resources, mode = conf.resources, conf.training.mode
    machine, count = resources.instance_type, resources.instance_count
    longest = resources.max_runtime_seconds / HOUR
    kept = 0 if resources.spot else settings.keep_alive_seconds / HOUR

    def jobs(what: str, number: int, hours: float) -> Charge:
        name = f"{what} ({number} jobs)" if number > 1 else what
        return Charge(name, "resources.instance_type", machine, "training", count, hours)

    if from_scratch and mode != "train":
        number, hours = conf.tuning.jobs, conf.tuning.jobs * (longest + kept)
        if conf.tuning.max_runtime_seconds:
            budget = conf.tuning.parallel_jobs * (conf.tuning.max_runtime_seconds / HOUR + kept)
            hours = min(hours, budget)
        yield jobs("tuning", number, hours)
    if from_scratch and mode != "tune":
        number = len(conf.training.trials) or 1
        yield jobs("training", number, number * (longest + kept))
    if conf.incremental.enabled:
        yield jobs("incremental training", 1, longest + kept)


def _transform_charge(conf: RunConf, *, jobs: int) -> Charge:
    """The held-out images are answered by the new model, and by the champion if the two are compared."""
    transform = transform_instance_type(conf.endpoint.instance_type)
    hours = jobs * LONGEST_TRANSFORM.total_seconds() / HOUR
    name = f"batch transform ({jobs} jobs)" if jobs > 1 else "batch transform"
    return Charge(name, "endpoint.instance_type", transform, "batchtransform", 1, hours)


def _budget_problems(budget: float | None, total: float, unknown: Collection[str]) -> Iterator[Problem]:
    if budget is None:
        return
    if total > budget:
        remedy = (
            f"the run could cost {total:.2f} USD: lower resources.max_runtime_seconds, the jobs or the machines, or "
            "raise it"
        )
        yield Problem(field=MAX_COST, value=budget, remedy=remedy)
    elif unknown:
        named = ", ".join(sorted(unknown))
        remedy = f"cannot be checked: the price of {named} is not known; name it in settings.prices (USD an hour)"
        yield Problem(field=MAX_COST, value=budget, remedy=remedy)


def _table(conf: RunConf, known: dict[Charge, float | None], total: float) -> Iterator[str]:
    if not any(known.values()):
        machines = ", ".join(dict.fromkeys(charge.machine for charge in known))
        if machines:
            yield f"What the run can cost is not known: no price of {machines} (settings.prices may name them)."
        return
    spot = ", spot at the on-demand price" if conf.resources.spot else ""
    yield f"What the run can cost at most, each job once and at its longest{spot} (USD):"
    for charge, price in known.items():
        machines = f"{charge.machines} x {charge.machine}"
        rate = "price not known" if price is None else f"{price:9.4f} an hour"
        if charge.hours is None:
            yield f"  {charge.what:<24} {machines:<22} {'':>10} {rate:>17}, as long as it is kept"
        else:
            cost = "" if price is None else f"{price * charge.machines * charge.hours:10.2f}"
            yield f"  {charge.what:<24} {machines:<22} {charge.hours:8.1f} h {rate:>17} {cost}"
    lacking = any(price is None and charge.hours for charge, price in known.items())
    limit = f" of resources.max_cost {conf.resources.max_cost:.2f}" if conf.resources.max_cost else ""
    more = " and what has no price" if lacking else ""
    yield f"  {'jobs together':<24} {'':<22} {'':>10} {'':>17} {total:10.2f}{more}{limit}"


def _hourly(product: Mapping[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if price > 0 and _letters(dimension.get("unit", "")) in ("hrs", "hours", "hour"):
                yield price


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalpha())
