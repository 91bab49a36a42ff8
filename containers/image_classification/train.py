"""`train`: one training job from its configuration files to the model folder."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import mxnet as mx
import numpy as np

from .image_batches import WholeImages, training_batches
from .incremental import shown
from .job import TrainingJob, read_job
from .logs import algorithm_log, start_logging
from .model_files import save_network, saved_epochs
from .paths import ContainerPaths
from .problems import CustomerError
from .residual_network import build_network
from .stopping import StopRequest
from .training import Trainer, TrainingData, TrainingRun

SEED_VARIABLE = "IMAGE_CLASSIFICATION_SEED"


def train(threads: int) -> int:
    """Run the job below SAGEMAKER_BASE_DIR and return the exit code: 0 completed or stopped, 1 failed."""
    log = start_logging()
    paths = ContainerPaths.from_environment()
    stop = StopRequest(on_deadline=lambda: 0 if saved_epochs(paths.model) else 1)
    stop.listen()
    log.info("Docker entrypoint called with argument(s): train")
    log.info("Setting number of threads: %d", threads)
    try:
        with tempfile.TemporaryDirectory(prefix="image-classification-") as workspace:
            run_job(paths, Path(workspace), threads, stop)
    except CustomerError as refused:
        log.error("%s", refused)
        return failed(paths, str(refused))
    except OSError as error:
        log.exception("Algorithm Error")
        if error.errno == errno.ENOSPC:
            return failed(
                paths,
                f"Customer Error: no space left on the device of {error.filename or paths.base}: raise VolumeSizeInGB",
            )
        return failed(paths, f"Algorithm Error: {error}")
    except Exception as error:
        log.exception("Algorithm Error")
        return failed(paths, f"Algorithm Error: {type(error).__name__}: {error}")
    return 0


def run_job(paths: ContainerPaths, workspace: Path, threads: int, stop: StopRequest) -> None:
    """Check the job, then train it."""
    log = algorithm_log()
    job = read_job(paths, workspace)
    log_parameters(job)
    for warning in job.warnings():
        log.warning("%s", warning)
    chosen = job.hyperparameters
    seed = int(os.environ.get(SEED_VARIABLE) or 0)
    mx.random.seed(seed)
    np.random.seed(seed)
    data = TrainingData(
        train=training_batches(job.train, chosen, seed=seed, threads=threads, workspace=workspace),
        validation=WholeImages(job.validation, chosen.image_shape, chosen.mini_batch_size, threads=threads),
        train_records=job.train,
    )
    paths.model.mkdir(parents=True, exist_ok=True)
    network = build_network(chosen.num_layers, chosen.num_classes, chosen.image_shape, multi_label=chosen.multi_label)
    save_network(paths.model, network, chosen.image_shape)
    TrainingRun(chosen, Trainer(chosen, data, stop.is_set), paths).run(job.start)


def log_parameters(job: TrainingJob) -> None:
    """Print what the job runs with, defaults included."""
    log = algorithm_log()
    log.info("---- Parameters ----")
    for name, value in asdict(job.hyperparameters).items():
        log.info("%s: %s", name, shown(value))
    if job.hyperparameters.checkpoint_frequency is None:
        log.info("checkpoint_frequency not set, will store the best model")
    log.info("--------------------")
    log.info("train: %d images, validation: %d images", len(job.train), len(job.validation))
    if job.start is not None:
        log.info("Training continues from the model in channel 'model'")


def failed(paths: ContainerPaths, reason: str) -> int:
    """Leave the reason where the service reads it, and return the exit code."""
    try:
        paths.failure.parent.mkdir(parents=True, exist_ok=True)
        paths.failure.write_text(reason)
    except OSError:
        algorithm_log().exception("The reason could not be written to %s", paths.failure)
    return 1
