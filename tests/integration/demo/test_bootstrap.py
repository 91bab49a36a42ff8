from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import unquote_plus

import pytest
from moto.server import ThreadedMotoServer

from demo.bootstrap import LocalSettings, bootstrap, client_config, local_session
from include.settings import Settings

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def aws_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_the_settings_are_settings_of_the_chain() -> None:
    settings = LocalSettings.at("http://127.0.0.1:4566")

    typed = Settings.from_variable(settings.to_json())

    assert typed.data_bucket == settings.data_bucket
    assert LocalSettings.from_json(settings.to_json()) == settings
    assert not typed.imagenet_weights, "the local AWS runs our own algorithm"


def test_a_new_image_is_announced_and_anything_else_is_not(aws_url: str) -> None:
    settings = LocalSettings.at(aws_url)
    for _ in range(2):  # the second time everything exists
        bootstrap(settings, local_session(), aws_url)
    s3 = local_session().client("s3", endpoint_url=aws_url, config=client_config())
    sqs = local_session().client("sqs", endpoint_url=aws_url)

    s3.put_object(Bucket=settings.data_bucket, Key="images/7/new.jpg", Body=b"image")
    s3.put_object(Bucket=settings.data_bucket, Key="datasets/digits/v1/dataset.json", Body=b"{}")

    bodies = [json.loads(message["Body"]) for message in _messages(sqs, settings.queue_url)]
    keys = [unquote_plus(record["s3"]["object"]["key"]) for body in bodies for record in body.get("Records", ())]
    assert keys == ["images/7/new.jpg"]
    role = local_session().client("iam", endpoint_url=aws_url).get_role(RoleName="image-classification-sagemaker")
    assert role["Role"]["Arn"] == settings.execution_role_arn


def _messages(sqs: object, queue_url: str) -> list[dict[str, str]]:
    return sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", [])  # type: ignore[attr-defined]
