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


def override_params(*names: str) -> dict[str, Param]:
    """The Params of the run conf's named fields and sections, all empty: what stays empty is decided elsewhere."""
    return {name: _emptied(param) for name, param in run_conf_params(*names).items()}


def _emptied(param: Param) -> Param:
    schema = {**param.schema}
    if "null" not in schema["type"]:
        schema["type"] = ["null", *schema["type"]]
        if "enum" in schema:
            schema["enum"] = [None, *schema["enum"]]
    return Param(None, **schema)


def form_params(model: type[BaseModel]) -> dict[str, Param]:
    """The Params of all fields of a model; every default is valid, so a scheduled run starts without a person."""
    return {field.name: Param(field.default, **field.schema) for field in form_fields(model)}
