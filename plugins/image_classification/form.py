"""The trigger form: one Param for each field of the run conf, derived from it."""

from __future__ import annotations

from airflow.sdk import Param

from include.run_conf import RunConf, form_fields


def run_conf_params(*names: str) -> dict[str, Param]:
    """The Params of the named fields (`endpoint.keep`) and top-level sections (`dataset`), of all where none is named.

    They are called as the run conf accepts them, by dotted names; every default is valid, so a scheduled run
    starts without a person.
    """
    fields = [
        field for field in form_fields(RunConf) if not names or {field.name, field.name.partition(".")[0]} & {*names}
    ]
    return {field.name: Param(field.default, **field.schema) for field in fields}
