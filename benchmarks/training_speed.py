"""Training speed of the container beside a bare MXNet loop: same network, same iterator, same batch size.

    .venv-mxnet/bin/python -m benchmarks.training_speed

The bare loop runs forward, backward and update on every batch, counts nothing and prints nothing. Where the container
reads with MXNet's ImageRecordIter, the bare loop is given that iterator as it is; whole images, which ImageRecordIter
cannot give, come to both through the container's reader. Both loops live in
one process and take turns, so that whatever else the machine does hits both; where it does much, the ratio by CPU
time is the one to read.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.image_classification.threads import configure_threads

THREADS = configure_threads()  # before MXNet is imported

import cv2  # noqa: E402
import mxnet as mx  # noqa: E402
import numpy as np  # noqa: E402

from containers.image_classification.hyperparameters import Hyperparameters, read_hyperparameters  # noqa: E402
from containers.image_classification.image_batches import (  # noqa: E402
    CroppedImages,
    WholeImages,
    augmentation_options,
    training_batches,
)
from containers.image_classification.optimization import initial_weights, optimizer_options  # noqa: E402
from containers.image_classification.recordio import write_index, write_labelled_image  # noqa: E402
from containers.image_classification.records import RecordFile, scan_records  # noqa: E402
from containers.image_classification.residual_network import build_network  # noqa: E402
from containers.image_classification.training import Trainer, TrainingData  # noqa: E402

REPETITIONS = 11
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network and the images it is fed with; `side` is that of the packed images."""

    name: str
    layers: int
    image_shape: str
    side: int
    images: int
    batch: int
    augmentation: str | None = None


CASES = (
    Case("20 layers, 28 x 28", 20, "3,28,28", 28, 480, 32),
    Case("20 layers, 28 x 28, random crops of 32 x 32", 20, "3,28,28", 32, 480, 32, "crop_color"),
    Case("18 layers, 64 x 64, whole images of 96 x 96", 18, "3,64,64", 96, 64, 16),
)


@dataclass(frozen=True)
class Turn:
    """Seconds of one epoch: by the clock, and of CPU over all threads."""

    wall: float
    cpu: float


def main() -> None:
    """Print one row per case."""
    print(f"OMP_NUM_THREADS={THREADS}, images per second in the fastest of {REPETITIONS} turns each", flush=True)
    print(f"{'case':<46}{'bare':>8}{'container':>11}{'ratio':>8}{'ratio by CPU time':>20}", flush=True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            bare, ours = compare(case, Path(folder))
        speeds = [case.images / min(turn.wall for turn in turns) for turns in (bare, ours)]
        cpu = [statistics.median(turn.cpu for turn in turns) for turns in (bare, ours)]
        ratio, cpu_ratio = speeds[1] / speeds[0], cpu[0] / cpu[1]
        print(f"{case.name:<46}{speeds[0]:>8.0f}{speeds[1]:>11.0f}{ratio:>8.3f}{cpu_ratio:>20.3f}", flush=True)


def compare(case: Case, folder: Path) -> tuple[list[Turn], list[Turn]]:
    """The turns of the bare loop and of the container, after one of each to warm up."""
    write_noise(folder / "train.rec", case)
    records = scan_records("train", folder / "train.rec")
    chosen = hyperparameters(case)
    batches = training_batches(records, chosen, seed=0, threads=THREADS, workspace=folder)
    plain = PlainBatches(records, chosen, folder) if isinstance(batches, CroppedImages) else SameBatches(batches)
    epochs = {"bare": bare_epoch(chosen, plain), "ours": container_epoch(records, chosen, batches)}
    turns: dict[str, list[Turn]] = {"bare": [], "ours": []}
    for repetition in range(REPETITIONS + 1):
        for name in sorted(epochs, reverse=bool(repetition % 2)):
            turn = timed(epochs[name])
            if repetition > 0:
                turns[name].append(turn)
    return turns["bare"], turns["ours"]


def timed(epoch: Callable[[], None]) -> Turn:
    """Run an epoch until MXNet has finished all of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    epoch()
    mx.nd.waitall()
    return Turn(time.perf_counter() - wall, time.process_time() - cpu)


def hyperparameters(case: Case) -> Hyperparameters:
    """What a training job of this case would be given."""
    texts = {
        "num_classes": CLASSES,
        "num_training_samples": case.images,
        "num_layers": case.layers,
        "image_shape": case.image_shape,
        "mini_batch_size": case.batch,
    }
    if case.augmentation:
        texts["augmentation_type"] = case.augmentation
    return read_hyperparameters(texts).hyperparameters()


def write_noise(path: Path, case: Case) -> None:
    """Pack noisy JPEGs."""
    noise = np.random.default_rng(0)
    with path.open("wb") as stream:
        for number in range(case.images):
            small = noise.integers(0, 256, (7, 7, 3), dtype=np.uint8)
            _, image = cv2.imencode(".jpg", cv2.resize(small, (case.side, case.side)))
            write_labelled_image(stream, number, [float(number % CLASSES)], image.tobytes())


class PlainBatches:
    """MXNet's own iterator, an epoch for each iteration over it."""

    def __init__(self, records: RecordFile, chosen: Hyperparameters, folder: Path) -> None:
        index = folder / "plain.idx"
        write_index(index, records.offsets)
        self._iterator = mx.io.ImageRecordIter(
            path_imgrec=str(records.path),
            path_imgidx=str(index),
            data_shape=chosen.image_shape,
            batch_size=chosen.mini_batch_size,
            shuffle=True,
            ctx="cpu",
            verbose=False,
            **augmentation_options(chosen.augmentation_type),
        )

    def __iter__(self) -> Iterator[Any]:
        self._iterator.reset()
        return iter(self._iterator)


class SameBatches:
    """The container's batches in MXNet's form."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return (mx.io.DataBatch([batch.images], [batch.labels]) for batch in self._batches)


def bare_epoch(chosen: Hyperparameters, batches: Iterable[Any]) -> Callable[[], None]:
    """One epoch with MXNet's Module and nothing else."""
    size = chosen.mini_batch_size
    module = mx.mod.Module(build_network(chosen.num_layers, CLASSES, chosen.image_shape), context=mx.cpu())
    module.bind([("data", (size, *chosen.image_shape))], [("softmax_label", (size,))])
    module.init_params(initial_weights())
    module.init_optimizer(kvstore=None, optimizer=chosen.optimizer, optimizer_params=optimizer_options(chosen))

    def epoch() -> None:
        for batch in batches:
            module.forward_backward(batch)
            module.update()

    return epoch


def container_epoch(records: RecordFile, chosen: Hyperparameters, batches: Any) -> Callable[[], None]:
    """One epoch as a training job runs it: accuracy, speed lines and the watch for SIGTERM included."""
    validation = WholeImages(records, chosen.image_shape, chosen.mini_batch_size, threads=THREADS)
    trainer = Trainer(chosen, TrainingData(batches, validation, records), lambda: False)
    trainer.prepare()

    def epoch() -> None:
        trainer.train_epoch(0)

    return epoch


if __name__ == "__main__":
    main()
