"""The trigger form: one Param for each field of the run conf, derived from it."""

from __future__ import annotations

from airflow.sdk import Param

from include.run_conf import form_fields


def run_conf_params(*sections: str) -> dict[str, Param]:
    """The Params of the named top-level sections of the run conf (`dataset`, ...), of all where none is named.

    The names are dotted (`endpoint.keep`), as the run conf accepts them; every default is valid, so a scheduled run
    starts without a person.
    """
    return {field.name: Param(field.default, **field.schema) for field in form_fields(sections)}
