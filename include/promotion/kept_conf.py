"""The run conf that is kept with a registered model, so that a later unattended run does as a person chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.layout import parse_s3_uri
from include.problems import Problem
from include.run_conf import RunConf, RunConfError
from include.run_conf.reading import parsed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.deployment.registry import RegisteredModel
    from include.sagemaker.naming import Run
    from include.settings import Settings

FILE = "run_conf.json"


def keep_run_conf(s3: S3Client, conf: RunConf, *, settings: Settings, run: Run) -> str:
    """Write the whole run conf into the run's report folder; returns its address."""
    key = f"{settings.report_prefix(run.name)}{FILE}"
    s3.put_object(
        Bucket=settings.output_bucket,
        Key=key,
        Body=conf.model_dump_json(indent=2).encode(),
        ContentType="application/json",
    )
    return f"s3://{settings.output_bucket}/{key}"


def kept_run_conf(s3: S3Client, model: RegisteredModel) -> RunConf | None:
    """The run conf that the model was trained with; None if none was kept, or the file is gone.

    Raises RunConfError, which names the file, if it cannot be read.
    """
    if model.run_conf is None:
        return None
    bucket, key = parse_s3_uri(model.run_conf)
    try:
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
    try:
        document = parsed(text)
    except ValueError as error:
        raise RunConfError([Problem(field=model.run_conf, remedy=f"is not JSON: {error}")]) from None
    if not isinstance(document, dict):
        raise RunConfError([Problem(field=model.run_conf, value=document, remedy="is not a JSON object")])
    conf, problems = RunConf.read(document)
    if problems:
        place = f"in {model.run_conf}, the run conf of {model.group} version {model.version}"
        raise RunConfError(problem.model_copy(update={"remedy": f"{problem.remedy} ({place})"}) for problem in problems)
    return conf
