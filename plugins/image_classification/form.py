"""The trigger form: one Param for each field of what a run may be asked, derived from it."""

from __future__ import annotations

from airflow.sdk import Param
from pydantic import BaseModel

from include.run_conf import RunConf, form_fields


def run_conf_params(*names: str) -> dict[str, Param]:
    """The Params of the run conf's named fields (`endpoint.keep`) and sections (`dataset`), of all if none is named.

    They are called as the run conf accepts them, by dotted names.
    """
    params = form_params(RunConf)
    return {name: param for name, param in params.items() if not names or {name, name.partition(".")[0]} & {*names}}


def form_params(model: type[BaseModel]) -> dict[str, Param]:
    """The Params of all fields of a model; every default is valid, so a scheduled run starts without a person."""
    return {field.name: Param(field.default, **field.schema) for field in form_fields(model)}
