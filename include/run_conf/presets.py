"""Presets: run confs to start from. What a person gives overrides the preset of the run.

Each is a file of `presets/`: the demo's digits, photographs, and the five public write-ups.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from include.problems import shown

Preset = Literal[
    "photographs",
    "digits",
    "caltech-256",
    "cats-and-dogs",
    "dog-breeds-script",
    "multi-label-334",
    "custom-container",
]
PRESETS: Mapping[Preset, str] = {
    "photographs": "ResNet-50 from ImageNet weights, 224 pixels; on AWS",
    "digits": "the demo's handwritten digits, 28 pixels",
    "caltech-256": "257 classes, finished records: ResNet-18 from scratch, then trained further",
    "cats-and-dogs": "two classes: one training job beside a tuning job of six, the tuned model trained further",
    "dog-breeds-script": "133 classes, a PyTorch script: tuned, then trained in full",
    "multi-label-334": "several of 334 labels per image: ResNet-152 with weighted loss, tuned",
    "custom-container": "a container of your own, trained on folders of images",
}
"""What each preset is for, in a few words."""
PRESET = "preset"
"""The field that names one."""
FOLDER = Path(__file__).parent / "presets"
NAMES_IMAGES = (
    "dataset.source",
    "dataset.label_tables",
    "dataset.image_list",
    "dataset.inventory",
    "dataset.version",
)
"""The fields that say which images a run learns from."""
OF_ANY_IMAGES = ("dataset.packing.", "dataset.multi_label", "dataset.negatives")
"""What a preset says about the dataset if these are a person's own images; the rest belongs to the preset's images."""


def preset_conf(name: Preset) -> dict[str, Any]:
    """The run conf of a preset."""
    conf: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return conf


def dataset_named_by(conf: Mapping[str, Any]) -> str:
    """The dataset that a conf names, dotted, nested or by its preset; empty if it names none."""
    nested = conf.get("dataset")
    inner = {f"dataset.{name}": value for name, value in nested.items()} if isinstance(nested, Mapping) else {}
    given = {name: value for name, value in {**conf, **inner}.items() if value}
    preset: Any = conf.get(PRESET)
    if preset in PRESETS and is_left_to_preset("dataset.name", given):
        return str(preset_conf(preset)["dataset"]["name"])
    return str(given.get("dataset.name", ""))


def described(values: Mapping[str, Any]) -> str:
    """Values by dotted name, in one line; long lists are cut."""
    return ", ".join(f"{field} = {shown(value)}" for field, value in values.items())


def is_left_to_preset(field: str, given: Collection[str]) -> bool:
    """Whether a preset decides about a field, by its dotted name, if a person has given these."""
    if field in given:
        return False
    own_images = any(name in given for name in NAMES_IMAGES)
    return not (own_images and field.startswith("dataset.")) or field.startswith(OF_ANY_IMAGES)
