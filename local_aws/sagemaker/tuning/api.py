"""Hyperparameter tuning: the actions of the API, and the runs behind them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from local_aws.aws_errors import AwsError, resource_in_use, resource_not_found, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.sagemaker.core.resource_table import ResourceTable, page_of
from local_aws.sagemaker.core.tags import Tags, check_tags
from local_aws.sagemaker.training.api import TrainingJobs
from local_aws.sagemaker.training.job import TrainingJob
from local_aws.sagemaker.training.rules import check_training_job
from local_aws.sagemaker.tuning import rules
from local_aws.sagemaker.tuning.job import Definition, TunedJob, TuningJob
from local_aws.sagemaker.tuning.run import TuningRun, training_request
from local_aws.sagemaker.tuning.search_space import SearchSpace
from local_aws.sagemaker.tuning.strategies import GridSearch, Plan, Resource, Search


class TuningJobs(Area):
    """The tuning jobs of one account and region."""

    resource_types = frozenset({"hyper-parameter-tuning-job"})

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self._jobs: ResourceTable[TuningJob] = ResourceTable(taken=_taken, unknown=_unknown)

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on tuning jobs."""
        return {
            "CreateHyperParameterTuningJob": self.create,
            "DescribeHyperParameterTuningJob": lambda request: self._get(request).describe(),
            "ListHyperParameterTuningJobs": self.list_jobs,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_training_jobs,
            "StopHyperParameterTuningJob": self.stop,
            "DeleteHyperParameterTuningJob": self.delete,
        }

    def searchable(self) -> Mapping[str, Callable[[], Iterable[Document]]]:
        """Tuning jobs are found with their tags."""
        tags = self.sagemaker.area(Tags)
        return {
            "HyperParameterTuningJob": lambda: [
                {**job.describe(), "Tags": tags.of(job.arn)} for job in self._jobs.all()
            ]
        }

    def create(self, request: Document) -> Document:
        """CreateHyperParameterTuningJob: checked whole, then run in a thread of its own."""
        name = request["HyperParameterTuningJobName"]
        tags = request.get("Tags", [])
        check_tags(tags)
        request = rules.with_defaults(request, self.aws.server.images)
        documents = rules.definitions(request)
        spaces = [_space(document) for document in documents]
        rules.check_config(request, spaces)
        for document, space in zip(documents, spaces, strict=True):
            self._check(name, document, space)
        parents = self._parents(request, documents)
        definitions = [
            Definition(document, space, search(space, self._plan(request, document)))
            for document, space in zip(documents, spaces, strict=True)
        ]
        tuning = TuningJob(name, self.aws.arn("hyper-parameter-tuning-job", name), request, definitions, parents)
        self._jobs.add(tuning)
        self.sagemaker.area(Tags).register(tuning.arn, tags)
        run = TuningRun(tuning, lambda training, wake: self._train(tuning, training, wake))
        threading.Thread(target=run, name=f"tuning {name}", daemon=True).start()
        return {"HyperParameterTuningJobArn": tuning.arn}

    def list_jobs(self, request: Document) -> Document:
        """ListHyperParameterTuningJobs."""
        return self._jobs.page(request, "HyperParameterTuningJobSummaries", TuningJob.summary, sort_by="Name")

    def list_training_jobs(self, request: Document) -> Document:
        """ListTrainingJobsForHyperParameterTuningJob; sorted by the objective, a job without one is left out."""
        by_objective = request.get("SortBy") == "FinalObjectiveMetricValue"
        return page_of(
            [job for job in self._get(request).started() if not by_objective or job.value is not None],
            request,
            "TrainingJobSummaries",
            TunedJob.summary,
            sort_keys={"FinalObjectiveMetricValue": lambda job: job.value or 0.0},
            sort_by="Name",
        )

    def stop(self, request: Document) -> Document:
        """StopHyperParameterTuningJob: Stopping until its training jobs have ended, then Stopped."""
        tuning = self._get(request)
        with tuning.changed:
            if tuning.is_over:
                raise validation_error(
                    f"The request was rejected because the tuning job {tuning.name} is in status {tuning.status}."
                )
            tuning.turn("Stopping")
        return {}

    def delete(self, request: Document) -> Document:
        """DeleteHyperParameterTuningJob: the record of one that has ended; its training jobs stay."""
        tuning = self._get(request)
        if not tuning.is_over:
            raise resource_in_use(
                f"Tuning job {tuning.arn} is in status {tuning.status}: stop it and wait for its end."
            )
        self._jobs.remove(tuning.name)
        self.sagemaker.area(Tags).forget(tuning.arn)
        return {}

    def close(self) -> None:
        """Start nothing more; the training jobs are ended by their own area."""
        for tuning in self._jobs.all():
            if not tuning.is_over:
                tuning.turn("Stopping")

    def _get(self, request: Document) -> TuningJob:
        return self._jobs.get(request["HyperParameterTuningJobName"])

    def _train(self, tuning: TuningJob, request: Document, wake: Callable[[], None]) -> TrainingJob:
        jobs = self.sagemaker.area(TrainingJobs)
        job = jobs.create(request, tuning_job_arn=tuning.arn, on_finish=lambda _: wake())
        job.metrics.on_value = lambda _: wake()
        return job

    def _plan(self, request: Document, document: Document) -> Plan:
        config = request["HyperParameterTuningJobConfig"]
        resource = None
        if config["Strategy"] == "Hyperband":
            static = document.get("StaticHyperParameters", {})
            resource = Resource(*rules.hyperband_resource(config, static))
        jobs = config["ResourceLimits"].get("MaxNumberOfTrainingJobs", rules.MAX_JOBS)
        goal = document["TuningObjective"]["Type"]
        return Plan(config["Strategy"], goal, jobs, config.get("RandomSeed"), resource)

    def _check(self, name: str, document: Document, space: SearchSpace) -> None:
        """Refuse a definition whose training jobs would be refused."""
        sample = training_request(f"{name}-001-00000000", document, {}, [])
        check_training_job(sample)
        image = sample["AlgorithmSpecification"]["TrainingImage"]
        self.aws.server.images.runnable(image, "train")
        built_in = self.aws.server.images.is_built_in_algorithm(image)
        rules.check_definition(document, space, built_in=built_in)

    def _parents(self, request: Document, documents: list[Document]) -> list[TuningJob]:
        """The parents of a warm start, which must have ended and fit; raises ValidationException."""
        warm_start = request.get("WarmStartConfig")
        if warm_start is None:
            return []
        parents = []
        for given in warm_start["ParentHyperParameterTuningJobs"]:
            name = given.get("HyperParameterTuningJobName", "")
            parent = self._jobs.find(name)
            if parent is None:
                raise validation_error(f"The parent tuning job {name!r} of the warm start doesn't exist.")
            if not parent.is_over:
                raise validation_error(
                    f"The parent tuning job {name} of the warm start must have ended; it is in status {parent.status}."
                )
            known = [definition.document for definition in parent.definitions]
            rules.check_warm_start(documents, known, name, warm_start["WarmStartType"])
            parents.append(parent)
        return parents


def search(space: SearchSpace, plan: Plan) -> Search:
    """The strategy a tuning job names, at its start."""
    if plan.strategy == "Grid":
        return GridSearch(space)
    # Importing Optuna takes a third of the server's start, and most servers never tune.
    from local_aws.sagemaker.tuning.sampled_search import SampledSearch  # noqa: PLC0415

    return SampledSearch(space, plan)


def _space(document: Document) -> SearchSpace:
    try:
        return SearchSpace.from_request(document["HyperParameterRanges"])
    except ValueError as error:
        raise validation_error(
            f"MinValue and MaxValue of a range must be numbers of the range's type: {error}"
        ) from error


def _taken(existing: TuningJob) -> AwsError:
    return resource_in_use(
        "Hyperparameter tuning job names must be unique within an AWS account and region, "
        f"and a hyperparameter tuning job with this name already exists ({existing.arn})"
    )


def _unknown(name: str) -> AwsError:
    return resource_not_found(
        f"Amazon SageMaker can't find a tuning job with the name {name}. Check the name and try again."
    )
