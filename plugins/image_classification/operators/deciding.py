"""Tasks that decide which tasks directly after them have nothing to do: no worker starts for those.

They pass on what Airflow's `SkipMixin` passes on, and its scheduler skips the tasks named there, even if a person
clears them (`context.leave_out`). The methods of `SkipMixin` itself end a task before its document is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import TaskDecorator


class DecidingOperator(DecoratedOperator, PythonOperator):
    """What `@task` makes of a function, and one whose `leave_out` the scheduler reads."""

    template_fields = ("templates_dict", "op_args", "op_kwargs")
    template_fields_renderers: ClassVar[dict[str, str]] = {"templates_dict": "json", "op_args": "py", "op_kwargs": "py"}
    custom_operator_name = "@task"
    inherits_from_skipmixin = True

    def __init__(self, *, python_callable: Callable[..., Any], op_args: Any, op_kwargs: Any, **kwargs: Any) -> None:
        called = {"python_callable": python_callable, "op_args": op_args, "op_kwargs": op_kwargs}
        super().__init__(kwargs_to_upstream=called, **called, **kwargs)


def deciding_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """A decorator like `@task`, for a function that may call `leave_out`."""
    return task_decorator_factory(python_callable, decorated_operator_class=DecidingOperator, **kwargs)
