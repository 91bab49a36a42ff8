"""The commands that set an installation up, as its pages show them: the stack by the AWS CLI, the Variable, the pool.

They run in this process, against Airflow's database and the local AWS.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.cli.cli_parser import get_parser
from airflow.models import DagRun, Pool, Variable
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import inspect, select

from include.settings import Settings
from tests.support.airflow_home import migrated_database
from tests.support.aws_cli import aws as aws_cli
from tests.support.local_aws import RunningLocalAws
from tests.unit.docs.commands import Shown, shown

KEY = "image_classification"


@pytest.fixture(scope="module", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> None:
    migrated_database(tmp_path_factory)


@pytest.fixture(scope="module")
def stack(running_aws: RunningLocalAws) -> Iterator[RunningLocalAws]:
    """The account, with the stack that the page deploys."""
    (deploy,) = shown("aws cloudformation deploy *")
    assert "image-classification" in aws_cli(deploy.words, running_aws.client)
    yield running_aws
    running_aws.client("cloudformation").delete_stack(StackName="image-classification")


@pytest.fixture
def variable() -> Iterator[None]:
    """The Variable is not there before and after a test."""
    Variable.delete(KEY)
    yield
    Variable.delete(KEY)


def airflow(words: tuple[str, ...] | list[str]) -> None:
    """Run an `airflow` command as its program does."""
    asked = get_parser().parse_args(words[1:])
    asked.func(asked)


def stored() -> str:
    with create_session() as session:
        return str(session.scalars(select(Variable).where(Variable.key == KEY)).one().val)


def with_substitutions(command: Shown, aws: RunningLocalAws) -> list[str]:
    """The words, with what the commands in $() print in their place."""
    inner = {f"$({words})": words for word in command.words for words in re.findall(r"\$\((aws .*)\)", word)}
    printed = {whole: aws_cli(shlex.split(words), aws.client) for whole, words in inner.items()}
    return [printed.get(word, word) for word in command.words]


def test_the_stack_of_the_aws_cli_shows_its_outputs(stack: RunningLocalAws) -> None:
    whole, settings = (aws_cli(each.words, stack.client) for each in shown("aws cloudformation describe-stacks *"))

    outputs = {output["OutputKey"]: output["OutputValue"] for output in json.loads(whole)}
    assert outputs["Settings"] == settings
    assert Settings.from_variable(json.loads(settings)).data_bucket.startswith("image-classification-data-")
    (command,) = shown("aws cloudformation deploy *")
    role = stack.client("iam").get_role(RoleName="image-classification-airflow-us-east-1")["Role"]
    principal = role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["AWS"]
    assert command.words[-1] == f"AirflowPrincipal={principal}"


@pytest.mark.usefixtures("variable")
def test_the_settings_of_the_stack_become_the_variable(stack: RunningLocalAws) -> None:
    (command,) = shown("airflow variables set image_classification $(aws *")

    airflow(with_substitutions(command, stack))

    (outputs,) = stack.client("cloudformation").describe_stacks(StackName="image-classification")["Stacks"]
    expected = [output["OutputValue"] for output in outputs["Outputs"] if output["OutputKey"] == "Settings"]
    assert [stored()] == expected


@pytest.mark.usefixtures("variable")
def test_the_settings_of_the_reference_become_the_variable() -> None:
    (command,) = shown("airflow variables set image_classification {*")

    airflow(command.words)

    assert Settings.from_variable(json.loads(stored())).region == "eu-central-1"


def test_a_pool_counts_the_jobs_that_wait() -> None:
    (command,) = shown("airflow pools set *")

    airflow(command.words)

    with create_session() as session:
        pool = session.scalars(select(Pool).where(Pool.pool == command.words[3])).one()
        assert (pool.slots, pool.include_deferred) == (int(command.words[4]), True)
        session.delete(pool)


def test_a_person_subscribes_to_the_topic_of_the_stack(stack: RunningLocalAws) -> None:
    (command,) = shown("aws sns subscribe *")
    sns = stack.client("sns")
    (resource,) = stack.client("cloudformation").describe_stack_resources(
        StackName="image-classification", LogicalResourceId="People"
    )["StackResources"]
    topic = resource["PhysicalResourceId"]

    aws_cli([word.replace("ARN", topic) for word in command.words], stack.client)

    (subscription,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "team@example.com")


def run_of(date: datetime) -> Any:
    return DagRun(
        dag_id="cleaned",
        run_id=date.isoformat(),
        run_type=DagRunType.MANUAL,
        logical_date=date,
        run_after=date,
        start_date=date,
        state="success",
        conf={"dataset.source": f"https://host/a.zip?signature={date:%Y}"},
        triggered_by=DagRunTriggeredByType.TEST,
    )


def test_old_runs_are_removed_with_the_addresses_in_their_confs() -> None:
    (command,) = shown("airflow db clean *")
    until = datetime.fromisoformat(command.words[command.words.index("--clean-before-timestamp") + 1]).replace(
        tzinfo=UTC
    )
    old, new = until - timedelta(days=1), until + timedelta(days=1)
    with create_session() as session:
        session.add_all([run_of(old), run_of(new)])

    airflow(command.words)

    with create_session() as session:
        left = session.scalars(select(DagRun).where(DagRun.dag_id == "cleaned")).all()
        assert [run.run_id for run in left] == [new.isoformat()]
        assert [table for table in inspect(session.connection()).get_table_names() if "_deleted_" in table] == []
        session.delete(left[0])
