from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.containers.conftest import Trained
from tests.containers.job_folder import (
    CLASSES,
    TRAIN_IMAGES,
    VALIDATION_IMAGES,
    JobFolder,
    corner_images,
    encoded,
    picture,
    several_corners,
    write_records,
)
from tests.support.hostile_images import hostile_images

Response = tuple[int, str, bytes]


class Endpoint:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Response:
        connection = self.connection()
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        answer = response.status, response.headers["Content-Type"], response.read()
        connection.close()
        return answer

    def invoke(self, body: bytes, content_type: str = "image/jpeg", **headers: str) -> Response:
        return self.request("POST", "/invocations", body, Content_Type=content_type, **headers)

    def probabilities(self, body: bytes) -> list[float]:
        status, _, answer = self.invoke(body)
        assert status == 200, answer
        return json.loads(answer)


@contextmanager
def serving(job: JobFolder, **environment: str) -> Iterator[Endpoint]:
    process = job.start("serve", SAGEMAKER_BIND_TO_HOST="127.0.0.1", SAGEMAKER_BIND_TO_PORT="0", **environment)
    assert process.stdout is not None
    try:
        log = ""
        for line in process.stdout:
            log += line
            if found := re.search(r"Serving .* on 127\.0\.0\.1:(\d+)", line):
                threading.Thread(target=process.stdout.read, daemon=True).start()
                yield Endpoint(process, int(found[1]))
                return
        pytest.fail(f"the server did not start: {log}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def endpoint(trained: Trained) -> Iterator[Endpoint]:
    with serving(trained.job) as started:
        yield started


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Host": "rebound.example"},
        {"Host": "127.0.0.1.evil.example:80"},
    ],
)
def test_a_web_page_is_not_answered(endpoint: Endpoint, headers: dict[str, str]) -> None:
    for method, path, body in (("GET", "/ping", None), ("POST", "/invocations", b"x" * 100_000)):
        status, _, answer = endpoint.request(method, path, body, **headers)
        assert (status, b"web pages are not answered" in answer) == (403, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080"])
def test_a_name_of_this_machine_is_answered(endpoint: Endpoint, host: str) -> None:
    assert endpoint.request("GET", "/ping", Host=host)[0] == 200


def test_ping_answers_once_the_model_is_loaded(endpoint: Endpoint) -> None:
    assert endpoint.request("GET", "/ping")[0] == 200


def test_served_accuracy_is_the_validation_accuracy_of_the_job(endpoint: Endpoint, trained: Trained) -> None:
    right = 0
    for label, image in corner_images(VALIDATION_IMAGES, first=TRAIN_IMAGES):
        probabilities = endpoint.probabilities(image)
        right += probabilities.index(max(probabilities)) == label
    stored = re.findall(r"best model with validation accuracy: ([0-9.]+)", trained.finished.log)[-1]
    assert right / VALIDATION_IMAGES == pytest.approx(float(stored), abs=1e-6)


def test_answers_are_a_bare_list_of_probabilities(endpoint: Endpoint) -> None:
    status, content_type, body = endpoint.invoke(encoded(picture(1, 5)))
    probabilities = json.loads(body)
    assert (status, content_type) == (200, "application/json")
    assert len(probabilities) == CLASSES
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("content_type", ["image/png", "application/x-image", "IMAGE/PNG; charset=binary"])
def test_png_and_x_image_are_read(endpoint: Endpoint, content_type: str) -> None:
    assert endpoint.invoke(encoded(picture(1, 5), ".png"), content_type)[0] == 200


def test_images_of_any_size_are_answered(endpoint: Endpoint) -> None:
    probabilities = endpoint.probabilities(encoded(picture(2, 5, side=300, width=90)))
    assert probabilities.index(max(probabilities)) == 2


def test_jsonlines_wraps_the_prediction(endpoint: Endpoint) -> None:
    image = encoded(picture(0, 5))
    status, content_type, body = endpoint.invoke(image, Accept="application/jsonlines")
    assert (status, content_type) == (200, "application/jsonlines")
    assert json.loads(body) == {"prediction": endpoint.probabilities(image)}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"not an image", "image/jpeg", 400, "the image cannot be decoded"),
        (b"\xff\xd8\xff\xe0 cut", "application/x-image", 400, "the image cannot be decoded"),
        (b"", "image/png", 400, "the body is empty"),
        (b"{}", "application/json", 415, "send one image as image/jpeg, image/png, application/x-image"),
        (b"x" * (6 * 1024 * 1024 + 1), "image/jpeg", 413, "the body has 6291457 bytes, at most 6291456"),
    ],
)
def test_what_cannot_be_classified_is_refused_with_its_reason(
    endpoint: Endpoint, body: bytes, content_type: str, status: int, reason: str
) -> None:
    answered, answer_type, answer = endpoint.invoke(body, content_type)
    assert (answered, answer_type) == (status, "application/json")
    assert reason in json.loads(answer)["error"]
    assert endpoint.request("GET", "/ping")[0] == 200


def test_a_huge_image_is_refused_before_it_is_decoded(endpoint: Endpoint) -> None:
    bomb = bytearray(encoded(picture(0, 0), ".png"))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    status, _, answer = endpoint.invoke(bytes(bomb), "image/png")
    assert status == 400
    assert b"60000 x 60000 pixels" in answer


def test_hostile_images_neither_end_the_server_nor_take_its_memory(endpoint: Endpoint) -> None:
    def peak() -> int:
        status = Path(f"/proc/{endpoint.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    endpoint.invoke(encoded(picture(0, 0)))
    before = peak()
    hostile = hostile_images()
    for name in (
        "png/12 bytes",
        "png/eXIf of 512 MB",
        "png/frame larger than the animation",
        "bmp/claims 60000 x 60000",
    ):
        status, _, answer = endpoint.invoke(hostile[name], "application/x-image")
        assert status == 400
        assert json.loads(answer)["error"].startswith("the image ")
    assert peak() - before < 50_000


def test_other_paths_and_methods_are_refused(endpoint: Endpoint) -> None:
    assert endpoint.request("GET", "/nothing")[0] == 404
    assert endpoint.request("POST", "/ping", b"x")[0] == 404
    assert endpoint.request("DELETE", "/invocations")[0] == 501


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 411), ({"Origin": "http://page.example"}, 403)],
    ids=["a request without a length", "a web page's"],
)
def test_a_client_that_still_sends_when_it_is_refused_sees_the_answer(
    endpoint: Endpoint, headers: dict[str, str], status: int
) -> None:
    connection = endpoint.connection()
    connection.request("POST", "/invocations", iter([b"x" * 1024 * 1024] * 4), headers)
    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize("length", [b"\xb2", b"-5", b"9" * 5000])
def test_a_length_that_is_none_is_refused(endpoint: Endpoint, length: bytes) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as wire:
        wire.sendall(
            b"POST /invocations HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: " + length + b"\r\n\r\n"
        )
        assert wire.recv(4096).startswith(b"HTTP/1.1 411 ")


def test_a_connection_serves_one_request_after_the_other(endpoint: Endpoint) -> None:
    connection = endpoint.connection()
    for body, status in ((encoded(picture(0, 1)), 200), (b"broken", 400), (encoded(picture(0, 2)), 200)):
        connection.request("POST", "/invocations", body, {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_requests_side_by_side_get_their_own_answers(endpoint: Endpoint) -> None:
    images = [image for _, image in corner_images(12)]
    alone = [endpoint.probabilities(image) for image in images]
    with ThreadPoolExecutor(6) as clients:
        assert list(clients.map(endpoint.probabilities, images)) == alone


def test_batch_transform_is_told_what_to_send(endpoint: Endpoint) -> None:
    answer = json.loads(endpoint.request("GET", "/execution-parameters")[2])
    assert answer == {"MaxConcurrentTransforms": 1, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 6}


def test_multi_label_answers_are_one_probability_per_class(trained_multi_label: Trained) -> None:
    with serving(trained_multi_label.job, SAGEMAKER_MAX_PAYLOAD_IN_MB="20") as endpoint:
        right = 0
        for labels, image in several_corners(VALIDATION_IMAGES, first=TRAIN_IMAGES):
            answers = endpoint.probabilities(image)
            right += sum((answer >= 0.5) == bool(label) for answer, label in zip(answers, labels, strict=True))
        assert endpoint.invoke(b"x" * (7 * 1024 * 1024))[0] == 400
        large = encoded(np.random.default_rng(0).integers(0, 255, (1600, 1600, 3), dtype=np.uint8), ".png")
        assert len(large) > 6_291_456
        assert len(endpoint.probabilities(large)) == CLASSES
    stored = re.findall(r"best model with validation accuracy: ([0-9.]+)", trained_multi_label.finished.log)[-1]
    assert right / (VALIDATION_IMAGES * CLASSES) == pytest.approx(float(stored), abs=1e-6)


def test_a_network_of_one_channel_trains_on_grayscale_images_and_serves_both_kinds(tmp_path: Path) -> None:
    def gray(count: int, first: int = 0) -> Iterator[tuple[float, bytes]]:
        for number in range(first, first + count):
            image = cv2.cvtColor(picture(number % CLASSES, number), cv2.COLOR_BGR2GRAY)
            yield float(number % CLASSES), encoded(image)

    job = JobFolder(tmp_path)
    write_records(job.channel("train") / "train.rec", gray(TRAIN_IMAGES))
    write_records(job.channel("validation") / "validation.rec", gray(VALIDATION_IMAGES, TRAIN_IMAGES))
    finished = job.declare().set(image_shape="1,28,28", epochs=4).train()
    assert finished.code == 0, finished.log
    stored = float(re.findall(r"best model with validation accuracy: ([0-9.]+)", finished.log)[-1])
    assert stored > 0.8
    with serving(job) as endpoint:
        answers = [(label, endpoint.probabilities(image)) for label, image in gray(VALIDATION_IMAGES, TRAIN_IMAGES)]
        right = sum(answer.index(max(answer)) == label for label, answer in answers)
        assert right / VALIDATION_IMAGES == pytest.approx(stored, abs=1e-6)
        assert len(endpoint.probabilities(encoded(picture(0, 0)))) == CLASSES


def test_sigterm_ends_the_server_in_time(trained: Trained) -> None:
    with serving(trained.job) as endpoint, socket.create_connection(("127.0.0.1", endpoint.port)):
        endpoint.process.send_signal(signal.SIGTERM)
        assert endpoint.process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("broken", "content", "reason"),
    [
        ("image-classification-symbol.json", None, "image-classification-symbol.json missing"),
        ("model-shapes.json", "[]", "model-shapes.json must hold"),
        ("image-classification-symbol.json", "{}", "symbol.json cannot be read: JSONReader: Check failed"),
        ("image-classification-9999.params", "x", "image-classification-9999.params cannot be read"),
    ],
)
def test_a_model_that_cannot_load_ends_the_process_with_the_reason(
    trained: Trained, tmp_path: Path, broken: str, content: str | None, reason: str
) -> None:
    job = JobFolder(tmp_path)
    shutil.copytree(trained.job.model, job.model)
    (job.model / broken).unlink(missing_ok=True)
    if content is not None:
        (job.model / broken).write_text(content)
    finished = job.finish(job.start("serve"))
    assert finished.code == 1
    assert "Customer Error: the model in" in finished.log
    assert reason in finished.log


def test_a_taken_port_is_told(trained: Trained) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        environment = {"SAGEMAKER_BIND_TO_HOST": "127.0.0.1", "SAGEMAKER_BIND_TO_PORT": port}
        finished = trained.job.finish(trained.job.start("serve", **environment))
    assert finished.code == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in finished.log
