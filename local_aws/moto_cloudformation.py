"""moto's CloudFormation with change sets as AWS has them.

Executing one makes what creating the stack would make, with its conditions, parameters and outputs; one without changes
is a change set that failed, and not an error.
"""

from __future__ import annotations

from typing import Any

from moto.cloudformation.models import ChangeSet
from moto.cloudformation.responses import CloudFormationResponse

_apply = ChangeSet.apply
_validate_different_update = CloudFormationResponse._validate_different_update


def mend_cloudformation() -> None:
    """Put what CloudFormation does instead of what moto does."""
    change_set: Any = ChangeSet
    change_set.apply = _apply_to_the_whole_stack
    response: Any = CloudFormationResponse
    response._validate_different_update = _validate_unless_of_a_change_set


def _apply_to_the_whole_stack(change_set: ChangeSet) -> None:
    stack: Any = change_set.stack
    is_new = change_set.change_set_type == "CREATE"
    if not is_new:
        _apply(change_set)
    stack.template = change_set.template
    stack.parameters = {**stack.parameters, **change_set.parameters}
    stack._parse_template()
    stack.description = stack.template_dict.get("Description")
    if is_new:
        stack.resource_map = stack._create_resource_map()
        stack.create_resources()
    stack.output_map = stack._create_output_map()


def _validate_unless_of_a_change_set(response: CloudFormationResponse, *arguments: Any) -> None:
    if not response._get_param("ChangeSetName"):
        _validate_different_update(response, *arguments)
