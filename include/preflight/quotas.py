"""Service quotas of the account, where they may be read.

SageMaker's quotas go by name (`ml.g4dn.xlarge for training job usage`), and Service Quotas answers at once only to
their codes. The codes never change: they are listed once and remembered. Source: Service Quotas API reference.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.preflight.findings import Findings
from include.preflight.remembered import Remembered
from include.preflight.stages import Stage
from include.problems import Problem
from include.sagemaker.instance_types import transform_instance_type

if TYPE_CHECKING:
    from include.run_conf import RunConf
    from include.settings import Settings

SERVICE = "sagemaker"
LISTING_SECONDS = 2.5
PARALLEL_JOBS = "parallel training jobs per hyperparameter tuning job"


@dataclass(frozen=True)
class Need:
    """So many machines or jobs of one quota, for what a person wrote in `field`; `name` is all of its name or its end.

    `value` is what was written there. `least` is what the largest single job needs, `most` what all jobs that the run
    starts side by side would use: with less than that they take turns.
    """

    field: str
    value: str | int
    name: str
    least: int
    most: int = 0

    def is_of(self, quota: str) -> bool:
        """Whether the quota of this name is the one that is needed."""
        return quota.lower().endswith(self.name.lower())


def needs(conf: RunConf, settings: Settings, stages: Collection[Stage], *, goes_on: bool = False) -> list[Need]:
    """The quotas that the run's jobs need; where it `goes_on` from a model that is there, none is from scratch."""
    found: list[Need] = []
    if "training" in stages:
        found += _training_needs(conf, settings, from_scratch=not goes_on)
        transform = transform_instance_type(conf.endpoint.instance_type)
        found.append(Need("endpoint.instance_type", transform, f"{transform} for transform job usage", 1))
    if "endpoint" in stages and conf.endpoint.deploy:
        machine = conf.endpoint.instance_type
        count = conf.endpoint.instance_count
        found.append(Need("endpoint.instance_type", machine, f"{machine} for endpoint usage", count))
    return found


def quota_findings(quotas: Any, remembered: Remembered, wanted: Collection[Need], region: str) -> Findings:
    """Quotas below what the run needs; a quota nobody lists becomes a note. Raises botocore's errors."""
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
            notes.append(
                f"quota: '{need.name}' is {limit:g}, and the run's jobs at once want {need.most}: they take turns"
            )
    return Findings(problems=tuple(problems), notes=tuple(notes))


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
