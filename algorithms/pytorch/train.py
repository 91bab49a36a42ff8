"""Trains an image classifier in a SageMaker job: `python train.py --NAME VALUE ...`; `--help` lists every name.

README.md says what the job needs: channels, hyperparameters, instances.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

import torch

from class_names import read_class_names
from hyperparameters import Hyperparameters, read_hyperparameters, usage
from image_data import (
    Images,
    TrainingImages,
    TrainingOrder,
    ValidationOrder,
    class_folders,
    loader_workers,
    make_loader,
    open_images,
    record_paths,
)
from job_folders import JobError, JobFolders
from model_files import ModelDescription
from optimization import Loss
from processes import Processes, joined_processes, number_of_gpus, torchrun_command
from residual_network import ResidualNetwork
from start_weights import Start, check_continues, load_into, read_start
from training_loop import StopRequest, Training, TrainingData

log = logging.getLogger("train")

LINE_FORMAT = "[%(asctime)s %(levelname)s %(thread)d] %(message)s"
TIME_FORMAT = "%m/%d/%Y %H:%M:%S"
"""As SageMaker's built-in algorithms begin their lines."""


def main(arguments: Sequence[str]) -> int:
    """Run the job and give its exit code: 0 if it ended or was stopped, 1 with a message if it cannot be done."""
    if "--help" in arguments:
        sys.stdout.write(f"{usage()}\n")
        return 0
    try:
        chosen = read_hyperparameters(arguments)
        command = torchrun_command(__file__, arguments, number_of_gpus())
        if command:
            os.execv(command[0], command)  # noqa: S606  (the same script, by torchrun)
        with joined_processes() as processes:
            start_logging(processes)
            train(chosen, JobFolders.from_environment(), processes, StopRequest())
    except JobError as error:
        return failed(str(error))
    except torch.OutOfMemoryError as error:
        return failed(f"The GPU's memory is full: lower batch_size={chosen.batch_size} or image_size. {error}")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return failed(
            f"No space is left on the disk of {error.filename or 'the machine'}: give the job a larger volume."
        )
    return 0


def train(chosen: Hyperparameters, folders: JobFolders, processes: Processes, stop: StopRequest) -> None:
    """Read and check everything, then train. Raises JobError."""
    if chosen.batch_size % processes.count:
        raise JobError(
            f"Hyperparameter batch_size={chosen.batch_size} must be a multiple of the {processes.count} processes "
            "(GPUs times machines) that share a step."
        )
    torch.manual_seed(chosen.seed)
    torch.backends.cudnn.benchmark = True
    folder = folders.channel("train")
    start = read_start(folders)
    if chosen.freeze_epochs and start is None:
        raise JobError(
            f"Hyperparameter freeze_epochs={chosen.freeze_epochs} freezes random weights: give the job a channel "
            "'weights' or 'model', or leave freeze_epochs out."
        )
    before = start.continues if start else None
    classes = read_class_names(
        folders,
        chosen.num_classes,
        of_folders=None if record_paths(folder) else class_folders(folder),
        of_model=before.classes if before else None,
    )
    if before:
        check_continues(before, chosen, classes)
    images = {
        name: open_images(name, folders.channel(name), classes, multi_label=chosen.multi_label)
        for name in ("train", "validation")
    }
    if len(images["train"]) < chosen.batch_size:
        raise JobError(
            f"Hyperparameter batch_size={chosen.batch_size} is more than the {len(images['train'])} images of channel "
            "'train'."
        )
    log_job(chosen, classes, images, start, processes)
    network = ResidualNetwork(chosen.network, len(classes))
    if start:
        load_into(network, start, chosen.network)
    labels = images["train"].labels() if chosen.weighted_loss else None
    description = ModelDescription(chosen.network, classes, chosen.multi_label, chosen.image_size, chosen.view)
    Training(
        chosen,
        description,
        network,
        Loss(chosen, len(classes), labels, processes.device),
        data=make_data(chosen, images, len(classes), processes),
        processes=processes,
        folders=folders,
        stop=stop,
        has_learned=before is not None,
    ).run()


def make_data(chosen: Hyperparameters, images: dict[str, Images], classes: int, processes: Processes) -> TrainingData:
    """The loaders of both channels."""
    order = TrainingOrder(len(images["train"]), chosen, processes)
    all_of = ValidationOrder(len(images["validation"]), chosen, processes)
    workers = loader_workers(chosen.loader_workers, processes.here)
    shown = {name: TrainingImages(channel, chosen, classes) for name, channel in images.items()}
    return TrainingData(
        train=make_loader(shown["train"], order, workers, processes.device),
        order=order,
        validation=make_loader(shown["validation"], all_of, workers, processes.device),
        shared_validation_steps=all_of.shared_steps,
    )


def log_job(
    chosen: Hyperparameters,
    classes: tuple[str, ...],
    images: dict[str, Images],
    start: Start | None,
    processes: Processes,
) -> None:
    """Print what the job runs with, defaults included."""
    for name, value in asdict(chosen).items():
        log.info("%s: %s", name, value)
    log.info("%d classes: %s%s", len(classes), ", ".join(classes[:20]), ", ..." if len(classes) > 20 else "")
    log.info("train: %d images, validation: %d images", *(len(channel) for channel in images.values()))
    log.info("%d training processes, %s", processes.count, processes.device)
    if start is None:
        log.info("Training starts from random weights")
    elif start.continues:
        log.info("Training continues from the model in channel 'model'")
    else:
        log.info("Training starts from given weights")


def start_logging(processes: Processes) -> None:
    """Send the first process's lines to standard output, and everyone's warnings."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO if processes.is_first else logging.WARNING,
        format=LINE_FORMAT,
        datefmt=TIME_FORMAT,
        force=True,
    )


def failed(message: str) -> int:
    """Say in the log and in the job's failure reason why it failed, and give the exit code."""
    sys.stderr.write(f"Error: {message}\n")
    try:
        failure = JobFolders.from_environment().failure
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(message)
    except OSError as error:
        sys.stderr.write(f"The failure reason cannot be written: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
