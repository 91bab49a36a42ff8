from __future__ import annotations

import json

import pytest

from include.run_conf.fields import UnknownValueError
from include.settings import Settings, SettingsError
from tests.support.documents import VARIABLE


def test_four_settings_are_enough() -> None:
    settings = Settings.from_variable(VARIABLE)
    assert settings == Settings.from_variable(json.dumps(VARIABLE))
    assert settings.jobs_uri == "s3://models-of-acme/jobs"
    assert settings.report_prefix("run-1") == "reports/run-1/"
    assert settings.registry_group("pets") == "image-classification-pets"
    assert settings.aws_conn_id == "aws_default"


@pytest.mark.parametrize("value", [None, "", "no json", "[1]", 7])
def test_a_variable_that_is_no_object_says_what_to_set(value: object) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_variable(value)  # type: ignore[arg-type]
    message = str(refused.value)
    assert message.startswith("The Airflow Variable `image_classification` needs attention:\n")
    assert "data_bucket, output_bucket, execution_role_arn, region" in message


def test_everything_missing_and_wrong_is_told_at_once() -> None:
    variable = {"data_bucket": "Images", "region": "Frankfurt", "ouput_bucket": "b", "poll_seconds": 0}
    with pytest.raises(SettingsError) as refused:
        Settings.from_variable(variable)
    assert [str(problem) for problem in refused.value.problems] == [
        "data_bucket = Images: must look like my-images (Bucket of images and dataset versions)",
        "output_bucket = nothing: add it (Bucket of models and reports)",
        "execution_role_arn = nothing: add it (Role that SageMaker's jobs use)",
        "region = Frankfurt: must look like eu-central-1 (Region of buckets, jobs and endpoints)",
        "poll_seconds = 0: input should be greater than or equal to 1 "
        "(Seconds between two polls of a waiting job, and of the queue of new images)",
        "ouput_bucket = b: no such setting; did you mean output_bucket?",
    ]


@pytest.mark.parametrize(("given", "lacking"), [("subnets", "security_group_ids"), ("security_group_ids", "subnets")])
def test_a_network_has_subnets_and_security_groups(given: str, lacking: str) -> None:
    with pytest.raises(SettingsError, match=f"{lacking} = nothing: a network has both: add it to {given}"):
        Settings.from_variable({**VARIABLE, given: ["one"]})


def test_networks_and_limits_of_sources_are_checked() -> None:
    allowed = Settings.from_variable({**VARIABLE, "source_networks": ["10.1.0.0/16"], "archive_max_ratio": 5})
    assert (allowed.source_networks, allowed.archive_max_ratio) == (("10.1.0.0/16",), 5)
    with pytest.raises(SettingsError, match=r"source_networks = .*must look like \[\"10\.1\.0\.0/16\"\]"):
        Settings.from_variable({**VARIABLE, "source_networks": ["10.1.0.0/33"]})
    with pytest.raises(SettingsError, match="archive_max_gb = 0"):
        Settings.from_variable({**VARIABLE, "archive_max_gb": 0})


def test_the_time_of_the_endpoint_check_is_a_cron_expression() -> None:
    assert Settings.from_variable({**VARIABLE, "endpoint_check_cron": "30 5 * * 1"}).endpoint_check_cron == "30 5 * * 1"
    with pytest.raises(SettingsError, match=r"endpoint_check_cron = daily: must look like 30 5 \* \* \*"):
        Settings.from_variable({**VARIABLE, "endpoint_check_cron": "daily"})


@pytest.mark.parametrize("cron", ["hourly", ""])
def test_new_images_are_looked_for_at_some_time(cron: str) -> None:
    assert Settings.from_variable(VARIABLE).retraining_cron == "17 * * * *"
    with pytest.raises(SettingsError, match=r"retraining_cron = .*must look like 17 \* \* \* \*"):
        Settings.from_variable({**VARIABLE, "retraining_cron": cron})


def test_lines_are_fields_of_the_run_conf_and_checked_as_such() -> None:
    lines = {"pets": {"endpoint": {"instance_type": "ml.c5.large"}, "promotion.minimum_accuracy": "0.9"}}
    assert Settings.from_variable({**VARIABLE, "lines": lines}).lines == lines

    wrong = {"endpoint.machine": "m", "resources": {"volume_gb": 0}, "dataset.labels": "a,b", "incremental.enabled": 0}
    read, problems = Settings.read({**VARIABLE, "lines": {"pets": wrong, "two words": {}}})

    assert {problem.field: problem.remedy for problem in problems} == {
        "lines.pets.endpoint.machine": "no such field; did you mean endpoint.instance_type?",
        "lines.pets.resources.volume_gb": "must be a whole number from 1 to 16384",
        "lines.pets.dataset.labels": (
            "only training, resources, incremental, evaluation, promotion, endpoint, retraining are allowed "
            "here: leave it out"
        ),
        "lines.pets.incremental.enabled": "a retraining trains the champion further: leave it out",
        "lines.two words": "a dataset's name is made of letters, digits and hyphens between them",
    }
    assert read.data_bucket == VARIABLE["data_bucket"]
    with pytest.raises(UnknownValueError):
        _ = read.lines


def test_what_is_no_table_of_lines_is_refused() -> None:
    for lines in ("pets", {"pets": "ml.c5.large"}, ["pets"]):
        with pytest.raises(SettingsError, match="lines"):
            Settings.from_variable({**VARIABLE, "lines": lines})


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("bucket", "no such setting; did you mean data_bucket?"),
        ("role", "no such setting; did you mean execution_role_arn?"),
        ("securityGroups", "no such setting; did you mean security_group_ids?"),
        ("colour", "no such setting"),
        ("a.b", "no such setting"),
        (".output_bucket", "no such setting; did you mean output_bucket?"),
        ("\udc80utput_bucket", "its name has half of a character: write it again"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_one_that_was_meant(name: str, remedy: str) -> None:
    read, problems = Settings.read({**VARIABLE, name: "x"})
    assert [problem.remedy for problem in problems] == [remedy]
    assert read.data_bucket == VARIABLE["data_bucket"]
    str(SettingsError(problems)).encode()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "NaN", '{"poll_seconds": 1e999}', "\ufeff[]"])
def test_what_is_no_settings_document_is_told_in_a_line(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_variable(text)
    assert all(len(line) < 400 for line in str(refused.value).splitlines())


def test_settings_without_the_wrong_ones_can_be_read_as_far_as_they_go() -> None:
    read, problems = Settings.read({**VARIABLE, "region": "nowhere", "poll_seconds": "often", "prices": {"a": "NaN"}})
    assert {problem.field.partition(".")[0] for problem in problems} == {"region", "poll_seconds", "prices"}
    assert (read.data_bucket, read.has("region"), read.has("poll_seconds")) == (VARIABLE["data_bucket"], False, False)
    with pytest.raises(UnknownValueError):
        _ = read.region
