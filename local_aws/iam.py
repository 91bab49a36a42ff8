"""Simulated IAM policies: on this machine everybody may do everything."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from local_aws import moto_backend
from local_aws.aws_errors import validation_error

ACTIONS = frozenset({"SimulatePrincipalPolicy", "SimulateCustomPolicy"})
NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(?P<account>\d{12}):role(?P<path>/(?:.*/)?)(?P<name>[\w+=,.@-]+)")


def simulate(action: str, form: dict[str, str], region: str, request_id: str) -> Response:
    """Answer a policy simulation: every action is allowed on every resource.

    The SageMaker SDK asks this before it trains, and then reads the role's trust policy. A role nobody created is
    therefore made to exist, trusted by SageMaker, as jobs here run whatever role they name. Raises ValidationException
    where the request names no action.
    """
    names = _members(form, "ActionNames")
    if not names:
        raise validation_error(
            "1 validation error detected: Value null at 'actionNames' failed to satisfy constraint: "
            "Member must not be null"
        )
    role = ROLE_ARN.fullmatch(form.get("PolicySourceArn", ""))
    if role is not None:
        moto_backend.ensure_role(role["account"], region, role["name"], role["path"])
    results = "".join(
        f"<member><EvalActionName>{escape(name)}</EvalActionName><EvalResourceName>{escape(resource)}</EvalResourceName>"
        "<EvalDecision>allowed</EvalDecision><MatchedStatements/><MissingContextValues/></member>"
        for name in names
        for resource in _members(form, "ResourceArns") or ["*"]
    )
    return Response(
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result><IsTruncated>false</IsTruncated>'
        f"<EvaluationResults>{results}</EvaluationResults></{action}Result>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>",
        content_type="text/xml",
        headers={"x-amzn-RequestId": request_id},
    )


def _members(form: dict[str, str], field: str) -> list[str]:
    keys = [key for key in form if re.fullmatch(rf"{field}\.member\.\d+", key)]
    return [form[key] for key in sorted(keys, key=lambda key: int(key.rpartition(".")[2]))]
