"""What can be known of the algorithm before it runs: its image, its source, its hyperparameters, what it prints.

Sources: API reference of AlgorithmSpecification (TrainingImage lies in the region's ECR); developer guide, "Run
training and inference containers in internet-free mode".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.algorithms.kinds import algorithm_of
from include.algorithms.source_code import PROJECT, REQUIREMENTS, SourceCodeError, is_archive, read_source
from include.datasets.errors import explained
from include.datasets.image_objects import unfit_for_folders
from include.datasets.layout import parse_s3_uri
from include.preflight import Findings
from include.problems import Problem, did_you_mean, nearest
from include.run_conf.algorithm import ALGORITHM, PYTORCH_SCRIPTS
from include.run_conf.rules import HYPERPARAMETERS, TRIALS
from include.sagemaker.api import existing
from include.sagemaker.containers import UnknownImageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.settings import Settings
    from include.training.best_model import BestModel

ECR = re.compile(
    r"\d{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+/(?P<name>[a-z0-9._/-]+)"
    r"(?::[\w.-]{1,128})?(?P<digest>@.+)?"
)
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")


def image_problems(conf: RunConf, settings: Settings) -> Iterator[Problem]:
    """An image that AWS does not have, in this region or of this version, or that lies in another region."""
    algorithm = algorithm_of(conf, settings)
    try:
        images = {algorithm.inference_image: f"{ALGORITHM}.inference.image", algorithm.image: f"{ALGORITHM}.image"}
    except UnknownImageError as error:
        yield _unknown_image(conf, settings, error)
        return
    for image, field in images.items():
        found = ECR.fullmatch(image)
        if found is None or conf.training.algorithm.is_builtin:
            continue
        if found["region"] != settings.region:
            remedy = (
                f"SageMaker takes images of its own region, and settings.region is {settings.region}: copy it there"
            )
            yield Problem(field=field, value=image, remedy=remedy)
        if found["digest"] and not DIGEST.fullmatch(found["digest"]):
            remedy = "a digest is sha256: and 64 hexadecimal digits, as publish_training_image prints it: correct it"
            yield Problem(field=field, value=image, remedy=remedy)


def pretrained_problems(conf: RunConf, settings: Settings) -> Iterator[Problem]:
    """A run that asks for ImageNet weights if the algorithm's image has none: its job would fail at the start."""
    training = conf.training
    if settings.imagenet_weights or not training.algorithm.is_builtin or training.mode == "none":
        return
    own = {
        f"{TRIALS}.{number}.hyperparameters": trial.hyperparameters.use_pretrained_model
        for number, trial in enumerate(training.trials)
        if training.mode != "tune"
    }
    base = training.hyperparameters.use_pretrained_model
    if training.tunes or not own or None in own.values():
        own[HYPERPARAMETERS] = base
    for section, asked in own.items():
        if asked:
            remedy = (
                "the algorithm of this installation has no ImageNet weights (settings.imagenet_weights): set it to 0"
            )
            yield Problem(field=f"{section}.use_pretrained_model", value=asked, remedy=remedy)


def _unknown_image(conf: RunConf, settings: Settings, error: UnknownImageError) -> Problem:
    asked = conf.training.algorithm
    if asked.is_builtin:
        remedy = "AWS offers no image classification here: correct it, or name a container of your own as image_uri"
        return Problem(field="settings.region", value=settings.region, remedy=remedy)
    remedy = f"{error} Give {ALGORITHM}.image and {ALGORITHM}.inference.image otherwise"
    if asked.framework_version:
        return Problem(field=f"{ALGORITHM}.framework_version", value=asked.framework_version, remedy=remedy)
    return Problem(field="settings.region", value=settings.region, remedy=remedy)


def algorithm_notes(conf: RunConf, settings: Settings) -> Iterator[str]:
    """What is worth knowing: what the sample line shows, images from elsewhere, fields of another kind."""
    asked = conf.training.algorithm
    if asked.is_builtin:
        yield from _unread(conf)
        return
    if asked.sample_line and asked.objective.metric in asked.defined_metrics:
        yield f"{ALGORITHM}.sample_line shows {asked.objective.metric} = {asked.sample_value}"
    for image in {asked.image, asked.inference.image} - {""}:
        if not ECR.fullmatch(image):
            yield f"{image} is not in ECR, and AWS takes images of ECR only"
    if settings.network_isolation and asked.kind == "script":
        yield "settings.network_isolation is on: the job installs no requirements.txt and downloads nothing"


def _unread(conf: RunConf) -> Iterator[str]:
    """Fields of scripts and containers that somebody has set, where the built-in algorithm trains."""
    asked, usual = conf.training.algorithm, type(conf)().training.algorithm
    for name, default in _flat(usual.model_dump()):
        given = dict(_flat(asked.model_dump()))[name]
        if given != default and name not in ("image", "train_arguments", "hyperparameters") and "objective" not in name:
            yield f"{ALGORITHM}.{name} = {given} has no effect: {ALGORITHM}.kind is builtin"


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict) and name in ("objective", "inference"):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def source_findings(s3: S3Client, conf: RunConf, settings: Settings) -> Findings:
    """Whether the source of a script is there and holds what begins; raises botocore's errors if S3 does not answer."""
    asked = conf.training.algorithm
    field = f"{ALGORITHM}.source"
    try:
        if is_archive(asked.source):
            return _archive_findings(s3, asked.source, field)
        files = read_source(s3, asked.source)
    except SourceCodeError as error:
        return Findings.of([Problem(field=field, value=asked.source, remedy=str(error))])
    except (ClientError, BotoCoreError) as error:
        reason = explained(error, asked.source)
        if reason is None:
            raise
        return Findings.of([Problem(field=field, value=asked.source, remedy=reason)])
    if asked.entry_point not in files:
        remedy = f"is not in {asked.source}: {_meant(asked.entry_point, files)}"
        return Findings.of([Problem(field=f"{ALGORITHM}.entry_point", value=asked.entry_point, remedy=remedy)])
    return Findings(notes=(f"{asked.source} has {len(files)} files", *_requirements_note(files, settings)))


def _meant(file: str, files: Mapping[str, bytes]) -> str:
    scripts = [name for name in files if name.endswith((".py", ".sh"))]
    return f"it has {', '.join(scripts[:8]) or 'no script'}; name one of these{did_you_mean(nearest(file, scripts))}"


def _requirements_note(files: Mapping[str, bytes], settings: Settings) -> Iterator[str]:
    if REQUIREMENTS in files:
        lines = [line for line in files[REQUIREMENTS].decode(errors="replace").splitlines() if line.strip()]
        named = [line for line in lines if not line.lstrip().startswith("#")]
        isolated = ", which settings.network_isolation forbids" if settings.network_isolation and named else ""
        if named:
            yield f"the job installs {len(named)} lines of {REQUIREMENTS} with pip{isolated}"


def _archive_findings(s3: S3Client, source: str, field: str) -> Findings:
    bucket, key = parse_s3_uri(source)
    if existing(s3.head_object, Bucket=bucket, Key=key) is None:
        return Findings.of([Problem(field=field, value=source, remedy="is not there: upload it or correct it")])
    return Findings.note(f"the content of {source} is not checked: it is packed already")


def hyperparameter_problems(conf: RunConf) -> Iterator[Problem]:
    """Hyperparameters that the project's own scripts do not have."""
    asked = conf.training.algorithm
    if not asked.is_of_project:
        return
    known = script_hyperparameters()
    tables: dict[str, Mapping[str, Any]] = {
        f"{ALGORITHM}.hyperparameters": asked.hyperparameters,
        "incremental.algorithm_hyperparameters": conf.incremental.algorithm_hyperparameters,
        **{
            f"training.trials.{index}.algorithm_hyperparameters": trial.algorithm_hyperparameters
            for index, trial in enumerate(conf.training.trials)
        },
        **({"tuning.ranges": conf.tuning.ranges} if conf.training.tunes else {}),
    }
    for field, values in tables.items():
        for name, value in values.items():
            if name not in known:
                meant = did_you_mean(nearest(name, known))
                remedy = f"is not a hyperparameter of {asked.source}{meant}; its README lists them"
                yield Problem(field=f"{field}.{name}", value=value, remedy=remedy)


@cache
def script_hyperparameters() -> tuple[str, ...]:
    """The hyperparameters of the project's own scripts; what they import is not there, so they are read, not run."""
    module = ast.parse((PROJECT / PYTORCH_SCRIPTS / "hyperparameters.py").read_text(encoding="utf-8"))
    chosen = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Hyperparameters")
    fields = [node.target for node in chosen.body if isinstance(node, ast.AnnAssign)]
    return tuple(field.id for field in fields if isinstance(field, ast.Name))


def own_code_problems(conf: RunConf, dataset: DatasetVersion, parent: BestModel | None) -> Iterator[Problem]:
    """What of a dataset version, or of a model that is trained further, does not suit a script or a container."""
    asked = conf.training.algorithm
    if parent and parent.algorithm != asked.kind:
        remedy = (
            f"{parent.job} was trained by {parent.algorithm}, and only its own kind can train a model further: set "
            "it to that, or run a full training"
        )
        yield Problem(field=f"{ALGORITHM}.kind", value=asked.kind, remedy=remedy)
    if asked.is_builtin:
        return
    if asked.channels == "folders" and (why := unfit_for_folders(dataset)):
        yield Problem(field=f"{ALGORITHM}.channels", value=asked.channels, remedy=why)
    batch = asked.hyperparameters.get("batch_size")
    if asked.is_of_project and isinstance(batch, int) and batch > dataset.counts.train:
        remedy = f"the train channel has {dataset.counts.train} images: use at most that"
        yield Problem(field=f"{ALGORITHM}.hyperparameters.batch_size", value=batch, remedy=remedy)
