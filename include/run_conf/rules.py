"""What fields of a run conf may not say together, as far as the conf alone can tell.

The rules of dataset, algorithm, debugger and endpoint are beside their sections; here are those of training jobs and of
tuning.

Sources: SageMaker developer guide, "Image Classification Hyperparameters", "Define Hyperparameter Ranges", "Understand
the hyperparameter tuning strategies"; API reference of CreateTrainingJob and CreateHyperParameterTuningJob.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from include.problems import Problem, did_you_mean
from include.run_conf.algorithm import ALGORITHM_RULES, free_range, shown_range
from include.run_conf.dataset import DATASET_RULES
from include.run_conf.debugger import debugger_fits_the_jobs, debugger_rules_are_known
from include.run_conf.endpoint import ENDPOINT_RULES
from include.run_conf.fields import as_far_as_known, concerns
from include.run_conf.hyperparameters import (
    IMAGENET_LAYERS,
    SMALL_IMAGE_LAYERS,
    SMALL_IMAGE_SIDE,
    TUNABLE,
    Choices,
    Hyperparameters,
    Range,
    SharedHyperparameters,
    algorithm_default,
)
from include.run_conf.meaning import meant_field
from include.run_conf.sections import BEST_OF_RUN, LATEST

if TYPE_CHECKING:
    from include.run_conf import RunConf

Rule = Callable[["RunConf"], Iterator[Problem]]
HYPERPARAMETERS = "training.hyperparameters"
TRIALS = "training.trials"
IMAGE_CHANNELS = (1, 3)
COLOUR_AUGMENTATIONS = ("crop_color", "crop_color_transform")


def contradictions(conf: RunConf, *, wrong: Collection[str] = ()) -> list[Problem]:
    """Every contradiction within a run conf; fields in `wrong` have a problem already and are not named again."""
    found = (problem for rule in RULES for problem in as_far_as_known(rule(conf)))
    return [problem for problem in found if not concerns(problem, wrong)]


def trials_differ(conf: RunConf) -> Iterator[Problem]:
    """Trials are base jobs, each with a name of its own."""
    trials = conf.training.trials
    if trials and conf.training.mode not in ("train", "both"):
        remedy = f"are base jobs, and training.mode is {conf.training.mode}: set it to train or both, or leave them out"
        yield Problem(field=TRIALS, value=f"{len(trials)} trials", remedy=remedy)
    names = [trial.name for trial in trials]
    for index, name in enumerate(names):
        if not name:
            yield Problem(field=f"{TRIALS}.{index}.name", remedy="give each trial a name")
        elif name in names[:index]:
            yield Problem(
                field=f"{TRIALS}.{index}.name",
                value=name,
                remedy="is also the name of another trial: give each its own name",
            )


def each_base_job_can_work(conf: RunConf) -> Iterator[Problem]:
    """The rules of a base job hold for the run's hyperparameters, and for those of each trial."""
    training = conf.training
    if not training.trials or training.mode != "train":
        yield from _base_job_problems(conf)
    for index, trial in enumerate(training.trials):
        for problem in _base_job_problems(conf.of_trial(trial)):
            leaf = problem.field.removeprefix(f"{HYPERPARAMETERS}.")
            of_trial = leaf != problem.field
            if of_trial:
                yield problem.model_copy(update={"field": f"{TRIALS}.{index}.hyperparameters.{leaf}"})
            elif training.mode == "train" and index == 0:
                yield problem


def _base_job_problems(conf: RunConf) -> Iterator[Problem]:
    if not conf.training.algorithm.is_builtin:
        return iter(())
    return (problem for rule in BASE_JOB_RULES for problem in as_far_as_known(rule(conf)))


def network_fits_image(conf: RunConf) -> Iterator[Problem]:
    """Small networks see small images, ImageNet networks larger ones."""
    network = conf.training.hyperparameters
    height = network.shape[1]
    small = height <= SMALL_IMAGE_SIDE
    layers = SMALL_IMAGE_LAYERS if small else IMAGENET_LAYERS
    if network.num_layers not in layers:
        limit = f"up to {SMALL_IMAGE_SIDE}" if small else f"above {SMALL_IMAGE_SIDE}"
        yield Problem(
            field=f"{HYPERPARAMETERS}.num_layers",
            value=network.num_layers,
            remedy=f"images {limit} pixels high (image_shape {network.image_shape}) take {_listed(layers)} layers",
        )
    if network.use_pretrained_model and network.num_layers not in IMAGENET_LAYERS:
        yield Problem(
            field=f"{HYPERPARAMETERS}.use_pretrained_model",
            value=network.use_pretrained_model,
            remedy=f"ImageNet weights exist for {_listed(IMAGENET_LAYERS)} layers; num_layers is {network.num_layers}",
        )


def colours_are_there(conf: RunConf) -> Iterator[Problem]:
    """A network sees colours or shades of grey, and only colours can be changed."""
    network = conf.training.hyperparameters
    channels = network.shape[0]
    if channels not in IMAGE_CHANNELS:
        remedy = "the first number is 3 for colours or 1 for shades of grey"
        yield Problem(field=f"{HYPERPARAMETERS}.image_shape", value=network.image_shape, remedy=remedy)
    for section, parameters in _jobs(conf):
        if channels == 1 and parameters.augmentation_type in COLOUR_AUGMENTATIONS:
            remedy = f"changes colours, and image_shape {network.image_shape} has one channel: use crop, or 3 channels"
            yield Problem(field=f"{section}.augmentation_type", value=parameters.augmentation_type, remedy=remedy)


def epochs_cover_the_schedule(conf: RunConf) -> Iterator[Problem]:
    """Checkpoints and learning rate steps lie within the epochs of their job."""
    base = conf.training.hyperparameters
    epochs = base.epochs or int(algorithm_default("epochs"))
    yield from _within_epochs(HYPERPARAMETERS, epochs, base.checkpoint_frequency, base.lr_scheduler_step)
    if conf.incremental.enabled:
        change = conf.incremental.hyperparameters
        epochs = change.epochs or epochs
        frequency = change.checkpoint_frequency
        yield from _within_epochs("incremental.hyperparameters", epochs, frequency, change.lr_scheduler_step)


def several_machines_agree(conf: RunConf) -> Iterator[Problem]:
    """A key-value store needs several machines, and several machines need one."""
    count = conf.resources.instance_count
    for section, parameters in _jobs(conf):
        if parameters.kv_store and count == 1:
            remedy = "is for several machines: raise resources.instance_count or leave it empty"
            yield Problem(field=f"{section}.kv_store", value=parameters.kv_store, remedy=remedy)
    if count > 1 and not conf.training.hyperparameters.kv_store:
        yield Problem(
            field="resources.instance_count",
            value=count,
            remedy=f"several machines need {HYPERPARAMETERS}.kv_store: dist_sync or dist_async",
        )


def weighted_loss_has_labels(conf: RunConf) -> Iterator[Problem]:
    """The weighted loss is defined for multi-label training only."""
    for section, parameters in _jobs(conf):
        if parameters.use_weighted_loss and not conf.dataset.multi_label:
            yield Problem(
                field=f"{section}.use_weighted_loss",
                value=parameters.use_weighted_loss,
                remedy="is for multi-label datasets: set dataset.multi_label or leave it empty",
            )


def several_labels_have_no_top_k(conf: RunConf) -> Iterator[Problem]:
    """Where several classes can be right, nothing is among the k most probable."""
    for section, parameters in _jobs(conf):
        if parameters.top_k and conf.dataset.multi_label:
            remedy = "is for one label per image: leave it empty or set dataset.multi_label off"
            yield Problem(field=f"{section}.top_k", value=parameters.top_k, remedy=remedy)


def spot_waits_long_enough(conf: RunConf) -> Iterator[Problem]:
    """The wait for a spot machine includes the run itself."""
    resources = conf.resources
    wait = resources.max_wait_seconds
    if not resources.spot and wait is not None:
        yield Problem(
            field="resources.max_wait_seconds", value=wait, remedy="is for spot: set resources.spot or leave it empty"
        )
    elif wait is not None and wait < resources.max_runtime_seconds:
        yield Problem(
            field="resources.max_wait_seconds",
            value=wait,
            remedy=f"must be at least resources.max_runtime_seconds ({resources.max_runtime_seconds})",
        )


def mode_makes_what_goes_on(conf: RunConf) -> Iterator[Problem]:
    """The model that continues is one the run makes."""
    wanted, mode = conf.training.continue_with, conf.training.mode
    if wanted != "best" and mode not in (wanted, "both", "tune_then_train"):
        yield Problem(
            field="training.continue_with", value=wanted, remedy=f"training.mode is {mode}: set it to best or {mode}"
        )


def something_is_trained_further(conf: RunConf) -> Iterator[Problem]:
    """A run without a base job trains an earlier model further, and one with a base job its own."""
    mode, start, enabled = conf.training.mode, conf.incremental.start, conf.incremental.enabled
    if mode == "none" and not enabled:
        remedy = "training.mode is none, so nothing would be trained: leave it on"
        yield Problem(field="incremental.enabled", value=False, remedy=remedy)
    if mode == "none" and start == BEST_OF_RUN:
        remedy = "training.mode is none: name an earlier model (champion, a registered version, a job, a model.tar.gz)"
        yield Problem(field="incremental.from", value=start, remedy=remedy)
    if mode != "none" and start != BEST_OF_RUN:
        remedy = f"the base job would not be used, as training.mode is {mode}: set that to none, or this to best"
        yield Problem(field="incremental.from", value=start, remedy=remedy)


def _jobs(conf: RunConf) -> Iterator[tuple[str, SharedHyperparameters]]:
    """The hyperparameters of both kinds of job, by the section that holds them."""
    yield HYPERPARAMETERS, conf.training.hyperparameters
    yield "incremental.hyperparameters", conf.incremental.hyperparameters


def _within_epochs(section: str, epochs: int, frequency: int | None, steps: str | None) -> Iterator[Problem]:
    if frequency and frequency > epochs:
        yield Problem(
            field=f"{section}.checkpoint_frequency", value=frequency, remedy=f"must be at most the epochs ({epochs})"
        )
    numbers = [int(step) for step in steps.split(",")] if steps else []
    if numbers != sorted(set(numbers)):
        yield Problem(field=f"{section}.lr_scheduler_step", value=steps, remedy="must rise, such as 10,20")


def _listed(values: Collection[object]) -> str:
    return ", ".join(str(value) for value in values)


def tuning_is_possible(conf: RunConf) -> Iterator[Problem]:
    """Strategy and ranges of a tuning job agree; more jobs at once than jobs are cut to the jobs."""
    if not conf.training.tunes:
        return
    tuning = conf.tuning
    if tuning.strategy == "Hyperband" and tuning.early_stopping:
        yield Problem(field="tuning.early_stopping", value=True, remedy="Hyperband stops jobs itself: switch it off")
    for rule in (_epochs, _completion, _warm_start, _grid):
        yield from as_far_as_known(rule(conf))
    builtin = conf.training.algorithm.is_builtin
    for name, span in tuning.ranges.items():
        yield from _range(name, span) if builtin else free_range(name, span)


def _epochs(conf: RunConf) -> Iterator[Problem]:
    epochs, frequency = conf.tuning.epochs, conf.training.hyperparameters.checkpoint_frequency
    if conf.training.algorithm.is_builtin and epochs and frequency and frequency > epochs:
        remedy = f"must be at least training.hyperparameters.checkpoint_frequency ({frequency}), or empty"
        yield Problem(field="tuning.epochs", value=epochs, remedy=remedy)


def _completion(conf: RunConf) -> Iterator[Problem]:
    limit = conf.tuning.completion.jobs_without_improvement
    if limit and limit >= conf.tuning.max_jobs and conf.tuning.strategy != "Grid":
        remedy = f"cannot happen with tuning.max_jobs of {conf.tuning.max_jobs}: lower it, or raise those"
        yield Problem(field="tuning.completion.jobs_without_improvement", value=limit, remedy=remedy)


def _warm_start(conf: RunConf) -> Iterator[Problem]:
    field, parents = "tuning.warm_start.from", conf.tuning.warm_start.parents
    for name in sorted({name for name in parents if parents.count(name) > 1}):
        yield Problem(field=field, value=name, remedy="is listed twice: name it once")
    if LATEST in parents and len(parents) > 1:
        yield Problem(field=field, value=", ".join(parents), remedy="write only latest, or name tuning jobs")
    if not parents and (kind := conf.tuning.warm_start.type):
        remedy = "has no effect without earlier tuning jobs: name them in tuning.warm_start.from, or leave it empty"
        yield Problem(field="tuning.warm_start.type", value=kind, remedy=remedy)


def _grid(conf: RunConf) -> Iterator[Problem]:
    ranges = conf.tuning.ranges
    if conf.tuning.strategy != "Grid":
        return
    if not ranges:
        yield Problem(field="tuning.ranges", remedy="Grid needs lists of values to combine")
    for name, span in ranges.items():
        if isinstance(span, Range):
            remedy = "Grid needs a list of values here"
            yield Problem(field=f"tuning.ranges.{name}", value=shown_range(span), remedy=remedy)
    combinations = conf.tuning.combinations
    if combinations > 750:
        yield Problem(field="tuning.ranges", value=f"{combinations} combinations", remedy="Grid runs at most 750 jobs")


def _range(name: str, span: Range | Choices) -> Iterator[Problem]:
    field = f"tuning.ranges.{name}"
    if name not in TUNABLE:
        meant = did_you_mean(meant_field(name, TUNABLE))
        remedy = f"cannot be tuned; tunable are {', '.join(sorted(TUNABLE))}{meant}"
        yield Problem(field=field, value=shown_range(span), remedy=remedy)
    elif isinstance(span, Range):
        yield from _numeric_range(field, name, span)
    else:
        yield from _choices(field, name, span)


def _numeric_range(field: str, name: str, span: Range) -> Iterator[Problem]:
    limits, whole = TUNABLE[name].tuned, TUNABLE[name].values.type is int
    if not isinstance(limits, Range):
        remedy = f"is a choice: list some of {_listed(limits or ())}"
        yield Problem(field=field, value=shown_range(span), remedy=remedy)
        return
    if span.min >= span.max:
        yield Problem(field=field, value=shown_range(span), remedy="min must be below max")
    elif span.min < min(limits.min, 1e-8) or span.max > limits.max:
        yield Problem(field=field, value=shown_range(span), remedy=f"must lie within {limits.min:g} to {limits.max:g}")
    if whole and not (span.min.is_integer() and span.max.is_integer()):
        yield Problem(field=field, value=shown_range(span), remedy="needs whole numbers")
    if span.scaling == "Logarithmic" and span.min <= 0:
        yield Problem(field=field, value=shown_range(span), remedy="Logarithmic scaling needs a min above 0")
    if span.scaling == "ReverseLogarithmic" and (whole or span.max >= 1):
        remedy = "ReverseLogarithmic scaling is for continuous values of at least 0 and below 1"
        yield Problem(field=field, value=shown_range(span), remedy=remedy)


def _choices(field: str, name: str, span: Choices) -> Iterator[Problem]:
    if not 1 <= len(span) <= 30:
        yield Problem(field=field, value=shown_range(span), remedy="list 1 to 30 values")
    if len(set(map(str, span))) < len(span):
        yield Problem(field=field, value=shown_range(span), remedy="lists a value twice")
    for value in span:
        try:
            Hyperparameters.model_validate({name: value})
        except ValueError:
            yield Problem(field=field, value=value, remedy=f"is not a valid {name}")


BASE_JOB_RULES: tuple[Rule, ...] = (
    network_fits_image,
    colours_are_there,
    epochs_cover_the_schedule,
    several_machines_agree,
    weighted_loss_has_labels,
    several_labels_have_no_top_k,
)
RULES: tuple[Rule, ...] = (
    *ALGORITHM_RULES,
    *DATASET_RULES,
    each_base_job_can_work,
    trials_differ,
    spot_waits_long_enough,
    mode_makes_what_goes_on,
    something_is_trained_further,
    tuning_is_possible,
    debugger_rules_are_known,
    debugger_fits_the_jobs,
    *ENDPOINT_RULES,
)
