"""What a retraining has to do: which dataset has grown, from which model it continues, with which run conf, and when.

One run at a time trains a dataset's champion further. Whose turn it is stands in an object beside the dataset's
versions, `datasets/NAME/turn.json`, that names the run. It is written if there is none, or instead of exactly the
object that was read, so of two runs that want it one gets it (S3 user guide, "Add preconditions to S3 operations with
conditional requests"). No run gives it back: Airflow is asked whether the run that has it has ended. So a run that was
killed holds up no other.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.datasets.layout import VersionLayout
from include.datasets.plan import NewImages, find_new_images
from include.datasets.sources.inventory import newest_report
from include.datasets.sources.label_table import are_numbers
from include.datasets.unpacking.addresses import DEFAULT_POLICY, SourcePolicy
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import DatasetVersion, latest, load
from include.problems import Problem
from include.promotion.champion import Champion, UnknownChampionError, champion_of, kept_run_conf
from include.run_conf import DatasetConf, PackingConf, RunConf, RunConfError, SplitConf
from include.run_conf.reading import Reading
from include.run_conf.sections import BEST_OF_RUN
from include.sagemaker.naming import Run
from include.training.best_model import label_set_fingerprint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.settings import Settings

log = logging.getLogger(__name__)

DATASET_FIELDS = ("max_bad_fraction", "packing.shard_images")
"""What a person may ask of a retraining's dataset: all else is as in the version that grows."""

RunState = Literal["unknown", "unfinished", "over"]
RunStates = Callable[[Run], RunState]
"""What Airflow knows of a run."""
STARTED_WITHIN = timedelta(minutes=10)
"""So long a run that Airflow does not know yet keeps its turn: it is being started."""
TAKEN_BY_ANOTHER = frozenset({404, 409, 412})
"""What S3 answers if the object is not the one that was read."""


@dataclass(frozen=True)
class Line:
    """A dataset that may be retrained: the champion from which it continues, and the run conf of its retraining."""

    champion: Champion
    conf: RunConf

    def suits(self, version: DatasetVersion) -> bool:
        """Whether a dataset version has the champion's classes, in their order."""
        known = self.champion.version.label_set
        return known is None or known == label_set_fingerprint(version.labels)


@dataclass(frozen=True)
class Retraining:
    """A dataset with images that its version does not know, and the run that takes them in.

    `parent` is the address of the newest version with the champion's classes, `fingerprint` that of the new images.
    """

    conf: RunConf
    champion: Champion
    parent: str
    new_images: int
    fingerprint: str

    @property
    def run_id(self) -> str:
        """The same for the same images that are new to the same version."""
        return f"retrain__{self.conf.dataset.name}__{VersionLayout.of_uri(self.parent).version}__{self.fingerprint}"


@dataclass(frozen=True)
class FullTraining:
    """A dataset whose source has classes that the champion does not know, and the run of the chain that learns all."""

    conf: RunConf
    new_labels: tuple[str, ...]

    @property
    def run_id(self) -> str:
        """The same for the same classes."""
        return f"new_classes__{self.conf.dataset.name}__{label_set_fingerprint(self.conf.dataset.labels)}"

    @property
    def asked(self) -> dict[str, Any]:
        """The run conf as a person would write it, to let the model replace the champion."""
        promotion = self.conf.promotion.model_copy(update={"allow_label_change": True})
        return _written(self.conf.model_copy(update={"promotion": promotion}))

    @property
    def unattended(self) -> dict[str, Any]:
        """The run conf of a run that nobody started: no comparison says that its model may replace the champion.

        The model waits for a person.
        """
        promotion = self.conf.promotion.model_copy(update={"allow_label_change": False})
        endpoint = self.conf.endpoint.model_copy(update={"deploy": False})
        return _written(self.conf.model_copy(update={"promotion": promotion, "endpoint": endpoint}))


def _written(conf: RunConf) -> dict[str, Any]:
    document: dict[str, Any] = conf.model_dump(mode="json", exclude_defaults=True)
    return document


def line_of(
    s3: S3Client, sagemaker: SageMakerClient, asked: RunConf, *, settings: Settings, dataset: str
) -> Line | None:
    """The champion of a dataset and how its retraining runs; None if it has no champion.

    Raises UnknownChampionError and RunConfError.
    """
    champion = champion_of(sagemaker, settings=settings, dataset=dataset)
    if champion is None:
        log.info("%s has no approved model to continue from: start image_classification.", dataset)
        return None
    kept = kept_run_conf(s3, champion.version)
    if kept is None:
        log.warning("%s has no run conf: the retraining takes the defaults.", champion.version.arn)
    conf = retraining_conf(champion, kept or RunConf(), settings.lines.get(dataset, {}), asked)
    check_retraining_conf(conf)
    return Line(champion, conf)


def retraining_conf(champion: Champion, kept: RunConf, line: Mapping[str, Any], asked: RunConf) -> RunConf:
    """The run conf of the champion's run, changed by what serves now, then by the settings, then by what was asked.

    That a model with other classes may replace it was allowed for that run alone. Raises RunConfError if these
    contradict each other.
    """
    unattended = {"training.trials": [], "incremental.enabled": True, "promotion.allow_label_change": False}
    if kept.training.mode == "none":
        unattended |= {"training.mode": "train", "incremental.from": BEST_OF_RUN}
    serving = {"endpoint": champion.live.as_conf()} if champion.live else {}
    wanted = asked.model_dump(mode="json", exclude_unset=True)
    if "dataset" in wanted:
        fields = Reading.of(RunConf, {"dataset": wanted["dataset"]}).values
        wanted["dataset"] = {name: fields[f"dataset.{name}"] for name in DATASET_FIELDS if f"dataset.{name}" in fields}
    return kept.changed_by(unattended, serving, line, wanted)


def check_retraining_conf(conf: RunConf) -> None:
    """Raise RunConfError if a conf asks for what no retraining does."""
    if not conf.incremental.enabled:
        remedy = "a retraining trains the champion further: leave it on, or start image_classification"
        raise RunConfError([Problem(field="incremental.enabled", value=False, remedy=remedy)])
    if conf.incremental.start != BEST_OF_RUN:
        remedy = "a retraining starts from the champion: leave it out, or start image_classification"
        raise RunConfError([Problem(field="incremental.from", value=conf.incremental.start, remedy=remedy)])


def find_retrainings(
    s3: S3Client,
    line_of: Callable[[str], Line | None],
    *,
    data_bucket: str,
    policy: SourcePolicy = DEFAULT_POLICY,
    was_started: Callable[[FullTraining], bool] = lambda _: False,
) -> list[Retraining | FullTraining]:
    """What to train: every dataset that has grown enough since its version, or has new classes that are to be learned.

    `was_started` says whether a full training with these classes was started before; each is once. A dataset without a
    `Line`, a source that cannot be read, or an endpoint that serves something else holds up no other dataset. Where
    there is nothing to train the error of a dataset that could not be compared is raised.
    """
    found: list[Retraining | FullTraining] = []
    errors: list[Exception] = []
    for name in dataset_names(s3, data_bucket):
        try:
            line = line_of(name)
            growth = _growth_of(s3, line, name, data_bucket, policy) if line else None
            if growth is not None:
                found += _training_of(s3, growth, was_started)
        except (DatasetError, UnknownChampionError, RunConfError) as error:
            log.warning("It is not known whether %s has grown: %s", name, error)
            errors.append(error)
    if not found and errors:
        raise errors[0]
    return found


def find_retraining(
    s3: S3Client, line: Line, dataset: str, *, data_bucket: str, policy: SourcePolicy = DEFAULT_POLICY
) -> Retraining | None:
    """How a dataset is retrained if it has grown enough since its version.

    The version that grows is the newest one with the champion's classes. Source, labels, split and packing are that
    version's, all else is the line's. Classes without a label are left out and named in the log.
    """
    growth = _growth_of(s3, line, dataset, data_bucket, policy)
    return _retraining_of(s3, growth) if growth else None


@dataclass(frozen=True)
class _Growth:
    """What is new at the source of a dataset."""

    line: Line
    version: DatasetVersion
    new: NewImages


def _growth_of(s3: S3Client, line: Line, dataset: str, data_bucket: str, policy: SourcePolicy) -> _Growth | None:
    version = _version_to_grow(s3, data_bucket, dataset, line)
    return _Growth(line, version, _new_images(s3, line.conf, version, policy)) if version else None


def _training_of(
    s3: S3Client, growth: _Growth, was_started: Callable[[FullTraining], bool]
) -> list[Retraining | FullTraining]:
    """A full training if the source has new classes and `retraining.new_classes` asks for it, else a retraining."""
    if growth.new.new_labels:
        full = _full_training_of(s3, growth)
        if _is_to_start(full, was_started):
            return [full]
    retraining = _retraining_of(s3, growth)
    return [retraining] if retraining else []


def _retraining_of(s3: S3Client, growth: _Growth) -> Retraining | None:
    line, version, new = growth.line, growth.version, growth.new
    if not _are_enough(new.count, version.name, line.conf):
        return None
    return Retraining(
        conf=line.conf.model_copy(update={"dataset": _grown_conf(s3, line.conf, version)}),
        champion=line.champion,
        parent=version.uri,
        new_images=new.count,
        fingerprint=new.fingerprint,
    )


def _full_training_of(s3: S3Client, growth: _Growth) -> FullTraining:
    conf, new_labels = growth.line.conf, growth.new.new_labels
    grown = _grown_conf(s3, conf, growth.version)
    dataset = grown.model_copy(update={"labels": [*growth.version.labels, *new_labels]})
    return FullTraining(conf.model_copy(update={"dataset": dataset}), new_labels)


def _is_to_start(full: FullTraining, was_started: Callable[[FullTraining], bool]) -> bool:
    """Whether a full training is started now; the log names the classes, and the run conf to start it by hand."""
    dataset, shown = full.conf.dataset, ", ".join(full.new_labels)
    if full.conf.retraining.new_classes == "train":
        if not was_started(full):
            log.warning(
                "%s has new classes: %s. A full training with all %d starts; its model will wait for a person.",
                dataset.name,
                shown,
                len(dataset.labels),
            )
            return True
        log.info("%s has new classes: %s. The run %s was started for them.", dataset.name, shown, full.run_id)
        return False
    log.warning(
        "%s has new classes: %s. They are left out, as no class can be added to a trained model. For a full training "
        "with all %d classes set retraining.new_classes to train, or start image_classification with %s",
        dataset.name,
        shown,
        len(dataset.labels),
        json.dumps(full.asked),
    )
    return False


def why_not_trained(s3: S3Client, version: DatasetVersion) -> str:
    """Why a training would learn nothing that is new in a version, empty if it would."""
    gained = version.newly_packed
    if gained is None:  # a document from before they were counted
        gained = version.counts.total - (load(s3, version.parent).counts.total if version.parent else 0)
    if not gained:
        return f"No new image of {version.uri} could be packed: {version.statuses}"
    if version.new_training_images == 0:
        most = version.split.train_per_class
        full = f"; every class has its {most} training images (dataset.split.train_per_class)" if most else ""
        return f"All {gained} new images of {version.uri} are held out, for validation or test{full}: nothing to learn."
    return ""


def dataset_names(s3: S3Client, data_bucket: str) -> Iterator[str]:
    """The names under which dataset versions lie in the bucket."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=data_bucket, Prefix="datasets/", Delimiter="/")
    for page in pages:
        for folder in page.get("CommonPrefixes", []):
            yield folder["Prefix"].removeprefix("datasets/").rstrip("/")


def dataset_conf(conf: DatasetConf, version: DatasetVersion) -> DatasetConf:
    """The conf that grows a version as it was built; the size of shards and what is tolerated stay `conf`'s."""
    return DatasetConf(
        name=version.name,
        **version.source.as_conf(),
        labels=version.labels,
        multi_label=version.multi_label,
        negatives=version.negatives,
        split=SplitConf(**version.split.model_dump()),
        packing=PackingConf.of(version.packing, shard_images=conf.packing.shard_images),
        max_bad_fraction=conf.max_bad_fraction,
    )


def _version_to_grow(s3: S3Client, data_bucket: str, name: str, line: Line) -> DatasetVersion | None:
    """The newest version with the champion's classes; None if the dataset has no version at all."""
    newest = latest(s3, data_bucket, name)
    if newest is None or line.suits(newest):
        return newest
    version = latest(s3, data_bucket, name, suits=line.suits)
    if version is None:
        raise DatasetError(
            f"no version of dataset {name} has the classes of {line.champion}: build one with dataset.labels as in "
            f"{line.champion.version.dataset_uri}labels.json"
        )
    log.info("%s/%s has other classes than %s: %s grows instead.", name, newest.version, line.champion, version.version)
    return version


def _grown_conf(s3: S3Client, conf: RunConf, version: DatasetVersion) -> DatasetConf:
    """The conf that grows a version now: of an inventory the newest report, as an older one lists nothing new."""
    dataset = dataset_conf(conf.dataset, version)
    if not dataset.inventory:
        return dataset
    return dataset.model_copy(update={"inventory": newest_report(s3, dataset.inventory)})


def _new_images(s3: S3Client, conf: RunConf, version: DatasetVersion, policy: SourcePolicy) -> NewImages:
    dataset = _grown_conf(s3, conf, version)
    if not _names_are_needed(version):
        dataset = dataset.model_copy(update={"labels": []})
    unpack_sources(s3, dataset, version.layout.bucket, policy)
    return find_new_images(s3, dataset, version)


def _are_enough(new_images: int, dataset: str, conf: RunConf) -> bool:
    """Whether so many new images are worth a retraining; if not, the log says how many wait."""
    needed = conf.retraining.min_new_images
    if 0 < new_images < needed:
        text = "%s: %d new images wait; a retraining starts with %d (retraining.min_new_images)."
        log.info(text, dataset, new_images, needed)
    return new_images >= needed


def _names_are_needed(version: DatasetVersion) -> bool:
    """Whether the source's classes are known only by the version's labels: a file chooses them, or they are numbers."""
    source = version.source
    numbered = any(address.lower().endswith((".lst", ".rec")) for address in (*source.label_tables, *source.addresses))
    return bool(source.labels_file) or (numbered and not are_numbers(version.labels))


class Turn(BaseModel):
    """The run that trains a dataset's champion further, or is about to.

    From `late_at` on people are notified if it has not ended; None if no one is to be notified, or if they have been.
    """

    model_config = ConfigDict(frozen=True)

    dag_id: str
    run_id: str
    late_at: datetime | None = None

    @property
    def run(self) -> Run:
        """The run as other modules know it."""
        return Run(self.dag_id, self.run_id)


def take_turn(s3: S3Client, bucket: str, dataset: str, run: Run, states: RunStates) -> Run:
    """The run whose turn it is: `run`, or one that has the turn and has not ended."""
    while True:
        found = _read_turn(s3, bucket, dataset)
        if found and (found.turn.run == run or _keeps_turn(states(found.turn.run), datetime.now(UTC) - found.written)):
            return found.turn.run
        wanted = Turn(dag_id=run.dag_id, run_id=run.run_id)
        if _write_turn(s3, bucket, dataset, wanted, in_place_of=found):
            return run


def set_deadline(s3: S3Client, bucket: str, dataset: str, run: Run, late_at: datetime) -> None:
    """Note until when the run that has the turn should have ended; nothing if another run has it by now."""
    found = _read_turn(s3, bucket, dataset)
    if found and found.turn.run == run:
        _write_turn(s3, bucket, dataset, found.turn.model_copy(update={"late_at": late_at}), in_place_of=found)


def late_runs(s3: S3Client, bucket: str, datasets: Iterable[str], states: RunStates) -> Iterator[tuple[str, Turn]]:
    """The runs that should have ended and have not, by their datasets. Each is given once, to one caller."""
    for dataset in datasets:
        found = _read_turn(s3, bucket, dataset)
        if found is None or found.turn.late_at is None or found.turn.late_at > datetime.now(UTC):
            continue
        if states(found.turn.run) != "unfinished":
            continue
        if _write_turn(s3, bucket, dataset, found.turn.model_copy(update={"late_at": None}), in_place_of=found):
            yield dataset, found.turn


@dataclass(frozen=True)
class _StoredTurn:
    turn: Turn
    etag: str
    written: datetime


def _turn_key(dataset: str) -> str:
    return f"datasets/{dataset}/turn.json"


def _read_turn(s3: S3Client, bucket: str, dataset: str) -> _StoredTurn | None:
    try:
        found = s3.get_object(Bucket=bucket, Key=_turn_key(dataset))
    except ClientError as error:
        if _http_status(error) != 404:
            raise
        return None
    return _StoredTurn(Turn.model_validate_json(found["Body"].read()), found["ETag"], found["LastModified"])


def _write_turn(s3: S3Client, bucket: str, dataset: str, turn: Turn, *, in_place_of: _StoredTurn | None) -> bool:
    """Write the turn instead of the one that was read, or of none; False if another run was quicker."""
    condition = {"IfMatch": in_place_of.etag} if in_place_of else {"IfNoneMatch": "*"}
    body = turn.model_dump_json(exclude_none=True).encode()
    try:
        s3.put_object(Bucket=bucket, Key=_turn_key(dataset), Body=body, ContentType="application/json", **condition)  # type: ignore[arg-type]
    except ClientError as error:
        if _http_status(error) not in TAKEN_BY_ANOTHER:
            raise
        return False
    return True


def _keeps_turn(state: RunState, age: timedelta) -> bool:
    return state == "unfinished" or (state == "unknown" and age < STARTED_WITHIN)


def _http_status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
