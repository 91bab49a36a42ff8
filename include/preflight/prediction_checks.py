"""What is checked before images are predicted by batch transform: the model, the images, the place of the table."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.errors import LIST, DatasetError, explained
from include.datasets.layout import parse_s3_uri
from include.datasets.version import load
from include.deployment.endpoint import NoServedModelError, served_model
from include.deployment.registry import NoModelError, numbered
from include.evaluation.batch_prediction import PredictingModel, listed_images
from include.preflight.checking import check
from include.preflight.questions import Clients, PreflightError, Stage
from include.problems import Problem, ProblemsError
from include.promotion.champion import UnknownChampionError, champion_of
from include.run_conf.fields import UnknownValueError, as_far_as_known

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.deployment.registry import RegisteredModel
    from include.run_conf import RunConf
    from include.run_conf.endpoint import PredictionConf
    from include.settings import Settings

VERSION_FIELD = "model_version"
ENDPOINT_FIELD = "model_of_endpoint"
ONLY_PREDICTS: tuple[Stage, ...] = ("prediction",)


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
            model = _registered(sagemaker, conf.dataset.name, number, settings)
            name, container, uri = f"{model.group} version {model.version}", model.container, model.dataset_uri
        return PredictingModel(name=name, container=container, dataset=load(s3, uri))
    except (NoModelError, NoServedModelError, UnknownChampionError, DatasetError) as error:
        raise NoPredictingModelError([Problem(field=field, value=value, remedy=str(error))]) from None


def _registered(sagemaker: SageMakerClient, dataset: str, number: int | None, settings: Settings) -> RegisteredModel:
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
