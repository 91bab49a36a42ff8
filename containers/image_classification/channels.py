"""Which files a training job reads, from inputdataconfig.json and the channels' folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .configuration import read_json
from .image_lists import pack_listed_images, read_image_list
from .paths import ContainerPaths
from .problems import CustomerError

DATA_CHANNELS = ("train", "validation")
MODEL_CHANNEL = "model"
RECORDIO = "application/x-recordio"
IMAGE_TYPES = ("application/x-image", "image/jpeg", "image/png")


class ChannelProblem(ValueError):
    """A channel that cannot be read; the sentence says which and why."""


@dataclass(frozen=True)
class Channels:
    """The channels a job was given.

    `config` is inputdataconfig.json: channel name to its ContentType, TrainingInputMode and so on.
    """

    paths: ContainerPaths
    config: Mapping[str, Mapping[str, Any]]

    @property
    def incremental(self) -> bool:
        """Whether training starts from the model in the channel 'model'."""
        return MODEL_CHANNEL in self.config

    def uses_image_lists(self, channel: str) -> bool:
        """Whether a channel holds pictures, listed in a .lst, instead of records."""
        declared = str(self.config.get(channel, {}).get("ContentType") or "").split(";")[0].strip().lower()
        if not declared:
            return f"{channel}_lst" in self.config
        if declared not in (RECORDIO, *IMAGE_TYPES):
            raise ChannelProblem(
                f"channel '{channel}' has ContentType {declared!r}: {RECORDIO} and {IMAGE_TYPES[0]} can be read"
            )
        return declared in IMAGE_TYPES

    def record_file(self, channel: str, workspace: Path) -> Path:
        """The channel's only .rec file; listed pictures are packed into one in `workspace`.

        Raises ChannelProblem.
        """
        if channel not in self.config:
            raise ChannelProblem(f"channel '{channel}' is required and the job has none")
        mode = self.config[channel].get("TrainingInputMode", "File")
        if mode == "Pipe":
            raise ChannelProblem(f"channel '{channel}' has TrainingInputMode Pipe: this container reads File mode")
        if not self.uses_image_lists(channel):
            return only_file(self.paths.channel(channel), channel, ".rec")
        list_channel = f"{channel}_lst"
        if list_channel not in self.config:
            raise ChannelProblem(f"channel '{channel}' holds images, so channel '{list_channel}' is required")
        list_file = only_file(self.paths.channel(list_channel), list_channel, ".lst")
        listed, problems = read_image_list(list_file, self.paths.channel(channel))
        if problems:
            raise ChannelProblem(f"channel '{list_channel}': {'; '.join(problems)}")
        packed = workspace / f"{channel}.rec"
        pack_listed_images(listed, packed)
        return packed

    def resize_problems(self, values: Mapping[str, Any]) -> list[str]:
        """Refuse a missing `resize`, or one below image_shape, where channels hold pictures."""
        try:
            pictures = any(channel in self.config and self.uses_image_lists(channel) for channel in DATA_CHANNELS)
        except ChannelProblem:
            return []
        if not pictures or "resize" not in values:
            return []
        resize = values["resize"]
        if resize is None:
            return [f"hyperparameter resize is required with {IMAGE_TYPES[0]} channels"]
        side = min(values.get("image_shape", (0, 0, 0))[1:])
        if resize < side:
            return [f"hyperparameter resize={resize} must be at least the shorter side of image_shape, {side}"]
        return []


def read_channels(paths: ContainerPaths) -> Channels:
    """The job's channels; without inputdataconfig.json, the folders that are there. Raises CustomerError."""
    config_file = paths.config / "inputdataconfig.json"
    if config_file.is_file():
        declared = read_json(config_file)
        odd = [name for name, entry in declared.items() if not isinstance(entry, dict)]
        if odd:
            raise CustomerError([f"channel '{name}' must be a JSON object in {config_file.name}" for name in odd])
        return Channels(paths, declared)
    root = paths.channel(".")
    return Channels(paths, {folder.name: {} for folder in root.iterdir() if folder.is_dir()} if root.is_dir() else {})


def only_file(folder: Path, channel: str, suffix: str) -> Path:
    """The one file of a kind in a channel; raises ChannelProblem when there is none, or more than one."""
    found = sorted(folder.rglob(f"*{suffix}")) if folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise ChannelProblem(f"channel '{channel}' holds no {suffix} file: exactly one is read")
    names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5])
    raise ChannelProblem(f"channel '{channel}' holds {len(found)} {suffix} files ({names}): exactly one is read")
