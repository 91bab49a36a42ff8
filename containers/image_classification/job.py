"""A training job as it was asked for: everything read and checked before the first epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .channels import DATA_CHANNELS, MODEL_CHANNEL, ChannelProblem, Channels, read_channels
from .configuration import read_json
from .hyperparameters import Hyperparameters, Reading, read_hyperparameters
from .incremental import foreign_layers, mismatches
from .model_files import UnusableModelError, Weights, load_model, unpack_model
from .paths import ContainerPaths
from .problems import refuse
from .record_checks import classes_without_records, record_problems
from .records import RecordFile, scan_records


@dataclass(frozen=True)
class TrainingJob:
    """A job without problems; `start` are the weights of the channel 'model'."""

    hyperparameters: Hyperparameters
    train: RecordFile
    validation: RecordFile
    start: Weights | None

    def warnings(self) -> list[str]:
        """What is allowed and yet is hardly meant."""
        chosen = self.hyperparameters
        found = []
        for records in (self.train, self.validation):
            if records.leading_headers:
                found.append(
                    f"{records.leading_headers} records of {records.path.name} in channel '{records.channel}' have a "
                    "header and no image: they are passed over"
                )
            absent = classes_without_records(records, chosen.num_classes)
            if absent:
                found.append(f"no image in channel '{records.channel}' has class {', '.join(map(str, absent[:20]))}")
        if chosen.use_weighted_loss and not chosen.multi_label:
            found.append("use_weighted_loss=1 has no effect without multi_label=1")
        if chosen.resize and self.train.resize is None:
            found.append(f"resize={chosen.resize} has no effect on records: it is for channels of images as files")
        if chosen.kv_store:
            found.append(f"kv_store={chosen.kv_store} has no effect on one machine")
        if chosen.lr_scheduler_step and chosen.lr_scheduler_step[-1] >= chosen.epochs:
            found.append(
                f"lr_scheduler_step={chosen.lr_scheduler_step[-1]} is never reached with epochs={chosen.epochs}"
            )
        return found


def read_job(paths: ContainerPaths, workspace: Path) -> TrainingJob:
    """Read configuration, channels and record heads; raises CustomerError with all problems at once."""
    channels = read_channels(paths)
    reading = read_hyperparameters(read_json(paths.config / "hyperparameters.json"), incremental=channels.incremental)
    problems = [*reading.problems, *host_problems(paths), *channels.resize_problems(reading.values)]
    records = read_records(channels, reading, workspace, problems)
    start = read_start(channels, reading, workspace, problems)
    refuse(problems)
    return TrainingJob(reading.hyperparameters(), records["train"], records["validation"], start)


def host_problems(paths: ContainerPaths) -> list[str]:
    """Refuse several machines: this container trains on one."""
    hosts = read_json(paths.config / "resourceconfig.json").get("hosts", [])
    if len(hosts) <= 1:
        return []
    return [f"the job has {len(hosts)} instances and this container trains on one: set InstanceCount to 1"]


def read_records(channels: Channels, reading: Reading, workspace: Path, problems: list[str]) -> dict[str, RecordFile]:
    """Scan both data channels, adding to `problems` what is wrong with them."""
    found: dict[str, RecordFile] = {}
    for channel in DATA_CHANNELS:
        try:
            record_file = channels.record_file(channel, workspace)
            resize = reading.values.get("resize") if channels.uses_image_lists(channel) else None
        except ChannelProblem as problem:
            problems.append(str(problem))
            continue
        found[channel] = scan_records(channel, record_file, resize)
        problems += record_problems(found[channel], reading.values)
    return found


def read_start(channels: Channels, reading: Reading, workspace: Path, problems: list[str]) -> Weights | None:
    """The weights of the channel 'model', adding to `problems` what does not match them."""
    if not channels.incremental:
        return None
    try:
        model = load_model(unpack_model(channels.paths.channel(MODEL_CHANNEL), workspace))
    except UnusableModelError as unusable:
        problems.append(f"the model in channel '{MODEL_CHANNEL}' cannot be used: {unusable}")
        return None
    different = mismatches(model, reading.values)
    problems += different
    wanted = [reading.values.get(name) for name in ("num_layers", "num_classes", "image_shape")]
    if not different and None not in wanted and not reading.problems:
        foreign = foreign_layers(model.weights, *wanted)  # type: ignore[arg-type]
        if foreign:
            problems.append(f"the model in channel '{MODEL_CHANNEL}' is another network: it differs in {foreign[0]}")
    return model.weights
