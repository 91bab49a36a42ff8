"""Machines that SageMaker offers, what a job may ask of one, and how many of them the account's quotas allow.

SageMaker's quotas go by name (`ml.g4dn.xlarge for training job usage`), and Service Quotas answers at once only to
their codes. The codes never change: they are listed once and remembered. Sources: Service Quotas API reference;
developer guide, "Image Classification Hyperparameters" (the batch is split over the GPUs).
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from include.deployment.endpoint import capacity
from include.deployment.hosting import change_problems
from include.preflight.questions import Findings, Remembered, Stage
from include.problems import Problem, did_you_mean
from include.run_conf.debugger import DEBUGGER
from include.run_conf.fields import as_far_as_known
from include.run_conf.meaning import meant_machine
from include.sagemaker.image_uris import RULES, images
from include.sagemaker.instance_types import GPUS, OWN_DISK_GB, Purpose, instance_types, transform_instance_type

if TYPE_CHECKING:
    from include.deployment.hosting import Hosting
    from include.run_conf import RunConf
    from include.settings import Settings


SERVICE = "sagemaker"
LISTING_SECONDS = 2.5
MEMORY = "endpoint.serverless.memory_mb"
PARALLEL_JOBS = "parallel training jobs per hyperparameter tuning job"


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
    codes = _codes(quotas, remembered, wanted)
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


def _codes(quotas: Any, remembered: Remembered, wanted: Collection[Need]) -> dict[str, str]:
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
