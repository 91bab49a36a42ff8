"""The check of one run before anything costs money: every question, asked at once.

A run of `predict_images` has a model of its own to check: the one that predicts, its artifact, the images, the table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.datasets.errors import LIST, DatasetError, explained
from include.datasets.layout import parse_s3_uri
from include.datasets.version import load
from include.deployment.endpoint import NoServedModelError, served_model
from include.deployment.hosting import Hosting
from include.deployment.registry import NoModelError, numbered
from include.preflight import (
    WHOLE_CHAIN,
    Clients,
    Findings,
    PreflightError,
    Question,
    Remembered,
    Stage,
    ask,
    reason,
)
from include.preflight.access import bucket_problems, bucket_questions, key_findings, network_findings, role_findings
from include.preflight.algorithm_checks import (
    algorithm_notes,
    hyperparameter_problems,
    image_problems,
    pretrained_problems,
    source_findings,
)
from include.preflight.conf_checks import ignored_notes, packing_problems, request_problems, warm_start_findings
from include.preflight.dataset_checks import (
    dataset_notes,
    dataset_problems,
    finished_version,
    record_findings,
    source_problems,
)
from include.preflight.machines import (
    PRICE_LIST_REGION,
    PriceList,
    charges,
    cost_findings,
    debugger_region_problems,
    endpoint_findings,
    machine_problems,
    needs,
    quota_findings,
    serverless_problems,
)
from include.problems import Problem, ProblemsError
from include.promotion.champion import UnknownChampionError, champion_of, starting_model
from include.promotion.verdict import label_change
from include.run_conf.fields import UnknownValueError, as_far_as_known, concerns
from include.run_conf.rules import HYPERPARAMETERS, TRIALS, contradictions
from include.run_conf.sections import LATEST

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.deployment.registry import RegisteredModel
    from include.evaluation.batch_prediction import PredictingModel
    from include.run_conf import DatasetConf, RunConf, TrialConf
    from include.run_conf.endpoint import PredictionConf
    from include.settings import Settings
    from include.training.best_model import BestModel

log = logging.getLogger(__name__)

VERSION_FIELD = "model_version"
ENDPOINT_FIELD = "model_of_endpoint"
ONLY_PREDICTS: tuple[Stage, ...] = ("prediction",)


def check(
    conf: RunConf,
    settings: Settings,
    *,
    s3: S3Client | None,
    dataset: DatasetVersion | None = None,
    parent: BestModel | None = None,
    clients: Clients | None = None,
    stages: Collection[Stage] = WHOLE_CHAIN,
    known: Collection[Problem] = (),
) -> Findings:
    """Check conf, settings, buckets, source, dataset version and parent model; takes seconds, starts nothing.

    Without `dataset` what depends on the images is left out, unless the run names a finished version: call again when
    the version is there. `parent` is the model an incremental training starts from, if it is known before: then
    nothing is trained from scratch, or has cost money. With `clients` the role, quotas, prices, key, network and
    parents of a warm start are checked too, each if the connection's role may: what gives no answer is logged as
    a note. Raises PreflightError with all problems; the cost is logged either way.

    `known` are the problems of conf and settings, which lack the values concerned: what needs one of these is not
    checked. Nor is what needs S3, without `s3`.
    """
    given = partial(examine, conf, settings, s3=s3, dataset=dataset, parent=parent)
    return reported(partial(given, clients=clients, stages=stages, known=known))


def reported(find: Callable[[], Findings]) -> Findings:
    """Findings with their cost and notes in the log. Raises PreflightError with all problems."""
    began = time.monotonic()
    findings = find()
    _log_findings(findings, time.monotonic() - began)
    if findings.problems:
        raise PreflightError(findings.problems)
    return findings


def examine_run(
    conf: RunConf,
    settings: Settings,
    *,
    clients: Clients | None,
    stages: Collection[Stage] = WHOLE_CHAIN,
    known: Collection[Problem] = (),
) -> Findings:
    """All that is found out about a run before it starts, as `check_conf` and the page "New run" show it.

    Conf and settings lack the values of which `known` are the problems; without `clients` AWS is not asked.
    """
    s3 = clients("s3") if clients else None
    start, found = _start(conf, settings, clients) if clients and "training" in stages else (None, Findings())
    rest = examine(conf, settings, s3=s3, parent=start, clients=clients, stages=stages, known=(*known, *found.problems))
    return replace(rest, notes=(*found.notes, *rest.notes))


def _start(conf: RunConf, settings: Settings, clients: Clients) -> tuple[BestModel | None, Findings]:
    """The earlier model that the run trains further, if it names one, or the problems with it.

    If AWS gives no answer now, the task that needs the model asks again.
    """
    try:
        if conf.training.mode != "none":
            return None, Findings()
        sagemaker, logs, s3 = clients("sagemaker"), clients("logs"), clients("s3")
        return starting_model(sagemaker, logs, s3, conf, settings=settings), Findings()
    except ProblemsError as error:
        return None, Findings.of(error.problems)
    except UnknownValueError:
        return None, Findings()  # the field has a problem that is reported
    except (ClientError, BotoCoreError) as error:
        return None, Findings.note(f"the model of incremental.from: {reason(error)}")


def examine(
    conf: RunConf,
    settings: Settings,
    *,
    s3: S3Client | None,
    dataset: DatasetVersion | None = None,
    parent: BestModel | None = None,
    clients: Clients | None = None,
    stages: Collection[Stage] = WHOLE_CHAIN,
    known: Collection[Problem] = (),
) -> Findings:
    """What `check` reports, as it is: nothing is logged or raised."""
    questions = _Questions(conf, settings, s3, dataset, frozenset(stages), parent)
    data = dict(as_far_as_known(questions.about_data())) if s3 else {}
    services = dict(questions.about_services(clients)) if clients and s3 else {}
    answers = ask({**(bucket_questions(s3, settings) if s3 else {}), **data, **services})
    buckets = Findings.of(bucket_problems(answers, settings) if s3 else ())
    heard = services if buckets.problems else {**data, **services}
    notes = chain(ignored_notes(conf), algorithm_notes(conf, settings))
    ignored = tuple(as_far_as_known(notes)) if "training" in stages and parent is None else ()
    found = [Findings(tuple(questions.about_conf()), notes=ignored), buckets, *(answers[subject] for subject in heard)]
    if dataset is not None:
        problems = tuple(dataset_problems(conf, dataset, parent=parent))
        found.append(Findings(problems, notes=tuple(dataset_notes(conf, dataset))))
    return _beside(known, Findings.joined(found))


def label_change_problems(
    conf: RunConf, settings: Settings, *, s3: S3Client, sagemaker: SageMakerClient, dataset: DatasetVersion
) -> tuple[Problem, ...]:
    """What a run that deploys would replace although it has other classes than the dataset version.

    What SageMaker does not answer in time is left to the registration, which asks again.
    """
    question = partial(_label_change_findings, sagemaker, s3, conf, settings, dataset)
    found = ask({"classes": question})["classes"]
    _log_notes(found)
    return found.problems


def _label_change_findings(
    sagemaker: SageMakerClient,
    s3: S3Client,
    conf: RunConf,
    settings: Settings,
    dataset: DatasetVersion | DatasetConf,
) -> Findings:
    change = label_change(
        sagemaker, s3, conf=conf, settings=settings, labels=dataset.labels, multi_label=dataset.multi_label
    )
    if change is None:
        return Findings()
    if not conf.endpoint.deploy:
        return Findings.note(f"{change.found}: the model will be registered and wait for approval")
    remedy = f"{change.found}: give {change.renamed} another name, or set promotion.allow_label_change"
    return Findings.of([Problem(field=change.field, value=change.value, remedy=remedy)])


def _beside(known: Collection[Problem], found: Findings) -> Findings:
    """The problems that were known, and what was found of fields that have none yet."""
    wrong = {problem.field for problem in known}
    new = [problem for problem in found.problems if not concerns(problem, wrong)]
    unchecked = [f"what depends on {', '.join(sorted(wrong))} is checked once that is right"] if known else []
    return Findings.joined([Findings(tuple(known), notes=tuple(unchecked)), replace(found, problems=tuple(new))])


@dataclass(frozen=True)
class _Questions:
    """One run, and the questions about it."""

    conf: RunConf
    settings: Settings
    s3: Any
    dataset: DatasetVersion | None
    stages: frozenset[Stage]
    parent: BestModel | None

    @property
    def goes_on(self) -> bool:
        """Whether a model is there to train on from, and none is made from scratch."""
        return self.parent is not None

    def about_conf(self) -> Iterator[Problem]:
        """What conf and settings alone say."""
        yield from contradictions(self.conf)
        yield from as_far_as_known(self._about_packing())
        yield from machine_problems(self.conf, self.stages)
        yield from as_far_as_known(serverless_problems(self.conf, self.settings, self.stages))
        if "training" in self.stages:
            yield from as_far_as_known(hyperparameter_problems(self.conf))
            yield from as_far_as_known(pretrained_problems(self.conf, self.settings))
        yield from as_far_as_known(self._about_requests())

    def _about_packing(self) -> Iterator[Problem]:
        trains_what_it_packs = {"dataset", "training"} <= self.stages and not (self.dataset or self.goes_on)
        if trains_what_it_packs and not self.conf.dataset.version:
            yield from packing_problems(self.conf)

    def _about_requests(self) -> Iterator[Problem]:
        conf, settings = self.conf, self.settings
        region = [*image_problems(conf, settings), *debugger_region_problems(conf, settings, self.stages)]
        yield from region
        counts = self.dataset.counts if self.dataset else None
        if not region and (counts is None or (counts.train and counts.validation)):
            yield from request_problems(conf, settings, self.stages, dataset=self.dataset)

    def about_data(self) -> Iterator[tuple[str, Question]]:
        """Questions to S3: source and finished versions, or the records of the version in hand."""
        if self.stages in ({"prediction"}, {"endpoint"}):
            return  # which model predicts or serves, and with it which version, is chosen before
        if self.dataset is not None:
            yield "records", partial(record_findings, self.s3, self.dataset)
            return
        if "training" in self.stages and self.conf.training.algorithm.kind == "script":
            yield "source of the script", partial(source_findings, self.s3, self.conf, self.settings)
        own = "dataset.version" if self.conf.dataset.version else "dataset.name"
        builds = "dataset" in self.stages and not self.conf.dataset.version
        if builds:
            yield "source", self._source
        trials = self.conf.training.trials
        if not trials and not builds:
            yield "dataset version", partial(self._version, self.conf, own)
        for index, trial in enumerate(trials):
            if trial.dataset or not builds:
                field = f"{TRIALS}.{index}.dataset" if trial.dataset else own
                yield f"trial {trial.name}", partial(self._trial_version, index, trial, field)

    def about_services(self, clients: Clients) -> Iterator[tuple[str, Question]]:
        """Questions to other services; their clients are made here, one by one, as boto3 makes none in threads."""
        settings = self.settings
        if self.stages & {"training", "endpoint", "prediction"}:
            rollout, deploys = self.conf.endpoint.rollout, "endpoint" in self.stages and self.conf.endpoint.deploy
            role = partial(role_findings, clients("iam"), clients("sts"), self.s3, settings)
            yield "role", partial(role, alarms=deploys and rollout.wait > 0)
            yield from as_far_as_known(self._quotas(clients))
            yield from as_far_as_known(self._prices(clients))
        if settings.has("kms_key_id") and settings.kms_key_id:
            yield "key", partial(key_findings, clients("kms"), settings)
        if settings.has("subnets") and settings.subnets:
            yield "network", partial(network_findings, clients("ec2"), settings)
        yield from as_far_as_known(self._parents(clients))
        yield from as_far_as_known(self._classes(clients))
        yield from as_far_as_known(self._endpoint(clients))

    def _endpoint(self, clients: Clients) -> Iterator[tuple[str, Question]]:
        asked = "endpoint" in self.stages and self.conf.endpoint.deploy
        if asked and not list(image_problems(self.conf, self.settings)):
            yield "endpoint", partial(endpoint_findings, Hosting.of(clients), self.conf)

    def _classes(self, clients: Clients) -> Iterator[tuple[str, Question]]:
        """Whether what serves has the classes of each base job; those of a version to be built may not be known yet."""
        is_retraining = self.goes_on and self.conf.training.mode != "none"
        if "training" not in self.stages or is_retraining or list(image_problems(self.conf, self.settings)):
            return
        confs = self._base_confs()
        if confs:
            sagemaker = clients("sagemaker")
            for conf in confs:
                yield f"classes of {conf.dataset.name}", partial(self._label_change, sagemaker, conf)

    def _base_confs(self) -> list[RunConf]:
        """The run conf of each base job whose classes are known; trials of one dataset have the same ones."""
        trials = self.conf.training.trials
        builds = "dataset" in self.stages and not self.conf.dataset.version and self.dataset is None
        own = not trials or self.conf.training.mode != "train" or not all(trial.dataset for trial in trials)
        confs = [self.conf] if own and not (builds and not self.conf.dataset.labels) else []
        if self.dataset is not None:
            return confs
        others = {trial.dataset: self.conf.of_trial(trial) for trial in trials if trial.dataset}
        return [*confs, *others.values()]

    def _label_change(self, sagemaker: SageMakerClient, conf: RunConf) -> Findings:
        known: DatasetVersion | DatasetConf = self.dataset or conf.dataset
        if not known.labels or (conf is not self.conf and self.dataset is None):
            wanted, bucket = conf.dataset, self.settings.data_bucket
            try:
                known = finished_version(self.s3, bucket, name=wanted.name, version=wanted.version, field="")
            except ProblemsError:
                return Findings()  # reported with the version itself
        return _label_change_findings(sagemaker, self.s3, conf, self.settings, known)

    def _parents(self, clients: Clients) -> Iterator[tuple[str, Question]]:
        settings = self.settings
        parents = [name for name in self.conf.tuning.warm_start.parents if name != LATEST]
        tunes = self.conf.training.tunes and not self.goes_on
        if parents and tunes and not list(image_problems(self.conf, settings)):
            client = clients("sagemaker")
            yield "warm start", partial(warm_start_findings, client, self.conf, settings, dataset=self.dataset)

    def _source(self) -> Findings:
        return Findings.of(as_far_as_known(source_problems(self.s3, self.conf, self.settings)))

    def _trial_version(self, index: int, trial: TrialConf, field: str) -> Findings:
        """The version of one trial; what it says itself is reported as its own."""
        found = self._version(self.conf.of_trial(trial), field)
        changed = {f"{HYPERPARAMETERS}.{name}" for name in trial.hyperparameters.model_dump(exclude_none=True)}
        problems = tuple(
            problem.model_copy(update={"field": problem.field.replace("training", f"{TRIALS}.{index}", 1)})
            if problem.field in changed
            else problem
            for problem in found.problems
        )
        return replace(found, problems=problems)

    def _version(self, conf: RunConf, field: str) -> Findings:
        wanted, bucket = conf.dataset, self.settings.data_bucket
        try:
            version = finished_version(self.s3, bucket, name=wanted.name, version=wanted.version, field=field)
        except ProblemsError as error:
            return Findings.of(error.problems)
        if "training" not in self.stages:
            return Findings()
        notes = tuple(as_far_as_known(dataset_notes(conf, version)))
        parent = self.parent if self.parent and "num_classes" in self.parent.hyperparameters else None
        fitting = Findings(tuple(dataset_problems(conf, version, parent=parent)), notes=notes)
        return Findings.joined([fitting, record_findings(self.s3, version)])

    def _quotas(self, clients: Clients) -> Iterator[tuple[str, Question]]:
        region = self.settings.region
        if wanted := needs(self.conf, self.settings, self.stages, goes_on=self.goes_on):
            codes = Remembered(self.s3, self.settings.output_bucket, f"quota-codes-{region}")
            yield "quotas", partial(quota_findings, clients("service-quotas"), codes, wanted, region)

    def _prices(self, clients: Clients) -> Iterator[tuple[str, Question]]:
        own, region = self.settings.prices, self.settings.region
        charged = charges(self.conf, self.settings, self.stages, goes_on=self.goes_on)
        prices = PriceList(own, region)
        if any(charge.machine not in own for charge in charged):
            today = f"prices-{region}-{time.strftime('%Y-%m-%d', time.gmtime())}"
            remembered = Remembered(self.s3, self.settings.output_bucket, today)
            prices = PriceList(own, region, clients("pricing", PRICE_LIST_REGION), remembered)
        if charged:
            yield "prices", partial(cost_findings, self.conf, charged, prices)


def _log_findings(findings: Findings, seconds: float) -> None:
    for line in findings.table:
        log.info("%s", line)
    _log_notes(findings)
    log.info("Checked the run in %.1f s: %d problems.", seconds, len(findings.problems))


def _log_notes(findings: Findings) -> None:
    if findings.notes:
        log.info("Not checked, or good to know: %s.", "; ".join(findings.notes))


class NoPredictingModelError(ProblemsError):
    """What was asked names no model that can predict."""

    title = "There is no model to predict with"


def check_prediction(
    conf: RunConf, asked: PredictionConf, settings: Settings, *, clients: Clients | None, known: Collection[Problem]
) -> PredictingModel:
    """The model that predicts, after everything was checked that can be before a job costs money.

    `known` are problems of conf and settings; without `clients` nothing else is checked. Raises PreflightError with all
    problems.
    """
    model, problems = None, list(known)
    s3 = clients("s3") if clients else None
    if clients and s3:
        try:
            model = predicting_model(clients("sagemaker"), s3, conf, asked, settings)
        except NoPredictingModelError as error:
            problems += error.problems
        except UnknownValueError:
            pass  # what names the model has a problem itself
        problems += prediction_problems(s3, asked, model)
    check(conf, settings, s3=s3, clients=clients, stages=ONLY_PREDICTS, known=problems)
    if model is None:
        raise PreflightError(problems)
    return model


def predicting_model(
    sagemaker: SageMakerClient, s3: S3Client, conf: RunConf, asked: PredictionConf, settings: Settings
) -> PredictingModel:
    """The model that the endpoint `model_of_endpoint` serves, else a registered one of `dataset.name`.

    That is version `model_version`, approved or not, else the dataset's champion. Raises NoPredictingModelError.
    """
    # OpenCV takes half a second to load, and most runs predict nothing.
    from include.evaluation.batch_prediction import PredictingModel  # noqa: PLC0415

    endpoint, number = asked.model_of_endpoint, asked.model_version
    if endpoint and number is not None:
        remedy = f"{ENDPOINT_FIELD} = {endpoint} also names a model: leave one of the two empty"
        raise NoPredictingModelError([Problem(field=VERSION_FIELD, value=number, remedy=remedy)])
    field, value = (ENDPOINT_FIELD, endpoint) if endpoint else ("dataset.name", conf.dataset.name)
    try:
        if endpoint:
            served = served_model(sagemaker, endpoint)
            name, container, uri = f"endpoint {endpoint}", served.container, served.dataset_uri
        else:
            model = _registered_model(sagemaker, conf.dataset.name, number, settings)
            name, container, uri = f"{model.group} version {model.version}", model.container, model.dataset_uri
        return PredictingModel(name=name, container=container, dataset=load(s3, uri))
    except (NoModelError, NoServedModelError, UnknownChampionError, DatasetError) as error:
        raise NoPredictingModelError([Problem(field=field, value=value, remedy=str(error))]) from None


def _registered_model(
    sagemaker: SageMakerClient, dataset: str, number: int | None, settings: Settings
) -> RegisteredModel:
    if number is not None:
        return numbered(sagemaker, settings=settings, dataset=dataset, version=number)
    champion = champion_of(sagemaker, settings=settings, dataset=dataset)
    if champion is None:
        raise NoModelError(f"it has no approved model: train one, or name a version that waits ({VERSION_FIELD})")
    return champion.version


def prediction_problems(s3: S3Client, asked: PredictionConf, model: PredictingModel | None) -> Iterator[Problem]:
    """What is wrong with the images, the model's artifact, and the place where the table is to lie."""
    yield from as_far_as_known(_source_problems(s3, asked))
    yield from as_far_as_known(_output_problems(s3, asked))
    if model is not None:
        bucket, key = parse_s3_uri(model.container.artifact)
        try:
            s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                remedy = f"the artifact of {model.name} is no longer there: choose another model"
                yield Problem(field=VERSION_FIELD, value=model.container.artifact, remedy=remedy)


def _source_problems(s3: S3Client, asked: PredictionConf) -> Iterator[Problem]:
    from include.evaluation.batch_prediction import listed_images  # noqa: PLC0415 - as above

    if not asked.source:
        remedy = "name the prefix of the images to predict, such as s3://my-bucket/new-photos/"
        yield Problem(field="source", remedy=remedy)
        return
    try:
        if next(listed_images(s3, asked.source), None) is None:
            yield Problem(field="source", value=asked.source, remedy="there is no image under this prefix: correct it")
    except DatasetError as error:
        yield Problem(field="source", value=asked.source, remedy=str(error).removeprefix(f"source {asked.source}: "))


def _output_problems(s3: S3Client, asked: PredictionConf) -> Iterator[Problem]:
    if not asked.output:
        return
    bucket, _ = parse_s3_uri(asked.output)
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        absent = error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        why = explained(error, f"s3://{bucket}", LIST) or f"S3 answers {error}"
        remedy = f"there is no bucket {bucket}: create it, or name another" if absent else why
        yield Problem(field="output", value=asked.output, remedy=remedy)
