"""A training job from its hyperparameters to the archive: everything is read and checked before the first epoch."""

from __future__ import annotations

import dataclasses
import logging

import keras

from .config import Config, read_config
from .images import Classes, Images, open_images, read_classes
from .job_folders import JobError, JobFolders
from .model_files import CLASSES_FILE, CONFIG_FILE, TrainedModel, load_model_channel, write_json
from .networks import build_network, load_base_weights
from .report import confusion_matrix, write_reports
from .stopping import StopRequest
from .training import Training, predicted

log = logging.getLogger(__name__)

MODEL_CHANNEL, WEIGHTS_CHANNEL = "model", "weights"
REPORT_CHANNELS = ("test", "validation")


def run_job(folders: JobFolders) -> None:
    """Train, then report on the test images, or on the validation images if there are none. Raises JobError."""
    stop = StopRequest()
    config = read_config(folders.read_input("hyperparameters.json"))
    if len(machines := folders.read_input("resourceconfig.json").get("hosts", [])) > 1:
        raise JobError(
            f"The job has {len(machines)} machines and this algorithm trains on one: set InstanceCount to 1."
        )
    before = load_model_channel(folders.channel(MODEL_CHANNEL)) if MODEL_CHANNEL in folders.channels() else None
    classes = read_classes(folders, config, before.classes if before else None)
    names = ["train", "validation", *(["test"] if "test" in folders.channels() else [])]
    images = {name: open_images(folders, name, classes) for name in names}
    start = starting_model(folders, config, classes, before)
    log_job(start, images)
    training = Training(start, images["train"], images["validation"], folders=folders, stop=stop)
    model = training.run()
    if model is None:
        return
    channel = next(name for name in REPORT_CHANNELS if name in images)
    matrix = confusion_matrix(images[channel].labels, predicted(model, images[channel]), len(classes))
    log.info("%s-accuracy=%f of the model that was kept", channel.capitalize(), matrix.trace() / matrix.sum())
    write_reports((folders.model, folders.output), matrix, classes, training.history)
    write_json(folders.output / CLASSES_FILE, list(classes))
    write_json(folders.output / CONFIG_FILE, dataclasses.asdict(config))


def starting_model(folders: JobFolders, config: Config, classes: Classes, before: TrainedModel | None) -> TrainedModel:
    """What training starts from: the model in channel `model`, else the weights in channel `weights`, or random ones.

    Raises JobError.
    """
    if before is not None:
        check_continues(before, config, classes)
    keras.utils.set_random_seed(config.seed)
    network = build_network(config, len(classes))
    if before is not None:
        network.set_weights(before.network.get_weights())
    elif WEIGHTS_CHANNEL in folders.channels():
        files = sorted(folders.channel(WEIGHTS_CHANNEL).rglob("*.h5"))
        if len(files) != 1:
            raise JobError(f"Channel 'weights' holds {len(files)} .h5 files: it needs one.")
        load_base_weights(network, config, files[0])
    elif config.freeze_epochs:
        raise JobError(
            f"freeze_epochs={config.freeze_epochs} freezes random weights: give the job a channel 'weights' or "
            "'model', or leave it out."
        )
    return TrainedModel(network, classes, config)


def check_continues(before: TrainedModel, config: Config, classes: Classes) -> None:
    """Check that a job trains the same thing further. Raises JobError, which names what differs."""
    problems = []
    if before.config.network != config.network:
        problems.append(f"network={config.network} (the model has {before.config.network})")
    if before.classes != classes:
        same = (
            "the same in another order" if {*before.classes} == {*classes} else f"the model has {len(before.classes)}"
        )
        problems.append(f"the {len(classes)} classes of the job ({same})")
    if problems:
        raise JobError(
            f"The model in channel 'model' cannot be trained further: it does not fit {'; '.join(problems)}."
        )


def log_job(start: TrainedModel, images: dict[str, Images]) -> None:
    """Print what the job runs with, defaults included."""
    for name, value in dataclasses.asdict(start.config).items():
        log.info("%s: %s", name, value)
    shown = ", ".join(start.classes[:20])
    log.info("%d classes: %s%s", len(start.classes), shown, ", ..." if len(start.classes) > 20 else "")
    log.info(", ".join(f"{name}: {len(channel.labels)} images" for name, channel in images.items()))
    log.info("Keras %s on %s, %d weights", keras.__version__, keras.backend.backend(), start.network.count_params())
