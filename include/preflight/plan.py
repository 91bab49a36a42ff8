"""What a run is going to do, stage by stage, in the words of a person; nothing is asked of AWS for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.problems import shown
from include.run_conf.fields import as_far_as_known
from include.run_conf.hyperparameters import algorithm_default
from include.sagemaker.containers import transform_instance_type
from include.sagemaker.job_watch import format_duration

if TYPE_CHECKING:
    from include.run_conf import RunConf

MOST_NAMED = 6
"""Classes or addresses that a sentence names; of more it says how many."""
TIMES = "\N{MULTIPLICATION SIGN}"
Sentences = Callable[["RunConf"], Iterator[str]]


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a run: what it does, in sentences, and on which machines; both as far as the conf can be read."""

    name: str
    does: tuple[str, ...]
    machines: str = ""


def planned_stages(conf: RunConf) -> tuple[PlannedStage, ...]:
    """The stages of the whole chain; one that is switched off says so."""
    stages: tuple[tuple[str, Sentences, Sentences], ...] = (
        ("Dataset", _dataset, _no_machines),
        ("Training", _training, _training_machines),
        ("Incremental training", _incremental, _incremental_machines),
        ("Evaluation", _evaluation, _evaluation_machines),
        ("Promotion", _promotion, _no_machines),
        ("Endpoint", _endpoint, _endpoint_machines),
    )
    return tuple(
        PlannedStage(name, tuple(as_far_as_known(does(conf))), next(as_far_as_known(machines(conf)), ""))
        for name, does, machines in stages
    )


def _dataset(conf: RunConf) -> Iterator[str]:
    dataset = conf.dataset
    if dataset.version:
        yield f"Version {dataset.version} of {dataset.name} is used as it is."
        return
    source = dataset.source or dataset.label_tables
    images = f"The images of {_named(source, 'addresses')}" if source else "The images under images/ in the data bucket"
    yield f"{images} become a new version of {dataset.name}."
    yield f"Classes: {_named(dataset.labels, 'classes')}." if dataset.labels else "Every class of the source."
    if dataset.source_kind != "records":
        side = dataset.packing.resize
        yield f"Packed as {dataset.packing.encoding}, {f'the shorter side {side} pixels' if side else 'not resized'}."
    split = dataset.split
    if dataset.layout == "class_folders":
        chooses = f"{split.validation * 100:g} % choose the best model"
        yield f"{split.train * 100:g} % of the images train, {chooses}, {split.test * 100:g} % are held out."


def _training(conf: RunConf) -> Iterator[str]:
    training, tuning = conf.training, conf.tuning
    if training.mode == "none":
        yield "No job from scratch."
        return
    if training.mode != "train":
        yield f"A tuning job tries {tuning.jobs} combinations, {tuning.parallel_jobs} at a time."
    if training.mode in ("train", "both"):
        count = len(training.trials)
        yield f"{count} trials are trained side by side." if count else "One training job."
    if training.mode == "tune_then_train":
        yield "One training job with the best combination."
    if training.algorithm.kind == "script":
        yield f"Script {training.algorithm.entry_point} of {training.algorithm.source}."
    elif training.algorithm.kind == "container":
        yield f"Container {training.algorithm.image}."
    else:
        network = training.hyperparameters
        weights = "from ImageNet weights" if network.use_pretrained_model else "from scratch"
        epochs = network.epochs or algorithm_default("epochs")
        yield f"ResNet-{network.num_layers} for images of {network.image_shape}, {weights}, {epochs} epochs."


def _incremental(conf: RunConf) -> Iterator[str]:
    incremental = conf.incremental
    if not incremental.enabled:
        yield "Off."
        return
    start = "The best model of this run" if incremental.start == "best" else f"Model {incremental.start}"
    builtin = conf.training.algorithm.is_builtin
    epochs = f" for {incremental.hyperparameters.epochs} epochs" if builtin else ""
    yield f"{start} is trained further{epochs}."


def _evaluation(conf: RunConf) -> Iterator[str]:
    compared = conf.promotion.compare != "off"
    yield f"A batch transform measures the model{' and the champion' if compared else ''} on the held-out images."


def _promotion(conf: RunConf) -> Iterator[str]:
    promotion = conf.promotion
    rule = {
        "not_worse": f"The model may be at most {promotion.margin * 100:g} % below the champion.",
        "better": "The model has to be clearly better than the champion.",
        "off": "The model is not compared with the champion.",
    }
    yield rule[promotion.compare]
    if promotion.minimum_accuracy is not None:
        yield f"It has to reach an accuracy of {promotion.minimum_accuracy * 100:g} %."
    if promotion.approval == "person":
        yield f"Then the run waits up to {promotion.approval_hours:g} hours until a person approves it."


def _endpoint(conf: RunConf) -> Iterator[str]:
    endpoint = conf.endpoint
    if not endpoint.deploy:
        yield "Off: the run ends with the registered model."
        return
    yield f"The model is deployed to {conf.endpoint_name}: {endpoint.rollout.kind.replace('_', ' ')}."
    yield "The endpoint stays." if endpoint.keep else "The endpoint is deleted at the end of the run."


def _no_machines(_: RunConf) -> Iterator[str]:
    return iter(())


def _training_machines(conf: RunConf) -> Iterator[str]:
    if conf.training.mode != "none":
        yield _job_machines(conf)


def _incremental_machines(conf: RunConf) -> Iterator[str]:
    if conf.incremental.enabled:
        yield _job_machines(conf)


def _job_machines(conf: RunConf) -> str:
    resources = conf.resources
    spot = " spot" if resources.spot else ""
    longest = format_duration(resources.max_runtime_seconds).removesuffix(" 0 min")
    return f"{resources.instance_count} {TIMES} {resources.instance_type}{spot}, each job at most {longest}"


def _evaluation_machines(conf: RunConf) -> Iterator[str]:
    yield f"1 {TIMES} {transform_instance_type(conf.endpoint.instance_type)}"


def _endpoint_machines(conf: RunConf) -> Iterator[str]:
    endpoint = conf.endpoint
    if not endpoint.deploy:
        return
    if endpoint.serverless.enabled:
        yield f"serverless, {endpoint.serverless.memory_mb} MB"
        return
    most = f" to {endpoint.most_machines}" if endpoint.most_machines > endpoint.instance_count else ""
    yield f"{endpoint.instance_count}{most} {TIMES} {endpoint.instance_type}"


def _named(values: list[str], what: str) -> str:
    more = f" and {len(values) - MOST_NAMED} more {what}" if len(values) > MOST_NAMED else ""
    return ", ".join(map(shown, values[:MOST_NAMED])) + more
