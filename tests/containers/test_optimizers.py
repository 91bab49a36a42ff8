from __future__ import annotations

from pathlib import Path

import pytest

from containers.image_classification.hyperparameters import read_hyperparameters
from containers.image_classification.image_batches import CroppedImages, WholeImages
from containers.image_classification.records import scan_records
from containers.image_classification.training import Stopped, Trainer, TrainingData
from tests.containers.job_folder import CLASSES, corner_images, write_records

RATES = {"sgd": 0.05, "nag": 0.05, "adam": 0.005, "rmsprop": 0.002}


def trainer(folder: Path, *, stopped: bool = False, **changes: object) -> Trainer:
    write_records(folder / "a.rec", corner_images(48))
    records = scan_records("train", folder / "a.rec")
    texts = {"num_classes": CLASSES, "num_training_samples": 48, "num_layers": 20, "image_shape": "3,28,28"}
    chosen = read_hyperparameters({**texts, "mini_batch_size": 8, **changes}).hyperparameters()
    batches = WholeImages(records, chosen.image_shape, 8, threads=1, shuffle_seed=1)
    made = Trainer(chosen, TrainingData(batches, batches, records), lambda: stopped)
    made.prepare()
    return made


@pytest.mark.parametrize("optimizer", RATES)
def test_every_optimizer_learns(tmp_path: Path, optimizer: str) -> None:
    learning = trainer(tmp_path, optimizer=optimizer, learning_rate=RATES[optimizer])
    reached = [learning.train_epoch(epoch)[0][1] for epoch in range(4)]
    assert max(reached) >= 0.8


def test_a_learning_rate_of_zero_changes_no_weights(tmp_path: Path) -> None:
    still = trainer(tmp_path, learning_rate=0, weight_decay=0)
    before = {name: value.asnumpy() for name, value in still.weights().arg.items()}
    still.train_epoch(0)
    assert all((value.asnumpy() == before[name]).all() for name, value in still.weights().arg.items())


def test_a_request_to_stop_is_seen_before_the_next_batch(tmp_path: Path) -> None:
    stopped = trainer(tmp_path, stopped=True)
    with pytest.raises(Stopped):
        stopped.train_epoch(0)
    assert not stopped.has_learned


def test_the_native_reader_does_not_change_a_batch_that_is_still_in_use(tmp_path: Path) -> None:
    write_records(tmp_path / "a.rec", corner_images(96))
    records = scan_records("train", tmp_path / "a.rec")
    texts = {"num_classes": CLASSES, "num_training_samples": 96, "num_layers": 20, "image_shape": "3,28,28"}
    chosen = read_hyperparameters({**texts, "mini_batch_size": 8, "learning_rate": 0.05}).hyperparameters()
    batches = CroppedImages(records, chosen.image_shape, 8, seed=0, index=tmp_path / "a.idx")
    learning = Trainer(chosen, TrainingData(batches, batches, records), lambda: False)
    learning.prepare()
    reached = [learning.train_epoch(epoch)[0][1] for epoch in range(4)]
    assert max(reached) >= 0.8
