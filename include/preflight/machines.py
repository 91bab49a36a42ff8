"""The machines of a run: whether SageMaker offers them, how many the quotas allow, and the most that they can cost.

SageMaker's quotas go by name (`ml.g4dn.xlarge for training job usage`), and Service Quotas answers at once only to
their codes. The codes never change: they are listed once and remembered.

The cost is that of every job at its longest, at the on-demand price. Machines only: storage and transfer are small
beside them. A spot job costs what it runs, never above the on-demand price. SageMaker knows no longest run of a
transform job; its task stops it after LONGEST_TRANSFORM. What is started again after a failure costs money again. What
a machine costs an hour: the settings' own prices, else AWS's price list.

Sources: Service Quotas API reference; developer guide, "Image Classification Hyperparameters" (the batch is split over
the GPUs); AWS Price List API, service `AmazonSageMaker`: its products name the machine (`instanceName`), the region
(`regionCode`) and what it is used for (`component`: Training, Hosting, Batch Transform).
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

from botocore.exceptions import BotoCoreError, ClientError

from include.deployment.endpoint import capacity
from include.deployment.hosting import change_problems
from include.evaluation.prediction import LONGEST_TRANSFORM
from include.preflight import Charge, Charged, Findings, Remembered, Stage, reason
from include.problems import Problem, did_you_mean
from include.run_conf.debugger import DEBUGGER
from include.run_conf.fields import as_far_as_known
from include.run_conf.meaning import meant_machine
from include.sagemaker.containers import (
    GPUS,
    OWN_DISK_GB,
    RULES,
    Purpose,
    images,
    instance_types,
    transform_instance_type,
)

if TYPE_CHECKING:
    from include.deployment.hosting import Hosting
    from include.preflight import Use
    from include.run_conf import RunConf
    from include.settings import Settings

log = logging.getLogger(__name__)

SERVICE = "sagemaker"
LISTING_SECONDS = 2.5
MEMORY = "endpoint.serverless.memory_mb"
PARALLEL_JOBS = "parallel training jobs per hyperparameter tuning job"
HOUR = 3600
MAX_COST = "resources.max_cost"
PRICE_LIST_REGION = "us-east-1"
"""The price list of all regions is asked there."""


@dataclass(frozen=True)
class Need:
    """So many machines or jobs of one quota, for what a person wrote in `field`; `name` is all of its name or its end.

    `value` is what was written there. `least` is what the largest single job needs, `most` what all that the run starts
    side by side would use; `else_` says what happens with less than that.
    """

    field: str
    value: str | int
    name: str
    least: int
    most: int = 0
    else_: str = "the run's jobs need at once {most}: some wait"

    def is_of(self, quota: str) -> bool:
        """Whether the quota of this name is the one that is needed."""
        return quota.lower().endswith(self.name.lower())


def debugger_region_problems(conf: RunConf, settings: Settings, stages: Collection[Stage]) -> Iterator[Problem]:
    """Rules of Debugger in a region that evaluates none."""
    if "training" in stages and conf.training.debugger.rules and settings.region not in images()[RULES]["registries"]:
        names = ", ".join(conf.training.debugger.rules)
        remedy = f"SageMaker Debugger evaluates no rules in region {settings.region}: leave them out"
        yield Problem(field=f"{DEBUGGER}.rules", value=names, remedy=remedy)


def machine_problems(conf: RunConf, stages: Collection[Stage]) -> Iterator[Problem]:
    """Machines that are not offered, volumes larger than a machine's disk, batches with fewer images than its GPUs."""
    if "training" in stages:
        yield from as_far_as_known(_offered("resources", conf, "TrainingInstanceType"))
        yield from as_far_as_known(_disk(conf))
        yield from as_far_as_known(_gpus(conf))
    if "endpoint" in stages and not conf.endpoint.serverless.enabled:
        yield from as_far_as_known(_offered("endpoint", conf, "ProductionVariantInstanceType"))
    if "prediction" in stages:
        yield from as_far_as_known(_offered("endpoint", conf, "TransformInstanceType"))


def serverless_problems(conf: RunConf, settings: Settings, stages: Collection[Stage]) -> Iterator[Problem]:
    """Settings of the installation that a serverless endpoint cannot have."""
    if "endpoint" not in stages or not conf.endpoint.deploy or not conf.endpoint.serverless.enabled:
        return
    for setting, value in (("subnets", settings.subnets), ("network_isolation", settings.network_isolation)):
        if value:
            remedy = (
                f"a serverless endpoint has no network of its own, and settings.{setting} requires one: leave it empty"
            )
            yield Problem(field=MEMORY, value=conf.endpoint.serverless.memory_mb, remedy=remedy)


def endpoint_findings(hosting: Hosting, conf: RunConf) -> Findings:
    """What the run would change of an endpoint that serves already, and may not."""
    variant = capacity(conf.endpoint)
    return Findings.of(change_problems(hosting, conf.endpoint_name, keep=conf.endpoint.keep, variant=variant))


def needs(conf: RunConf, settings: Settings, stages: Collection[Stage], *, goes_on: bool = False) -> list[Need]:
    """The quotas that the run's jobs need; if it `goes_on` from a model, no job starts from scratch."""
    found: list[Need] = []
    if "training" in stages:
        found += _training_needs(conf, settings, from_scratch=not goes_on)
    if "training" in stages or "prediction" in stages:
        transform = transform_instance_type(conf.endpoint.instance_type)
        found.append(Need("endpoint.instance_type", transform, f"{transform} for transform job usage", 1))
    if "endpoint" in stages and conf.endpoint.deploy and not conf.endpoint.serverless.enabled:
        found.append(_endpoint_need(conf))
    return found


def quota_findings(quotas: Any, remembered: Remembered, wanted: Collection[Need], region: str) -> Findings:
    """Quotas below what the run needs; a quota that is not listed becomes a note. Raises botocore's errors."""
    codes = _quota_codes(quotas, remembered, wanted)
    problems: list[Problem] = []
    notes: list[str] = []
    for need in wanted:
        code = next((code for name, code in codes.items() if need.is_of(name)), None)
        if code is None:
            notes.append(f"quota: none is listed for {need.name}")
            continue
        limit = quotas.get_service_quota(ServiceCode=SERVICE, QuotaCode=code)["Quota"]["Value"]
        if limit < need.least:
            remedy = (
                f"the quota '{need.name}' in {region} is {limit:g} and the run needs {need.least}: "
                "ask for more in Service Quotas, or use fewer machines or other ones"
            )
            problems.append(Problem(field=need.field, value=need.value, remedy=remedy))
        elif limit < need.most:
            notes.append(f"quota: '{need.name}' is {limit:g}, and {need.else_.format(most=need.most)}")
    return Findings(problems=tuple(problems), notes=tuple(notes))


def _offered(section: Literal["resources", "endpoint"], conf: RunConf, purpose: Purpose) -> Iterator[Problem]:
    machine, offered = getattr(conf, section).instance_type, instance_types(purpose)
    if machine not in offered:
        remedy = f"SageMaker offers no such machine for this{did_you_mean(meant_machine(machine, offered))}"
        yield Problem(field=f"{section}.instance_type", value=machine, remedy=remedy)


def _disk(conf: RunConf) -> Iterator[Problem]:
    machine, asked = conf.resources.instance_type, conf.resources.volume_gb
    disk = OWN_DISK_GB.get(machine)
    if disk and asked > disk:
        remedy = f"{machine} works on its own disk of {disk} GB: ask for at most that, or for a larger machine"
        yield Problem(field="resources.volume_gb", value=asked, remedy=remedy)


def _gpus(conf: RunConf) -> Iterator[Problem]:
    machine = conf.resources.instance_type
    gpus = GPUS.get(machine, 1) if conf.training.algorithm.is_builtin else 1
    sections = (
        ("training.hyperparameters", conf.training.hyperparameters.mini_batch_size),
        ("incremental.hyperparameters", conf.incremental.hyperparameters.mini_batch_size),
    )
    for section, batch in sections:
        if batch and batch < gpus:
            remedy = f"is split over the {gpus} GPUs of {machine}: use at least {gpus}, or a machine with fewer"
            yield Problem(field=f"{section}.mini_batch_size", value=batch, remedy=remedy)


def _training_needs(conf: RunConf, settings: Settings, *, from_scratch: bool) -> Iterator[Need]:
    resources, mode = conf.resources, conf.training.mode
    machine, count = resources.instance_type, resources.instance_count
    tunes = from_scratch and mode != "train"
    parallel = conf.tuning.parallel_jobs if tunes else 1
    base = (len(conf.training.trials) or 1) if from_scratch and mode in ("train", "both") else 0
    at_once = base + (parallel if tunes else 0)
    kind = "spot training job" if resources.spot else "training job"
    yield Need("resources.instance_type", machine, f"{machine} for {kind} usage", count * parallel, count * at_once)
    if settings.keep_alive_seconds and not resources.spot:
        yield Need("settings.keep_alive_seconds", machine, f"{machine} for training warm pool usage", count)
    if tunes and parallel > 1:
        yield Need("tuning.max_parallel_jobs", conf.tuning.max_parallel_jobs, PARALLEL_JOBS, parallel)


def _endpoint_need(conf: RunConf) -> Need:
    """The machines of the endpoint; an update runs old and new ones side by side, a rolling one a batch of them."""
    endpoint, rollout = conf.endpoint, conf.endpoint.rollout
    machine, count = endpoint.instance_type, endpoint.most_machines
    rolls = rollout.kind == "rolling"
    most = count + (math.ceil(count * rollout.size_percent / 100) if rolls else count)
    remedy = "ask for more" if rolls else "ask for more, or set endpoint.rollout.kind to rolling"
    else_ = f"an endpoint that serves already runs {{most}} while it is updated: {remedy}"
    return Need("endpoint.instance_type", machine, f"{machine} for endpoint usage", count, most, else_)


def _quota_codes(quotas: Any, remembered: Remembered, wanted: Collection[Need]) -> dict[str, str]:
    """Codes by name, as far as they were needed: from memory, else from a listing that stops when all are found."""
    known: dict[str, str] = remembered.read()
    if _all_known(known, wanted):
        return known
    deadline = time.monotonic() + LISTING_SECONDS
    listed: dict[str, str] = {}
    for page in quotas.get_paginator("list_service_quotas").paginate(ServiceCode=SERVICE):
        listed.update({quota["QuotaName"]: quota["QuotaCode"] for quota in page["Quotas"]})
        if _all_known(listed, wanted) or time.monotonic() > deadline:
            break
    if listed:
        remembered.write({**known, **listed})
    return {**known, **listed}


def _all_known(codes: dict[str, str], wanted: Collection[Need]) -> bool:
    return all(any(need.is_of(name) for name in codes) for need in wanted)


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
            for price in _hourly_prices(product):
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
    return Findings(tuple(problems), tuple(notes), tuple(_cost_table(conf, known, total)), charged)


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


def _cost_table(conf: RunConf, known: dict[Charge, float | None], total: float) -> Iterator[str]:
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


def _hourly_prices(product: Mapping[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if price > 0 and _letters(dimension.get("unit", "")) in ("hrs", "hours", "hour"):
                yield price


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalpha())
