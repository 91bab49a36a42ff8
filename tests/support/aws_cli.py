"""The AWS CLI's commands that pages show, as boto3's calls of the same operations; the CLI itself is not installed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jmespath
from botocore import xform_name

from tests.support.makefile import ROOT

Clients = Callable[[str], Any]
"""Makes a boto3 client of a service."""
RENAMED = {"notification-endpoint": "Endpoint"}
"""Options that are called otherwise than the API's fields, as the CLI has an `--endpoint-url` of its own."""


def aws(words: Sequence[str], client: Clients) -> str:
    """What `aws SERVICE OPERATION --FIELD VALUE ...` prints; raises KeyError for an option that it does not have."""
    _, service, operation, *rest = words
    options = read_options(rest)
    query, output = options.pop("query", [""])[0], options.pop("output", ["json"])[0]
    own = OF_THE_CLI.get((service, operation))
    answer = own(client(service), options) if own else call(client(service), operation, options)
    if query:
        answer = jmespath.search(query, answer)
    if own or output == "text":
        return "\t".join(map(str, answer)) if isinstance(answer, list) else str(answer)
    return json.dumps(answer, default=str)


def read_options(words: Sequence[str]) -> dict[str, list[str]]:
    """The words after each `--OPTION`."""
    options: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            options[word[2:]] = []
        else:
            options[[*options][-1]].append(word)
    return options


def call(client: Any, operation: str, options: Mapping[str, list[str]]) -> Any:
    """The answer of an operation of the API whose fields are text."""
    method = operation.replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    fields = {xform_name(name, "-"): name for name in model.input_shape.members} | RENAMED
    return getattr(client, method)(**{fields[option]: value for option, (value,) in options.items()})


def deploy(client: Any, options: Mapping[str, list[str]]) -> str:
    """`aws cloudformation deploy`: a change set that is made and executed."""
    (name,), (template,) = options["stack-name"], options["template-file"]
    pairs = (word.partition("=") for word in options["parameter-overrides"])
    change_set = client.create_change_set(
        StackName=name,
        ChangeSetName="awscli-cloudformation-package-deploy",
        ChangeSetType="CREATE",
        TemplateBody=(ROOT / Path(template)).read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, _, value in pairs],
        Capabilities=options["capabilities"],
    )["Id"]
    client.get_waiter("change_set_create_complete").wait(StackName=name, ChangeSetName=change_set)
    client.execute_change_set(StackName=name, ChangeSetName=change_set)
    client.get_waiter("stack_create_complete").wait(StackName=name)
    return f"Successfully created/updated stack - {name}"


def login_password(client: Any, _: Mapping[str, list[str]]) -> str:
    """`aws ecr get-login-password`: the second half of ECR's token."""
    (given,) = client.get_authorization_token()["authorizationData"]
    return base64.b64decode(given["authorizationToken"]).decode().partition(":")[2]


OF_THE_CLI = {("cloudformation", "deploy"): deploy, ("ecr", "get-login-password"): login_password}
"""What the AWS CLI adds to the operations of the API."""
