"""What the local AWS answers of IAM itself: simulated policies. On this machine everybody may do everything."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

from local_aws.aws_errors import validation_error
from local_aws.moto_backend import ensure_role
from local_aws.service import AwsRequest, Service

ACTIONS = frozenset({"SimulatePrincipalPolicy", "SimulateCustomPolicy"})
NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(?P<account>\d{12}):role(?P<path>/(?:.*/)?)(?P<name>[\w+=,.@-]+)")


class PolicySimulation(Service):
    """IAM's SimulatePrincipalPolicy and SimulateCustomPolicy; the rest of IAM is moto's."""

    def owns(self, request: AwsRequest) -> bool:
        """Whether a policy is to be simulated."""
        return request.signed.service == "iam" and request.form.get("Action") in ACTIONS

    def answer(self, request: AwsRequest) -> Response:
        """Every action is allowed on every resource.

        The SageMaker SDK asks this before it trains, and then reads the role's trust policy. A role nobody created is
        therefore made to exist, trusted by SageMaker, as jobs here run whatever role they name. Raises
        ValidationException where the request names no action.
        """
        action, form = request.form["Action"], request.form
        names = _members(form, "ActionNames")
        if not names:
            raise validation_error(
                "1 validation error detected: Value null at 'actionNames' failed to satisfy constraint: "
                "Member must not be null"
            )
        role = ROLE_ARN.fullmatch(form.get("PolicySourceArn", ""))
        if role is not None:
            ensure_role(role["account"], request.signed.region, role["name"], role["path"])
        results = "".join(
            f"<member><EvalActionName>{escape(name)}</EvalActionName>"
            f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
            "<EvalDecision>allowed</EvalDecision><MatchedStatements/><MissingContextValues/></member>"
            for name in names
            for resource in _members(form, "ResourceArns") or ["*"]
        )
        return Response(
            f'<{action}Response xmlns="{NAMESPACE}"><{action}Result><IsTruncated>false</IsTruncated>'
            f"<EvaluationResults>{results}</EvaluationResults></{action}Result>"
            f"<ResponseMetadata><RequestId>{request.id}</RequestId></ResponseMetadata></{action}Response>",
            content_type="text/xml",
        )


def _members(form: dict[str, str], field: str) -> list[str]:
    keys = [key for key in form if re.fullmatch(rf"{field}\.member\.\d+", key)]
    return [form[key] for key in sorted(keys, key=lambda key: int(key.rpartition(".")[2]))]
