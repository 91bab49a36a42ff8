from __future__ import annotations

import pytest

from include.problems import Problem, masked, secrets_of, shown_address

SIGNED = (
    "https://acme.s3.amazonaws.com/a%20b.zip?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20260101"
    "&X-Amz-Security-Token=IQoJb3JpZ2luX2Vj%2Btoken&X-Amz-Signature=0123456789abcdef#part"
)
SECRETS = ("AKIAEXAMPLE", "IQoJb3JpZ2luX2Vj", "0123456789abcdef")
ADDRESSES = [
    SIGNED,
    "https://acme.blob.core.windows.net/c/a.zip?sv=2026&sig=0123456789abcdef%3D",
    "https://storage.googleapis.com/b/a.zip?X-Goog-Signature=0123456789abcdef",
    "https://hub.example/a.zip?token=0123456789abcdef",
    "HTTPS://HUB.example/a.zip?download=0123456789abcdef",
    "https://anna:0123456789abcdef@hub.example/a.zip",
    "http://[bad/a.zip?token=0123456789abcdef",
    "htps://hub.example/a.zip?token=0123456789abcdef",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("text", ["{}", "GET {} answers 403", "['{}', 1]", '{{"source": "{}"}}', "<{}>\n{}"])
def test_no_text_shows_what_is_secret_in_an_address(address: str, text: str) -> None:
    shown = masked(text.format(address, address))
    assert not [secret for secret in SECRETS if secret in shown]
    assert "a.zip" in shown or "a%20b.zip" in shown


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_problem_of_a_run_conf_shows_no_secret(address: str) -> None:
    for value in (address, [address], {"source": address}):
        text = str(Problem(field="dataset.source", value=value, remedy="correct it"))
        assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("text", ["s3://bucket/what?.jpg", "s3://b/a@b/c?d=e", "a=b?c", "8 < 9?", "", "who://"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert masked(text) == text


def test_a_signature_without_its_address_is_masked_too() -> None:
    assert masked("X-Amz-Signature=0123456789abcdef&x=1") == "X-Amz-Signature=...&x=1"


def test_the_secrets_of_an_address_are_its_query_and_their_values() -> None:
    secrets = secrets_of(SIGNED)
    assert secrets[0] == SIGNED.partition("#")[0].partition("?")[2]
    assert {"0123456789abcdef", "IQoJb3JpZ2luX2Vj%2Btoken", "IQoJb3JpZ2luX2Vj+token", "AKIAEXAMPLE/20260101"} <= set(
        secrets
    )
    assert "AWS4-HMAC-SHA256" not in secrets
    assert secrets_of("https://hub.example/a.zip") == secrets_of("s3://bucket/a?token=b") == []


def test_an_address_is_shown_without_its_query() -> None:
    assert shown_address(SIGNED) == "https://acme.s3.amazonaws.com/a%20b.zip?..."
    assert shown_address("https://hub.example/a.zip") == "https://hub.example/a.zip"
    assert shown_address("s3://bucket/what?.zip") == "s3://bucket/what?.zip"
