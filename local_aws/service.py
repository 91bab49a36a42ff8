"""A service of the local AWS: which requests it owns, and how it answers them. `server.py` has the table of all."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from werkzeug.wrappers import Request, Response

from local_aws.calls import ACCOUNT_HEADER, AwsCall, Signature, WSGIEnvironment, identify, read_json, signature


@dataclass
class AwsRequest:
    """One HTTP request: `form` has the fields of a small form body, `id` is what the answer is known by."""

    environ: WSGIEnvironment
    id: str
    form: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path, decoded."""
        return str(self.environ.get("PATH_INFO", "/"))

    @property
    def target(self) -> str:
        """What X-Amz-Target names (`SageMaker.CreateModel`), empty in the protocols that have no such header."""
        return str(self.environ.get("HTTP_X_AMZ_TARGET", ""))

    @property
    def is_own(self) -> bool:
        """Whether the server sent it to itself."""
        return ACCOUNT_HEADER in self.environ

    @cached_property
    def signed(self) -> Signature:
        """What its signature says."""
        return signature(self.environ)

    @cached_property
    def call(self) -> AwsCall:
        """The call of the API that it is."""
        return identify(self.environ, self.form)

    @cached_property
    def body(self) -> bytes:
        """The whole body, which stays readable in `environ` for the next service."""
        body = Request(self.environ).get_data()
        self.environ["wsgi.input"] = io.BytesIO(body)
        return body

    def document(self) -> Any:
        """The body read as JSON; raises SerializationException for what is none."""
        return read_json(self.body)


class NotHeldHere(Exception):
    """A request that its owner leaves to the next service in the table."""


class Service(ABC):
    """One row of the table; one object answers for every account and region."""

    is_aws = True
    """Whether its requests are calls of AWS: their caller is checked, they are counted, and faults may refuse them."""

    @abstractmethod
    def owns(self, request: AwsRequest) -> bool:
        """Whether this service answers the request, unless one above it in the table does; reads no body."""

    @abstractmethod
    def answer(self, request: AwsRequest) -> Response:
        """The response; raises AwsError for a refusal, NotHeldHere to leave the request to the next owner."""

    def close(self) -> None:  # noqa: B027
        """End every process of the service: the server is going."""
