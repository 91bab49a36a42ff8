"""Which earlier tuning jobs a search starts with, and which it cannot start with.

Sources: SageMaker developer guide, "Run a Warm Start Hyperparameter Tuning Job": parents have ended and have the same
objective; a range keeps its kind; of static and tunable hyperparameters together there are as many as in each parent,
and at most ten turn from one into the other. API reference of HyperParameterTuningJobWarmStartConfig.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.problems import Problem, ProblemsError
from include.run_conf.sections import LATEST, WarmStartType
from include.sagemaker.api import existing
from include.sagemaker.job_results import Objective, Script, dataset_uri, script_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf

FIELD = "tuning.warm_start.from"
FINISHED = ("Completed", "Stopped")
ENDED = (*FINISHED, "Failed")
MOST_CHANGES = 10
MOST_LOOKED_AT = 100
"""Tuning jobs among which the latest of a dataset is looked for, the newest first."""

log = logging.getLogger(__name__)


class WarmStartError(ProblemsError):
    """A tuning job that is named as parent cannot be one; nothing was started."""

    title = "The tuning job cannot start with what these found"


@dataclass(frozen=True)
class Child:
    """What the new tuning job has in common with its parents: its objective, the kind of range of what it tunes, and
    what it fixes.
    """

    objective: Objective
    kinds: Mapping[str, str]
    static: frozenset[str]

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> Child:
        """Read the body of CreateHyperParameterTuningJob."""
        ranges = request["HyperParameterTuningJobConfig"].get("ParameterRanges") or {}
        static = request["TrainingJobDefinition"]["StaticHyperParameters"]
        return cls(Objective.of_search(request), kinds_of(ranges), frozenset(static))

    @property
    def hyperparameters(self) -> frozenset[str]:
        """Every hyperparameter, tuned or static."""
        return self.static | self.kinds.keys()


@dataclass(frozen=True)
class WarmStart:
    """The parents and what they mean to the new tuning job."""

    parents: Sequence[str]
    type: WarmStartType

    def added_to(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The body of CreateHyperParameterTuningJob with its `WarmStartConfig`."""
        parents = [{"HyperParameterTuningJobName": name} for name in self.parents]
        config = {"ParentHyperParameterTuningJobs": parents, "WarmStartType": self.type}
        return {**request, "WarmStartConfig": config}


def warm_start(
    sagemaker: SageMakerClient, conf: RunConf, dataset: DatasetVersion, request: Mapping[str, Any]
) -> WarmStart | None:
    """The tuning jobs that `tuning.warm_start` means for the search of this `request`; None if it names none, or
    `latest` finds none.

    `latest` is the newest tuning job that is Completed or Stopped, of any version of the dataset, with the same
    objective, whose ranges are of the same kinds and which has as many hyperparameters, fixed ones included. Without
    one the search starts from scratch, so that the first run of a schedule works as the later ones do.
    Raises WarmStartError for a named job that is absent, unfinished, or found nothing.
    """
    wanted, child = conf.tuning.warm_start, Child.of_request(request)
    if not wanted.parents:
        return None
    if list(wanted.parents) == [LATEST]:
        parents = [*_latest(sagemaker, dataset, child)]
        if not parents:
            log.info(
                "No finished tuning job of dataset %s to start with: the search starts from scratch.", dataset.name
            )
            return None
    else:
        parents = _named(sagemaker, wanted.parents, child)
    kind = wanted.type or _type_of(parents, dataset, request["TrainingJobDefinition"])
    names = [str(parent["HyperParameterTuningJobName"]) for parent in parents]
    log.info("The search starts with what %s found (%s).", ", ".join(names), kind)
    return WarmStart(names, kind)


def kinds_of(ranges: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """The kind of range of each tuned hyperparameter, from `ParameterRanges`."""
    return {span["Name"]: kind for kind, spans in ranges.items() for span in spans or ()}


def hyperparameters_of(job: Mapping[str, Any]) -> set[str]:
    """Every hyperparameter of a tuning job, tuned or static, but for those SageMaker adds for itself."""
    tuned = kinds_of(job["HyperParameterTuningJobConfig"].get("ParameterRanges") or {})
    static = (job.get("TrainingJobDefinition") or {}).get("StaticHyperParameters") or {}
    return {*tuned, *(name for name in static if not name.startswith("_"))}


def _latest(sagemaker: SageMakerClient, dataset: DatasetVersion, child: Child) -> Iterator[Mapping[str, Any]]:
    """The newest tuning job that can be a parent, or nothing."""
    listed = sagemaker.list_hyper_parameter_tuning_jobs(
        SortBy="CreationTime", SortOrder="Descending", MaxResults=MOST_LOOKED_AT
    )
    family = dataset.uri.removesuffix("/").rpartition("/")[0] + "/"
    for summary in listed["HyperParameterTuningJobSummaries"]:
        if summary["HyperParameterTuningJobStatus"] not in FINISHED:
            continue
        if not summary["ObjectiveStatusCounters"].get("Succeeded"):
            continue
        job = sagemaker.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=summary["HyperParameterTuningJobName"]
        )
        learned_from = dataset_uri(job.get("TrainingJobDefinition") or {}) or ""
        if learned_from.startswith(family) and not any(search_problems(job, child)):
            yield job
            return


def _named(sagemaker: SageMakerClient, names: Sequence[str], child: Child) -> list[Mapping[str, Any]]:
    parents: list[Mapping[str, Any]] = []
    problems: list[Problem] = []
    for name in names:
        job = existing(sagemaker.describe_hyper_parameter_tuning_job, HyperParameterTuningJobName=name)
        if job is None:
            problems.append(Problem(field=FIELD, value=name, remedy="there is no tuning job of this name here"))
        elif remedies := [*state_problems(job), *search_problems(job, child)]:
            problems += (Problem(field=FIELD, value=name, remedy=remedy) for remedy in remedies)
        else:
            parents.append(job)
    if problems:
        raise WarmStartError(problems)
    return parents


def state_problems(job: Mapping[str, Any]) -> Iterator[str]:
    """What of a tuning job's state forbids to learn from it."""
    status = job["HyperParameterTuningJobStatus"]
    if status not in ENDED:
        yield f"is {status}: wait until it has ended, or name another"
    elif not job.get("ObjectiveStatusCounters", {"Succeeded": 1}).get("Succeeded"):
        yield f"none of its jobs reached a {Objective.of_search(job).metric}: name another"


def search_problems(job: Mapping[str, Any], child: Child) -> Iterator[str]:
    """What of a tuning job's search forbids that `child` learns from it."""
    config = job["HyperParameterTuningJobConfig"]
    if (objective := Objective.of_search(job)) != child.objective:
        yield f"aims at {objective}, and this run at {child.objective}: name a tuning job with the same objective"
    known, kinds = kinds_of(config.get("ParameterRanges") or {}), child.kinds
    turned = sorted(name for name in known.keys() & kinds.keys() if known[name] != kinds[name])
    if turned:
        yield f"has ranges of another kind for {', '.join(turned)}: give tuning.ranges of the same kind"
    changed = sorted(known.keys() ^ kinds.keys())
    if len(changed) > MOST_CHANGES:
        yield (
            f"differs in what is tuned by {len(changed)} hyperparameters ({', '.join(changed)}), and {MOST_CHANGES} "
            "may: give tuning.ranges closer to its own"
        )
    before, now = hyperparameters_of(job), child.hyperparameters
    if len(before) != len(now):
        yield (
            f"has {len(before)} hyperparameters, and this run {len(now)} ({', '.join(sorted(before ^ now))} "
            "are in only one of them): send the same, tuned or not"
        )


def _type_of(
    parents: Sequence[Mapping[str, Any]], dataset: DatasetVersion, definition: Mapping[str, Any]
) -> WarmStartType:
    same = all(
        dataset_uri(parent["TrainingJobDefinition"]) == dataset.uri
        and _code_of(parent["TrainingJobDefinition"]) == _code_of(definition)
        for parent in parents
    )
    return "IdenticalDataAndAlgorithm" if same else "TransferLearning"


def _code_of(definition: Mapping[str, Any]) -> tuple[str | None, Script | None]:
    """The image of a search's jobs, and their script, if they run one."""
    return definition["AlgorithmSpecification"].get("TrainingImage"), script_of(definition)
