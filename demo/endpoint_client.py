"""A client that asks an endpoint about the same images all the time, whatever happens to the endpoint."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

PAUSE_SECONDS = 0.1
"""Between two requests: often enough to see each step of a roll-out, and little work for the machine."""
SAME = 1e-5
"""How far the probabilities of one model for one image may lie apart."""
MOST_ERRORS = 5

Answer = tuple[float, ...]
"""One probability for each class."""


@dataclass(frozen=True)
class Asked:
    """What became of all requests; `answered_by` counts those that each model answered."""

    requests: int
    failed: int
    answered_by: Mapping[str, int]
    errors: Sequence[str] = ()


@dataclass
class EndpointClient:
    """Asks about one image after the other in a thread of its own, between entering and leaving it.

    Which model answered is seen by the probabilities: two trained models give no image the very same ones.
    """

    runtime: SageMakerRuntimeClient
    endpoint: str
    images: Sequence[bytes]
    _answers: list[tuple[int, Answer]] = field(default_factory=list)
    _errors: list[str] = field(default_factory=list)
    _models: dict[str, Sequence[Answer]] = field(default_factory=dict)
    _ends: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> EndpointClient:
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.set()
        if self._thread:
            self._thread.join()

    def learn(self, model: str) -> Sequence[Answer]:
        """Ask about every image, and remember the answers as those of the model that serves alone now."""
        self._models[model] = [self.ask(image) for image in self.images]
        return self._models[model]

    def ask(self, image: bytes) -> Answer:
        """The probabilities of one image."""
        answer = self.runtime.invoke_endpoint(EndpointName=self.endpoint, ContentType="image/jpeg", Body=image)
        return tuple(json.loads(answer["Body"].read()))

    def asked(self) -> Asked:
        """What became of the requests until now."""
        answers, errors = list(self._answers), list(self._errors)
        answered_by = Counter(dict.fromkeys(self._models, 0))
        answered_by.update(self._model_of(place, answer) for place, answer in answers)
        return Asked(len(answers) + len(errors), len(errors), dict(answered_by), tuple(errors[:MOST_ERRORS]))

    def _model_of(self, place: int, answer: Answer) -> str:
        for model, known in self._models.items():
            if all(abs(one - other) < SAME for one, other in zip(answer, known[place], strict=True)):
                return model
        return "another model"

    def _ask_on(self) -> None:
        number = 0
        while not self._ends.wait(PAUSE_SECONDS):
            place = number % len(self.images)
            try:
                self._answers.append((place, self.ask(self.images[place])))
            except (BotoCoreError, ClientError, ValueError) as error:
                self._errors.append(str(error))
            number += 1
