"""Deploy infrastructure/stack.yaml: `python tools/stack.py NAME [PARAMETER=VALUE ...]`, as `make stack` does.

A change set shows what will be made, changed or removed before anything is. Buckets, key and repository stay with their
content if a stack is deleted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

TEMPLATE = Path(__file__).resolve().parent.parent / "infrastructure" / "stack.yaml"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
"""The stack's name becomes part of bucket names, which have lower case letters and 63 characters at most."""
UNMADE = ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE")
PAUSE_SECONDS = 2.0


class StackError(Exception):
    """A stack that cannot be deployed; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Deploy, and say what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="name of the stack, part of the names of buckets, roles and repositories")
    parser.add_argument(
        "parameters", nargs="*", metavar="PARAMETER=VALUE", help="AirflowPrincipal=arn:..., KeepDays=90"
    )
    parser.add_argument("--region", help="region of the stack (default: that of the AWS client)")
    parser.add_argument("--show", action="store_true", help="only show what would be made, changed or removed")
    parser.add_argument("--replace", action="store_true", help="allow changes that remove or replace a resource")
    asked = parser.parse_intermixed_args(arguments)
    try:
        parameters = read_parameters(asked.parameters)
        if NAME.fullmatch(asked.name) is None:
            raise StackError(
                f"A stack cannot be called {asked.name!r}: lower case letters, digits and hyphens, a letter first, 31 "
                "at most. Its name becomes part of bucket names."
            )
        client = boto3.client("cloudformation", region_name=asked.region)
        Deployment(client, asked.name).run(parameters, only_show=asked.show, may_replace=asked.replace)
    except (StackError, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def read_parameters(words: Sequence[str]) -> dict[str, str]:
    """The parameters of a command line; raises StackError for a word that is not one."""
    known = re.findall(r"^  (\w+):\n    Type: (?:String|Number)\n", TEMPLATE.read_text(), re.MULTILINE)
    parameters = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            raise StackError(f"{word!r} is not PARAMETER=VALUE with a parameter of the stack: {', '.join(known)}.")
        parameters[name] = value
    return parameters


class Deployment:
    """One deployment of the template as a stack."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def run(self, parameters: dict[str, str], *, only_show: bool, may_replace: bool) -> None:
        """Show the changes, make them, and print the stack's outputs; raises StackError."""
        exists = self._exists()
        change_set = self._propose(parameters, exists=exists)
        changes = list(self._changes(change_set))
        for action, resource, kind, replaced in changes:
            print(f"  {action:<8} {resource:<20} {kind}{' (replaced)' if replaced else ''}")
        if not changes:
            print(f"The stack {self._name} is as {TEMPLATE.name} has it.")
        lost = [resource for action, resource, _, replaced in changes if action == "Remove" or replaced]
        if only_show or not changes or (lost and not may_replace):
            self._client.delete_change_set(ChangeSetName=change_set, StackName=self._name)
            if not exists:
                self._client.delete_stack(StackName=self._name)  # the empty one that holds a first change set
        if lost and not only_show and not may_replace:
            raise StackError(
                f"Nothing was changed: it would remove or replace {', '.join(lost)}. If that is meant, add --replace "
                "(make stack ARGS=--replace)."
            )
        if changes and not only_show:
            self._execute(change_set, exists=exists)
        if not only_show:
            self._print_outputs()

    def _exists(self) -> bool:
        try:
            [stack] = self._client.describe_stacks(StackName=self._name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            return False
        if stack["StackStatus"] == "ROLLBACK_COMPLETE":
            raise StackError(f"The stack {self._name} could not be made before: delete it in CloudFormation first.")
        return stack["StackStatus"] not in UNMADE

    def _propose(self, parameters: dict[str, str], *, exists: bool) -> str:
        """Make the change set and wait for it; parameters that are not given keep their values."""
        kept = self._client.describe_stacks(StackName=self._name)["Stacks"][0].get("Parameters", []) if exists else []
        given: list[dict[str, Any]] = [
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ]
        given += [
            {"ParameterKey": each["ParameterKey"], "UsePreviousValue": True}
            for each in kept
            if each["ParameterKey"] not in parameters
        ]
        change_set: str = self._client.create_change_set(
            StackName=self._name,
            ChangeSetName=f"deploy-{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
            ChangeSetType="UPDATE" if exists else "CREATE",
            TemplateBody=TEMPLATE.read_text(),
            Parameters=given,
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )["Id"]
        while True:
            found = self._client.describe_change_set(ChangeSetName=change_set, StackName=self._name)
            reason = found.get("StatusReason", "")
            if found["Status"] == "CREATE_COMPLETE" or _is_empty(reason):
                return change_set
            if found["Status"] == "FAILED":
                raise StackError(f"CloudFormation refuses the change: {reason}")
            time.sleep(PAUSE_SECONDS)

    def _changes(self, change_set: str) -> Iterator[tuple[str, str, str, bool]]:
        """Yield action, resource, type, and if the resource is replaced."""
        token: dict[str, str] = {}
        while True:
            page = self._client.describe_change_set(ChangeSetName=change_set, StackName=self._name, **token)
            for change in page.get("Changes", ()):
                found = change["ResourceChange"]
                replaced = found.get("Replacement") in ("True", "Conditional")
                yield found["Action"], found["LogicalResourceId"], found["ResourceType"], replaced
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}

    def _execute(self, change_set: str, *, exists: bool) -> None:
        """Make the changes, and print what happens to each resource until the end."""
        seen = {event["EventId"] for event in self._events()} if exists else set()
        self._client.execute_change_set(ChangeSetName=change_set, StackName=self._name)
        reasons = []
        while True:
            [stack] = self._client.describe_stacks(StackName=self._name)["Stacks"]
            for event in reversed(self._events()):
                if event["EventId"] not in seen:
                    seen.add(event["EventId"])
                    status, reason = event.get("ResourceStatus", ""), event.get("ResourceStatusReason", "")
                    print(f"  {status:<28} {event['LogicalResourceId']} {reason}".rstrip())
                    if status.endswith("_FAILED"):
                        reasons.append(f"{event['LogicalResourceId']}: {reason}")
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                break
            time.sleep(PAUSE_SECONDS)
        if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise StackError(
                f"The stack {self._name} was rolled back ({stack['StackStatus']}). "
                f"{'; '.join(reasons) or stack.get('StackStatusReason', '')}"
            )

    def _events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self._client.describe_stack_events(StackName=self._name)["StackEvents"]
        return events

    def _print_outputs(self) -> None:
        [stack] = self._client.describe_stacks(StackName=self._name)["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", ())}
        settings = json.dumps(json.loads(outputs.pop("Settings")))
        print(f"The stack {self._name} is there.")
        for name, value in outputs.items():
            print(f"  {name}: {value}")
        print(f"Give Airflow its settings:\n  airflow variables set image_classification '{settings}'")


def _is_empty(reason: str) -> bool:
    return "didn't contain changes" in reason or "No updates are to be performed" in reason


if __name__ == "__main__":
    sys.exit(main())
