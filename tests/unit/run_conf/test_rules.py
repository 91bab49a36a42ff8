from __future__ import annotations

from typing import Any

import pytest

from include.run_conf import RunConf, RunConfError
from tests.support.documents import SMALL_NETWORK

HYPERPARAMETERS = "training.hyperparameters"
TUNE = {"training.mode": "tune"}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (
            {"dataset.split.test": 0.2},
            "dataset.split = 0.8 + 0.1 + 0.2: train, validation and test must add up to 1, not 1.1",
        ),
        (
            {"training.trials": [{"name": "a"}, {"name": "a"}]},
            "training.trials.1.name = a: is also the name of another trial: give each its own name",
        ),
        ({"training.trials": [{}]}, "training.trials.0.name = nothing: give each trial a name"),
        (
            {**TUNE, "training.trials": [{"name": "a"}]},
            "training.trials = 1 trials: are base jobs, and training.mode is tune: set it to train or both, "
            "or leave them out",
        ),
        (
            {"training.trials": [{"name": "a"}, {"name": "b", "hyperparameters": {"num_layers": 18}}]},
            "training.trials.1.hyperparameters.num_layers = 18: images up to 28 pixels high (image_shape 3,28,28) take "
            "20, 32, 44, 56, 110 layers",
        ),
        (
            {"training.trials": [{"name": "a"}, {"name": "b"}], "resources.instance_count": 2},
            "resources.instance_count = 2: several machines need training.hyperparameters.kv_store: "
            "dist_sync or dist_async",
        ),
        (
            {**TUNE, "tuning.epochs": 1, f"{HYPERPARAMETERS}.checkpoint_frequency": 2},
            "tuning.epochs = 1: must be at least training.hyperparameters.checkpoint_frequency (2), or empty",
        ),
        (
            {**TUNE, "tuning.completion.jobs_without_improvement": 4},
            "tuning.completion.jobs_without_improvement = 4: cannot happen with tuning.max_jobs of 4: lower it, or "
            "raise those",
        ),
        (
            {**TUNE, "tuning.warm_start.from": ["a", "b", "a"]},
            "tuning.warm_start.from = a: is listed twice: name it once",
        ),
        (
            {"training.mode": "none"},
            "incremental.from = best: training.mode is none: name an earlier model (champion, a registered version, a "
            "job, a model.tar.gz)",
        ),
        (
            {"training.mode": "none", "incremental.from": "champion", "incremental.enabled": False},
            "incremental.enabled = False: training.mode is none, so nothing would be trained: leave it on",
        ),
        (
            {"incremental.from": "7"},
            "incremental.from = 7: the base job would not be used, as training.mode is train: set that to "
            "none, or this to best",
        ),
        (
            {**TUNE, "tuning.warm_start.from": ["a", "latest"]},
            "tuning.warm_start.from = a, latest: write only latest, or name tuning jobs",
        ),
        (
            {**TUNE, "tuning.warm_start.type": "TransferLearning"},
            "tuning.warm_start.type = TransferLearning: has no effect without earlier tuning jobs: name them in "
            "tuning.warm_start.from, or leave it empty",
        ),
        ({"dataset.labels": ["cat", "cat"]}, "dataset.labels = cat: is listed twice: each class once"),
        (
            {"dataset.labels": ["cat"]},
            "dataset.labels = cat: name at least two classes, or leave it empty for all",
        ),
        (
            {f"{HYPERPARAMETERS}.num_layers": 18},
            "training.hyperparameters.num_layers = 18: images up to 28 pixels high (image_shape 3,28,28) take "
            "20, 32, 44, 56, 110 layers",
        ),
        (
            {f"{HYPERPARAMETERS}.image_shape": "3,224,224"},
            "training.hyperparameters.num_layers = 20: images above 28 pixels high (image_shape 3,224,224) take "
            "18, 34, 50, 101, 152, 200 layers",
        ),
        (
            {f"{HYPERPARAMETERS}.use_pretrained_model": 1},
            "training.hyperparameters.use_pretrained_model = 1: ImageNet weights exist for "
            "18, 34, 50, 101, 152, 200 layers; num_layers is 20",
        ),
        (
            {f"{HYPERPARAMETERS}.checkpoint_frequency": 6},
            "training.hyperparameters.checkpoint_frequency = 6: must be at most the epochs (5)",
        ),
        (
            {"incremental.hyperparameters.checkpoint_frequency": 3},
            "incremental.hyperparameters.checkpoint_frequency = 3: must be at most the epochs (2)",
        ),
        (
            {f"{HYPERPARAMETERS}.lr_scheduler_step": "4,2"},
            "training.hyperparameters.lr_scheduler_step = 4,2: must rise, such as 10,20",
        ),
        (
            {f"{HYPERPARAMETERS}.kv_store": "dist_sync"},
            "training.hyperparameters.kv_store = dist_sync: is for several machines: "
            "raise resources.instance_count or leave it empty",
        ),
        (
            {"resources.instance_count": 2},
            "resources.instance_count = 2: several machines need training.hyperparameters.kv_store: "
            "dist_sync or dist_async",
        ),
        (
            {f"{HYPERPARAMETERS}.use_weighted_loss": 1},
            "training.hyperparameters.use_weighted_loss = 1: is for multi-label datasets: "
            "set dataset.multi_label or leave it empty",
        ),
        (
            {"dataset.multi_label": True, f"{HYPERPARAMETERS}.top_k": 2},
            "training.hyperparameters.top_k = 2: is for one label per image: leave it empty or set "
            "dataset.multi_label off",
        ),
        (
            {"dataset.packing": {"pass_through": True, "resize": 224}},
            "dataset.packing.resize = 224: dataset.packing.pass_through packs images as they are: "
            "leave one of the two out",
        ),
        (
            {"dataset.packing": {"pass_through": True, "center_crop": True}},
            "dataset.packing.center_crop = True: dataset.packing.pass_through packs images as they are: "
            "leave one of the two out",
        ),
        (
            {"dataset.packing": {"pass_through": True, "encoding": "png"}},
            "dataset.packing.encoding = png: dataset.packing.pass_through packs images as they are: "
            "leave one of the two out",
        ),
        (
            {"dataset.label_tables": "s3://bucket/labels.xlsx"},
            "dataset.label_tables = s3://bucket/labels.xlsx: must end in .csv, .parquet, .jsonl, .manifest or .lst",
        ),
        (
            {"dataset.label_tables": "s3://bucket/labels.csv", "dataset.layout": "split_folders"},
            "dataset.layout = split_folders: dataset.label_tables have labels and splits: leave it at class_folders",
        ),
        (
            {"dataset.packing": {"pass_through": True, "fast_decode": True}},
            "dataset.packing.fast_decode = True: dataset.packing.pass_through packs images as they are: "
            "leave one of the two out",
        ),
        (
            {"dataset.packing.fast_decode": True},
            "dataset.packing.fast_decode = True: has no effect on images that keep their size: "
            "set dataset.packing.resize too",
        ),
        (
            {"dataset.source": ["s3://bucket/images/", "s3://bucket/more.zip"]},
            "dataset.source = a prefix (s3://bucket/images/), an archive (s3://bucket/more.zip): "
            "name addresses of one kind: put the images together",
        ),
        (
            {"dataset.source": "s3://bucket/cats/\ns3://bucket/dogs/"},
            "dataset.source = s3://bucket/cats/, s3://bucket/dogs/: name one prefix: the folder above all of them, or "
            "dataset.label_tables with addresses",
        ),
        (
            {"dataset.source": ["s3://bucket/1.tgz", "s3://bucket/1.tgz"]},
            "dataset.source = s3://bucket/1.tgz: is listed twice: name it once",
        ),
        (
            {"dataset.source": "s3://bucket/1.zip, s3://bucket/2.zip"},
            "dataset.source = s3://bucket/1.zip, s3://bucket/2.zip: holds a comma and another address: write a list, "
            "in the form one address per line",
        ),
        (
            {"dataset.source": "s3://bucket/images.tar.bz2"},
            "dataset.source = s3://bucket/images.tar.bz2: is a file, and none of .zip, .tar, .tar.gz, .tgz, .rec: pack "
            "its images as one of these (tables belong into dataset.label_tables); if it is a prefix, end "
            "it with a slash",
        ),
        (
            {"dataset.source": "https://anna:secret@acme.com/images.zip"},
            "dataset.source = https://...@acme.com/images.zip: names a user, and a password in a run conf is kept with "
            "every run: put the file into S3, or name a pre-signed address, which is valid for a limited time",
        ),
        (
            {"dataset.source": "http://[bad/x.zip?token=hidden"},
            "dataset.source = http://[bad/x.zip?...: is not a web address: Invalid IPv6 URL; write "
            "https://host/path/file.zip",
        ),
        (
            {"dataset.source": "https://acme.com/images/"},
            "dataset.source = https://acme.com/images/: a web address cannot be listed: name a file that ends "
            "in .zip, .tar, .tar.gz, .tgz or .rec, or s3://bucket/prefix/",
        ),
        (
            {"dataset.source": "https://acme.com/a.zip?sig=1", "dataset.image_list": "s3://bucket/s3-paths.txt"},
            "dataset.image_list = s3://bucket/s3-paths.txt: an archive already lists its content: leave it empty, or "
            "name a prefix in dataset.source",
        ),
        (
            {"dataset.source": "s3://bucket/train.rec", "dataset.inventory": "s3://bucket/i/manifest.json"},
            "dataset.inventory = s3://bucket/i/manifest.json: a .rec file already lists its content: leave it empty, "
            "or name a prefix in dataset.source",
        ),
        (
            {"dataset.source": ["s3://b-1/1.zip", "s3://b-1/2.zip"], "dataset.label_tables": "s3://b-1/labels.csv"},
            "dataset.label_tables = s3://b-1/labels.csv: the paths of a table are those of one archive: name one in "
            "dataset.source, or leave the tables out",
        ),
        (
            {"dataset.source": "s3://bucket/train.rec", "dataset.label_tables": "s3://bucket/train.lst"},
            "dataset.label_tables = s3://bucket/train.lst: records have their labels: leave it empty, or name the "
            "images in dataset.source",
        ),
        (
            {"dataset.source": "s3://bucket/train.rec", "dataset.layout": "split_folders"},
            "dataset.layout = split_folders: a .rec file has no folders: end its name in its split (train.rec, "
            "val.rec), and leave class_folders",
        ),
        *(
            (
                {"dataset.source": "s3://bucket/train.rec", f"dataset.packing.{name}": value},
                f"dataset.packing.{name} = {value}: images of .rec files are packed as they are: leave it out, or name "
                "the images they were made of",
            )
            for name, value in (("resize", 224), ("encoding", "png"), ("center_crop", True), ("fast_decode", True))
        ),
        (
            {"dataset.label_tables": ["s3://bucket/train.lst", "s3://bucket/test.csv"]},
            "dataset.label_tables = s3://bucket/train.lst, s3://bucket/test.csv: a .lst has numbers where the others "
            "have names: write tables of one kind",
        ),
        (
            {"dataset.label_tables": ["s3://bucket/a.csv", "s3://bucket/a.csv"]},
            "dataset.label_tables = s3://bucket/a.csv: is listed twice: name it once",
        ),
        (
            {"dataset.labels_file": "s3://bucket/labels.csv"},
            "dataset.labels_file = s3://bucket/labels.csv: must end in .txt or .json",
        ),
        (
            {"dataset.inventory": "s3://bucket/inventory/data/1.csv.gz"},
            "dataset.inventory = s3://bucket/inventory/data/1.csv.gz: name the manifest.json of the inventory, which "
            "names its files",
        ),
        (
            {"dataset.packing.pass_through": True, "dataset.packing.color": 0},
            "dataset.packing.color = 0: dataset.packing.pass_through packs images as they are: leave one of the two "
            "out",
        ),
        (
            {"dataset.source": "s3://bucket/train.rec", "dataset.packing.color": -1},
            "dataset.packing.color = -1: images of .rec files are packed as they are: leave it out, or name the images "
            "they were made of",
        ),
        (
            {"dataset.split.test_as": "validation"},
            "dataset.split.test_as = validation: only a source that is split already has test images: "
            "set dataset.layout or leave it at test",
        ),
        (
            {"dataset.layout": "split_folders", "dataset.split.train_per_class": 60},
            "dataset.split.train_per_class = 60: the folders show which images train: leave it empty",
        ),
        (
            {"dataset.multi_label": True, "dataset.split.train_per_class": 60},
            "dataset.split.train_per_class = 60: an image may have several classes: leave it empty and use the shares",
        ),
        (
            {"resources.max_wait_seconds": 7200},
            "resources.max_wait_seconds = 7200: is for spot: set resources.spot or leave it empty",
        ),
        (
            {"training.hyperparameters.image_shape": "4,28,28"},
            "training.hyperparameters.image_shape = 4,28,28: the first number is 3 for colours or 1 for shades of grey",
        ),
        (
            {
                "training.hyperparameters.image_shape": "1,28,28",
                "incremental.hyperparameters.augmentation_type": "crop_color",
            },
            "incremental.hyperparameters.augmentation_type = crop_color: changes colours, and image_shape 1,28,28 has "
            "one channel: use crop, or 3 channels",
        ),
        (
            {"incremental.hyperparameters.kv_store": "dist_sync"},
            "incremental.hyperparameters.kv_store = dist_sync: is for several machines: raise "
            "resources.instance_count or leave it empty",
        ),
        (
            {"resources.spot": True, "resources.max_runtime_seconds": 7200, "resources.max_wait_seconds": 3600},
            "resources.max_wait_seconds = 3600: must be at least resources.max_runtime_seconds (7200)",
        ),
        (
            {"training.continue_with": "tune"},
            "training.continue_with = tune: training.mode is train: set it to best or train",
        ),
        (
            {**TUNE, "tuning.strategy": "Hyperband", "tuning.early_stopping": True},
            "tuning.early_stopping = True: Hyperband stops jobs itself: switch it off",
        ),
        ({**TUNE, "tuning.strategy": "Grid"}, "tuning.ranges = nothing: Grid needs lists of values to combine"),
        (
            {**TUNE, "tuning.strategy": "Grid", "tuning.ranges.eps": {"min": 0.1, "max": 0.2}},
            "tuning.ranges.eps = 0.1 to 0.2 (Auto): Grid needs a list of values here",
        ),
        (
            {**TUNE, "tuning.ranges.epochs": {"min": 1, "max": 5}},
            "tuning.ranges.epochs = 1 to 5 (Auto): cannot be tuned; tunable are beta_1, beta_2, eps, gamma, "
            "learning_rate, mini_batch_size, momentum, optimizer, weight_decay",
        ),
        (
            {**TUNE, "tuning.ranges.learning_rate": {"min": 0.1, "max": 0.1}},
            "tuning.ranges.learning_rate = 0.1 to 0.1 (Auto): min must be below max",
        ),
        (
            {**TUNE, "tuning.ranges.learning_rate": {"min": 0.1, "max": 0.9}},
            "tuning.ranges.learning_rate = 0.1 to 0.9 (Auto): must lie within 1e-06 to 0.5",
        ),
        (
            {**TUNE, "tuning.ranges.optimizer": {"min": 0, "max": 1}},
            "tuning.ranges.optimizer = 0 to 1 (Auto): is a choice: list some of sgd, adam, rmsprop, nag",
        ),
        (
            {**TUNE, "tuning.ranges.mini_batch_size": {"min": 8.5, "max": 16}},
            "tuning.ranges.mini_batch_size = 8.5 to 16 (Auto): needs whole numbers",
        ),
        (
            {**TUNE, "tuning.ranges.momentum": {"min": 0, "max": 0.9, "scaling": "Logarithmic"}},
            "tuning.ranges.momentum = 0 to 0.9 (Logarithmic): Logarithmic scaling needs a min above 0",
        ),
        (
            {**TUNE, "tuning.ranges.eps": {"min": 0.5, "max": 1, "scaling": "ReverseLogarithmic"}},
            "tuning.ranges.eps = 0.5 to 1 (ReverseLogarithmic): ReverseLogarithmic scaling is for continuous values "
            "of at least 0 and below 1",
        ),
        (
            {**TUNE, "tuning.ranges.optimizer": ["sgd", "lion"]},
            "tuning.ranges.optimizer = lion: is not a valid optimizer",
        ),
        (
            {**TUNE, "tuning.ranges.optimizer": ["sgd", "sgd"]},
            "tuning.ranges.optimizer = ['sgd', 'sgd']: lists a value twice",
        ),
    ],
)
def test_a_contradiction_names_field_value_and_remedy(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(RunConfError) as refused:
        RunConf.from_conf({**SMALL_NETWORK, **conf})
    assert [str(problem) for problem in refused.value.problems] == [message]


def test_hyperparameters_that_every_trial_changes_are_not_judged() -> None:
    trials = [
        {"name": "a", "hyperparameters": {"num_layers": 18}},
        {"name": "b", "hyperparameters": {"num_layers": 34}},
    ]
    RunConf.from_conf({f"{HYPERPARAMETERS}.image_shape": "3,64,64", "training.trials": trials})


def test_ranges_of_a_run_that_does_not_tune_are_not_judged() -> None:
    assert RunConf.from_conf({"tuning.strategy": "Grid"}).tuning.strategy == "Grid"


def test_spot_waits_twice_the_longest_run_unless_told() -> None:
    conf = RunConf.from_conf({"resources.spot": True, "resources.max_runtime_seconds": 3600})
    assert conf.resources.max_wait == 7200
