"""Where a dataset's images come from, as a plan and ``dataset.json`` keep it to grow the dataset again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict

from include.run_conf.dataset import GroundTruthConf, SourceLayout

if TYPE_CHECKING:
    from include.run_conf import DatasetConf


class DatasetSource(BaseModel):
    """What ``dataset`` of a run conf says of the source; the fields have the run conf's names and meanings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: list[str]
    """``dataset.source``, or the address of ``images/`` in the data bucket; a prefix with its closing slash."""
    layout: SourceLayout = "class_folders"
    label_tables: list[str] = []
    ground_truth: GroundTruthConf = GroundTruthConf()
    image_list: str = ""
    inventory: str = ""
    labels_file: str = ""
    keep_removed: bool = False

    @classmethod
    def of(cls, conf: DatasetConf, data_bucket: str) -> Self:
        """Read a run conf; an empty source becomes the address it stands for."""
        named_alike = set(cls.model_fields) - {"addresses"}
        return cls(addresses=conf.addresses(data_bucket), **conf.model_dump(include=named_alike))

    def as_conf(self) -> dict[str, Any]:
        """Give the fields of the run conf back."""
        return {"source": self.addresses, **self.model_dump(exclude={"addresses"})}

    def __str__(self) -> str:
        """Name the place where a person adds or mends images: the label tables where there are some."""
        return ", ".join(self.label_tables or self.addresses)
