"""Application Auto Scaling of SageMaker's variants; that of other services is left to moto."""

from __future__ import annotations

from werkzeug.wrappers import Response

from local_aws.constraints import checked
from local_aws.responses import json_response
from local_aws.sagemaker.control_plane import SageMakers
from local_aws.sagemaker.hosting.api import Endpoints
from local_aws.sagemaker.hosting.scaling import NAMESPACE
from local_aws.service import AwsRequest, NotHeldHere, Service

TARGET = "AnyScaleFrontendService."


class ApplicationAutoScaling(Service):
    """The scalable targets of SageMaker and their policies, in every account and region."""

    def __init__(self, sagemakers: SageMakers) -> None:
        self._sagemakers = sagemakers

    def owns(self, request: AwsRequest) -> bool:
        """Whether an action of Application Auto Scaling is called."""
        return request.target.startswith(TARGET)

    def answer(self, request: AwsRequest) -> Response:
        """The document of an action; raises AwsError for a refusal, NotHeldHere for another service's targets."""
        action, document = request.target.removeprefix(TARGET), request.document()
        scaling = self._sagemakers.of(request).area(Endpoints).scaling
        is_ours = isinstance(document, dict) and document.get("ServiceNamespace") == NAMESPACE
        if action not in scaling.actions or not is_ours:
            raise NotHeldHere
        return json_response(scaling.actions[action](checked("application-autoscaling", action, document)), request.id)
