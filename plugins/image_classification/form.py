"""The trigger form: one Param for each field of what a run may be asked, derived from it."""

from __future__ import annotations

from collections.abc import Collection

from airflow.sdk import Param
from pydantic import BaseModel

from include.run_conf import RunConf, form_fields


def run_conf_params(*names: str) -> dict[str, Param]:
    """The Params of the run conf's named fields (`endpoint.keep`) and sections (`dataset`), of all if none is named.

    They are called as the run conf accepts them, by dotted names.
    """
    return _chosen(form_params(RunConf), names)


def override_params(*names: str) -> dict[str, Param]:
    """The Params of the run conf's named fields and sections, where what stays empty is decided elsewhere."""
    return _chosen(form_params(RunConf, unset="not changed"), names)


def _chosen(params: dict[str, Param], names: Collection[str]) -> dict[str, Param]:
    return {name: param for name, param in params.items() if not names or {name, name.partition(".")[0]} & {*names}}


def form_params(model: type[BaseModel], *, unset: str = "") -> dict[str, Param]:
    """The Params of all fields of a model, all empty, so that a scheduled run starts without a person."""
    return {field.name: Param(None, **field.schema) for field in form_fields(model, unset=unset)}
