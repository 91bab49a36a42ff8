"""Machines that SageMaker offers, and what a job may ask of one.

Sources: botocore's model of SageMaker (instance types); developer guide, "Image Classification Hyperparameters" (the
batch is split over the GPUs) and "Instance Storage Volumes" of Nitro instances; EC2's pages of the GPU families.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Literal

from include.preflight.stages import Stage
from include.problems import Problem, did_you_mean
from include.run_conf.meaning import meant_machine
from include.run_conf.section import as_far_as_known
from include.sagemaker.image_uris import registry_accounts
from include.sagemaker.instance_types import Purpose, instance_types

if TYPE_CHECKING:
    from include.run_conf import RunConf
    from include.settings import Settings
from include.sagemaker.instance_types import GPUS, OWN_DISK_GB


def machine_problems(conf: RunConf, stages: Collection[Stage]) -> Iterator[Problem]:
    """Machines nobody offers, volumes larger than a machine's disk, batches smaller than its GPUs are many."""
    if "training" in stages:
        yield from as_far_as_known(_offered("resources", conf, "TrainingInstanceType"))
        yield from as_far_as_known(_disk(conf))
        yield from as_far_as_known(_gpus(conf))
    if "endpoint" in stages:
        yield from as_far_as_known(_offered("endpoint", conf, "ProductionVariantInstanceType"))


def region_problems(settings: Settings) -> Iterator[Problem]:
    """A region without the algorithm's container."""
    if not settings.image_uri and settings.region not in registry_accounts():
        yield Problem(
            field="settings.region",
            value=settings.region,
            remedy="AWS offers no image classification here: correct it, or name a container of your own as image_uri",
        )


def _offered(section: Literal["resources", "endpoint"], conf: RunConf, purpose: Purpose) -> Iterator[Problem]:
    machine, offered = getattr(conf, section).instance_type, instance_types(purpose)
    if machine not in offered:
        remedy = f"SageMaker offers no such machine for this{did_you_mean(meant_machine(machine, offered))}"
        yield Problem(field=f"{section}.instance_type", value=machine, remedy=remedy)


def _disk(conf: RunConf) -> Iterator[Problem]:
    machine, asked = conf.resources.instance_type, conf.resources.volume_gb
    disk = OWN_DISK_GB.get(machine)
    if disk and asked > disk:
        remedy = f"{machine} works on its own disk of {disk} GB: ask for at most that, or for a larger machine"
        yield Problem(field="resources.volume_gb", value=asked, remedy=remedy)


def _gpus(conf: RunConf) -> Iterator[Problem]:
    machine = conf.resources.instance_type
    gpus = GPUS.get(machine, 1)
    sections = (
        ("training.hyperparameters", conf.training.hyperparameters.mini_batch_size),
        ("incremental.hyperparameters", conf.incremental.hyperparameters.mini_batch_size),
    )
    for section, batch in sections:
        if batch and batch < gpus:
            remedy = f"is split over the {gpus} GPUs of {machine}: use at least {gpus}, or a machine with fewer"
            yield Problem(field=f"{section}.mini_batch_size", value=batch, remedy=remedy)
