"""Which requests are answered at all: those of programs, by a name of this machine; none that a web page makes."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local_aws.aws_errors import AwsError
from local_aws.callers import Access
from tests.support.local_aws import ALLOWED_NAME, BUCKET, RunningLocalAws

SIGNED = "AWS4-HMAC-SHA256 Credential=tests/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"
CREATE = {
    "Content-Type": "text/plain",
    "X-Amz-Target": "SageMaker.ListTrainingJobs",
    "Authorization": SIGNED.format("sagemaker"),
}
ROUTES: dict[str, tuple[str, str, dict[str, str]]] = {
    "sagemaker": ("POST", "/", CREATE),
    "runtime": ("POST", "/endpoints/e/invocations", {}),
    "runtime-signed": ("POST", "/endpoints/e/invocations", {"Authorization": SIGNED.format("sagemaker")}),
    "s3": ("GET", f"/{BUCKET}/data/train/train.rec", {"Authorization": SIGNED.format("s3")}),
    "s3-form": ("POST", f"/{BUCKET}", {"Content-Type": "multipart/form-data; boundary=x"}),
    "s3-preflight": ("OPTIONS", f"/{BUCKET}/data/train/train.rec", {"Access-Control-Request-Method": "GET"}),
    "sqs": ("POST", "/", {"X-Amz-Target": "AmazonSQS.ListQueues", "Authorization": SIGNED.format("sqs")}),
    "iam-by-get": ("GET", "/?Action=ListRoles&Version=2010-05-08", {"Authorization": SIGNED.format("iam")}),
    "simulation": ("POST", "/?Action=SimulateCustomPolicy", {"Authorization": SIGNED.format("iam")}),
    "moto": ("POST", "/moto-api/reset", {}),
    "moto-data": ("GET", "/moto-api/data.json", {}),
    "instance-metadata": ("GET", "/latest/meta-data/iam/security-credentials/", {}),
    "health": ("GET", "/_local_aws/health", {}),
    "calls": ("GET", "/_local_aws/calls", {}),
    "faults": ("POST", "/_local_aws/faults", {"Content-Type": "application/json"}),
    "interruption": ("POST", "/_local_aws/training-jobs/x/interruption", {"Content-Type": "application/json"}),
    "nothing": ("GET", "/favicon.ico", {}),
}
EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES)


def send(url: str, route: str, host: str | None = None, **headers: str) -> http.client.HTTPResponse:
    method, path, usual = ROUTES[route]
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    named = {"Host": host or urlsplit(url).netloc}
    connection.request(method, path, headers={**named, **usual, **headers}, body=b"{}" if method == "POST" else None)
    return connection.getresponse()


@EVERY_ROUTE
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8888", "http://127.0.0.1.evil"])
def test_a_request_of_a_web_page_is_refused_on_every_route(
    local_aws: RunningLocalAws, s3: Any, route: str, origin: str
) -> None:
    answer = send(local_aws.url, route, Origin=origin)
    assert answer.status == 403
    assert b"web page" in answer.read()


@EVERY_ROUTE
@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.evil.example:4566", "10.0.0.1", "localhost.evil"])
def test_a_foreign_host_is_refused_on_every_route(local_aws: RunningLocalAws, s3: Any, route: str, host: str) -> None:
    answer = send(local_aws.url, route, host)
    assert answer.status == 403
    assert b"--allow-host" in answer.read()


@EVERY_ROUTE
@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin"])
def test_what_a_page_loads_without_an_origin_is_refused_too(
    local_aws: RunningLocalAws, s3: Any, route: str, site: str
) -> None:
    for destination in ("image", "script", "iframe", "empty"):
        mode = "navigate" if destination == "iframe" else "no-cors"
        fetched = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
        assert send(local_aws.url, route, **fetched).status == 403


@EVERY_ROUTE
def test_a_link_that_a_person_follows_opens_objects_of_s3_alone(
    local_aws: RunningLocalAws, s3: Any, route: str
) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = send(local_aws.url, route, **followed)
    assert (answer.status == 403) is (route != "s3")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.8.9.1", "my-bucket.localhost", "LOCALHOST."])
def test_every_name_of_this_machine_is_answered(local_aws: RunningLocalAws, host: str) -> None:
    assert send(local_aws.url, "health", f"{host}:4566").status == 200
    assert send(local_aws.url, "health", host).status == 200


@pytest.mark.parametrize("host", ["", "localhost@evil", "evil/localhost", "localhost:80:90", "a,localhost", "[::1"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(AwsError, match=r"Host .* --allow-host"):
        Access([]).check({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": host})


def test_no_answer_lets_a_page_read_it(local_aws: RunningLocalAws, s3: Any) -> None:
    rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
    s3.create_bucket(Bucket="open-to-pages")
    s3.put_bucket_cors(Bucket="open-to-pages", CORSConfiguration={"CORSRules": [rule]})
    for route in ROUTES.keys() - {"moto"}:
        for headers in ({}, {"Origin": "http://evil.example"}):
            answer = send(local_aws.url, route, **headers)
            assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control-")]
            assert "sandbox" in (answer.getheader("Content-Security-Policy") or "")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
@pytest.mark.parametrize("route", ["faults", "interruption"])
def test_control_paths_take_what_no_form_of_a_page_can_send(
    local_aws: RunningLocalAws, route: str, content_type: str
) -> None:
    answer = send(local_aws.url, route, **{"Content-Type": content_type})
    assert answer.status == 415
    assert "application/json" in json.loads(answer.read())["message"]


def test_a_name_may_be_allowed_on_the_command_line(local_aws: RunningLocalAws) -> None:
    for host, status in ((ALLOWED_NAME, 200), (f"bucket.{ALLOWED_NAME}:80", 200), (f"{ALLOWED_NAME}.other", 403)):
        assert send(local_aws.url, "health", host).status == status


def test_the_compose_file_allows_the_name_it_gives() -> None:
    root = Path(__file__).parents[2]
    service = (root / "docker-compose.yaml").read_text().partition("\n  local-aws:\n")[2].partition("\n\n")[0]
    assert 'command: ["--allow-host", "local-aws"]' in service
