"""The tuning jobs that a search starts from, checked before the run starts.

Source: developer guide, "Run a Warm Start Hyperparameter Tuning Job": what a parent learned of its own parents is not
learned again. The rules for parents are those of `include/training/warm_start.py`, which holds when the job starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.algorithms.kinds import algorithm_of
from include.preflight.conf_checks import SOME_RUN, some_version
from include.preflight.questions import Findings
from include.problems import Problem
from include.run_conf.sections import LATEST
from include.training.job_requests import tuning_request
from include.training.warm_start import FIELD, Child, search_problems, state_problems

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.settings import Settings

SAME = "IdenticalDataAndAlgorithm"


def warm_start_findings(
    sagemaker: SageMakerClient, conf: RunConf, settings: Settings, *, dataset: DatasetVersion | None = None
) -> Findings:
    """Whether each named tuning job can be started from; `latest` is looked for when the job starts.

    Without `dataset` its data are not compared. Raises botocore's errors if SageMaker gives no answer.
    """
    found: list[Findings] = []
    request = _request(conf, settings, dataset)
    for name in conf.tuning.warm_start.parents:
        if name == LATEST:
            continue
        try:
            parent = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("ResourceNotFound", "ValidationException"):
                raise
            remedy = f"there is no such tuning job in {settings.region}: name a finished one, or latest"
            found.append(Findings.of([Problem(field=FIELD, value=name, remedy=remedy)]))
            continue
        found.append(_parent_findings(name, parent, request, conf, with_data=dataset is not None))
    return Findings.joined(found)


def _request(conf: RunConf, settings: Settings, dataset: DatasetVersion | None) -> Mapping[str, Any]:
    """The tuning job without its parents, which it is compared with."""
    alone = conf.tuning.model_copy(update={"warm_start": type(conf.tuning.warm_start)()})
    version = dataset or some_version(conf, settings)
    conf = conf.model_copy(update={"tuning": alone})
    return tuning_request("child", algorithm=algorithm_of(conf, settings), dataset=version, run=SOME_RUN)


def _parent_findings(
    name: str, parent: Mapping[str, Any], child: Mapping[str, Any], conf: RunConf, *, with_data: bool
) -> Findings:
    problems = [
        Problem(field=FIELD, value=name, remedy=remedy)
        for remedy in (
            *state_problems(parent),
            *search_problems(parent, Child.of_request(child)),
            *_sameness(parent, child, conf, with_data=with_data),
        )
    ]
    notes: tuple[str, ...] = ()
    if grandparents := (parent.get("WarmStartConfig") or {}).get("ParentHyperParameterTuningJobs"):
        named = ", ".join(each["HyperParameterTuningJobName"] for each in grandparents)
        notes = (
            f"warm start: {name} also used results of {named}, which this run does not; name them too to use them",
        )
    return Findings(problems=tuple(problems), notes=notes)


def _sameness(parent: Mapping[str, Any], child: Mapping[str, Any], conf: RunConf, *, with_data: bool) -> Iterator[str]:
    if conf.tuning.warm_start.type != SAME:
        return
    theirs, ours = parent.get("TrainingJobDefinition") or {}, child["TrainingJobDefinition"]
    parts = {"container": _image, "data": _channels} if with_data else {"container": _image}
    for what, part in parts.items():
        if part(theirs) != part(ours):
            yield f"used other {what}, and tuning.warm_start.type is {SAME}: set it to TransferLearning"


def _image(definition: Mapping[str, Any]) -> Any:
    return (definition.get("AlgorithmSpecification") or {}).get("TrainingImage")


def _channels(definition: Mapping[str, Any]) -> dict[str, str]:
    return {
        channel["ChannelName"]: channel["DataSource"].get("S3DataSource", {}).get("S3Uri", "").rstrip("/")
        for channel in definition.get("InputDataConfig") or ()
    }
