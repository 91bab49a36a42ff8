from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from algorithms.container_template.classifier.__main__ import main
from tests.algorithms.container_template.conftest import TrainedJob
from tests.algorithms.container_template.job import TEST, TRAIN, VALIDATION, ContainerJob
from tests.algorithms.job import CLASSES, encoded, one_corner, picture
from tests.support.hostile_images import hostile_images

MEBIBYTE = 1 << 20
FOLDERS = sorted(CLASSES)


@dataclass(frozen=True)
class Server:
    port: int
    process: Popen[str]

    def ask(
        self, body: bytes, content_type: str = "image/jpeg", *, path: str = "/invocations", accept: str = "*/*"
    ) -> tuple[int, str]:
        """Status and body of the answer to a POST."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, body, {"Content-Type": content_type, "Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def server(trained: TrainedJob) -> Iterator[Server]:
    """`./serve` on the trained model, once it says that it serves."""
    port = free_port()
    process = trained.job.command("serve", SAGEMAKER_BIND_TO_PORT=str(port), SAGEMAKER_BIND_TO_HOST="127.0.0.1")
    assert process.stdout is not None
    assert "Serving 3 classes" in process.stdout.readline()
    yield Server(port, process)
    process.kill()
    process.communicate()


def test_it_is_healthy_and_says_how_batch_transform_may_ask(server: Server) -> None:
    assert server.get("/ping") == (200, "")
    assert json.loads(server.get("/execution-parameters")[1])["MaxPayloadInMB"] == 6
    assert server.get("/elsewhere")[0] == 404


def test_the_answer_is_a_probability_for_each_class_in_their_order(server: Server, trained: TrainedJob) -> None:
    """The endpoint is as accurate on the test images as the report says."""
    right = 0
    for labels, image in one_corner(TEST, first=TRAIN + VALIDATION):
        status, answer = server.ask(image)
        probabilities = json.loads(answer)
        assert status == 200
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        right += FOLDERS[probabilities.index(max(probabilities))] == CLASSES[int(labels[0])]

    assert right / TEST == trained.job.document("classification_report.json")["accuracy"]


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("image/jpeg", "JPEG"), ("image/png", "PNG"), ("application/x-image", "WEBP"), ("IMAGE/PNG; q=1", "PNG")],
)
def test_images_of_each_type_are_read(server: Server, content_type: str, kind: str) -> None:
    status, answer = server.ask(encoded(picture([0], 1), kind), content_type)

    assert (status, len(json.loads(answer))) == (200, 3)


def test_json_lines_wrap_the_prediction(server: Server) -> None:
    _, answer = server.ask(encoded(picture([0], 1)), accept="application/jsonlines")

    assert answer.endswith("}\n")
    assert len(json.loads(answer)["prediction"]) == 3


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"x", "text/csv", 415, "send one image as image/jpeg, image/png, application/x-image"),
        (b"", "image/jpeg", 400, "the image is empty"),
        (b"no image", "image/png", 400, "the image cannot be decoded"),
        (bytes(6 * MEBIBYTE + 1), "image/png", 413, "the body has 6291457 bytes, at most 6 MiB are read"),
    ],
    ids=["type", "empty", "no image", "too long"],
)
def test_what_is_not_an_image_is_refused_with_a_status(
    server: Server, body: bytes, content_type: str, status: int, reason: str
) -> None:
    found, answer = server.ask(body, content_type)

    assert found == status
    assert reason in answer


def test_images_made_to_hurt_get_an_answer_and_leave_the_server_healthy(server: Server) -> None:
    for name, body in hostile_images().items():
        status, answer = server.ask(body, "application/x-image")
        assert status in (200, 400), f"{name}: {status} {answer}"
        if "scans" in name or "60000" in name:
            assert status == 400, f"{name}: {answer}"

    assert server.get("/ping")[0] == 200


def test_sigterm_ends_the_server(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(timeout=60) == 0


def test_a_model_of_something_else_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = ContainerJob(tmp_path)
    job.model.mkdir()
    with job.environment():
        assert main(["serve"]) == 1

    error = capsys.readouterr().err
    assert "does not hold a model of this algorithm: model.weights.h5, classes.json, config.json" in error
