"""Which model is the champion, whatever was done to the dataset's endpoint, on the local AWS."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from include.algorithms.kinds import algorithm_of
from include.deployment.hosting import Hosting, tear_down
from include.deployment.registry import RegisteredModel, register_model
from include.evaluation.metrics import Evaluation
from include.problems import ProblemsError
from include.promotion.champion import Champion, UnknownChampionError, champion_of, starting_model
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.settings import Settings
from include.training.best_model import BestModel
from tests.support.documents import dataset_version
from tests.support.local_aws import BUCKET, RunningLocalAws, finished_job, training_request
from tests.support.running_task import SETTINGS
from tests.support.served_models import IMAGE, RUN, deployed, in_service, published, put_model, registered

ROLE = SETTINGS["execution_role_arn"]


def found(aws: RunningLocalAws, settings: Settings, dataset: str) -> Champion:
    champion = champion_of(aws.client("sagemaker"), settings=settings, dataset=dataset)
    assert champion is not None
    return champion


def changed_by_hand(aws: RunningLocalAws, endpoint: str, *models: str, **variant: Any) -> str:
    """Let a person change the endpoint to a configuration of their own; returns its name."""
    sagemaker, name = aws.client("sagemaker"), f"by-hand-{uuid4().hex[:8]}"
    machine = {"InstanceType": "ml.c5.xlarge", "InitialInstanceCount": 1, **variant}
    variants = [{"VariantName": f"v{place}", "ModelName": model, **machine} for place, model in enumerate(models)]
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=name)
    in_service(aws, endpoint)
    return name


def made_by_hand(aws: RunningLocalAws, **container: Any) -> str:
    """A model that a person made, without this project."""
    name = f"of-a-person-{uuid4().hex[:8]}"
    aws.client("sagemaker").create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return name


@pytest.fixture
def two_versions(aws: RunningLocalAws, settings: Settings, pets: str) -> tuple[RegisteredModel, RegisteredModel]:
    return registered(aws, settings, pets), registered(aws, settings, pets)


def test_a_dataset_without_models_has_no_champion(sagemaker: Any, settings: Settings, pets: str) -> None:
    assert champion_of(sagemaker, settings=settings, dataset=pets) is None


def test_before_the_first_deployment_it_is_the_newest_approved_version(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    champion = found(aws, settings, pets)

    assert (champion.version, champion.live) == (two_versions[1], None)
    assert "none was deployed yet" in str(champion)


def test_after_a_deployment_it_is_what_serves_and_after_a_rollback_the_model_rolled_back_to(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    first, second = two_versions

    deployed(aws, settings, second, **{"endpoint.name": f"{pets}-live", "endpoint.instance_type": "ml.c5.large"})
    champion = found(aws, settings, pets)
    registered(aws, settings, pets)  # approved, and never deployed

    assert champion == found(aws, settings, pets)
    assert champion.version == second
    assert champion.live is not None
    assert (champion.live.name, champion.live.instance_type, champion.live.instance_count, champion.live.keep) == (
        f"{pets}-live",
        "ml.c5.large",
        1,
        True,
    )
    assert str(champion) == f"{second.group} version 2, which endpoint {pets}-live serves"

    deployed(aws, settings, first, **{"endpoint.name": f"{pets}-live"})

    assert found(aws, settings, pets).version == first


def test_after_a_person_changed_the_machine_by_hand_it_is_the_same_model_on_that_machine(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    deployment = deployed(aws, settings, two_versions[0])
    config = changed_by_hand(aws, pets, deployment.model["ModelName"])

    champion = found(aws, settings, pets)

    assert champion.version == two_versions[0]
    assert champion.live is not None
    assert (champion.live.config, champion.live.instance_type) == (config, "ml.c5.xlarge")


def test_a_version_that_a_person_deployed_by_hand_is_recognised_by_its_artifact(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    deployed(aws, settings, two_versions[1])
    model = made_by_hand(aws, Image=IMAGE, ModelDataUrl=two_versions[0].artifact)

    changed_by_hand(aws, pets, model)

    assert found(aws, settings, pets).version == two_versions[0]


def test_a_version_that_a_person_deployed_from_the_registry_is_recognised_by_its_package(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    deployed(aws, settings, two_versions[1])
    model = f"of-the-registry-{uuid4().hex[:8]}"
    aws.client("sagemaker").create_model(
        ModelName=model, Containers=[{"ModelPackageName": two_versions[0].arn}], ExecutionRoleArn=ROLE
    )

    changed_by_hand(aws, pets, model)

    assert found(aws, settings, pets).version == two_versions[0]


def test_a_model_of_somebody_else_behind_the_endpoint_is_named(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    deployed(aws, settings, two_versions[0])
    model = made_by_hand(aws, Image=IMAGE, ModelDataUrl=put_model(aws))
    config = changed_by_hand(aws, pets, model)

    with pytest.raises(UnknownChampionError) as unknown:
        found(aws, settings, pets)

    assert str(unknown.value) == (
        f"Endpoint {pets} serves model {model} (configuration {config}), which is not a registered version of "
        f"image-classification-{pets}: deploy a registered version of {pets} with deploy_endpoint, or delete the "
        "endpoint."
    )


def test_two_models_behind_the_endpoint_are_named(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    models = [deployed(aws, settings, version).model["ModelName"] for version in two_versions]
    changed_by_hand(aws, pets, *models)

    with pytest.raises(UnknownChampionError, match=rf"serves 2 models \({', '.join(sorted(models))}\)"):
        found(aws, settings, pets)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (
            {"endpoint.serverless": {"memory_mb": 2048, "concurrency": 3}},
            {"serverless": {"memory_mb": 2048, "concurrency": 3}, "instance_count": 1, "capture_percent": 0},
        ),
        (
            {"endpoint.capture_percent": 25, "endpoint.instance_count": 2, "endpoint.keep_previous": 4},
            {"serverless": {"memory_mb": None}, "instance_count": 2, "capture_percent": 25, "keep_previous": 4},
        ),
    ],
)
def test_how_an_endpoint_serves_is_read_from_it(
    *,
    aws: RunningLocalAws,
    settings: Settings,
    pets: str,
    two_versions: tuple[RegisteredModel, RegisteredModel],
    asked: dict[str, Any],
    kept: dict[str, Any],
) -> None:
    deployed(aws, settings, two_versions[0], **asked)

    live = found(aws, settings, pets).live

    assert live is not None
    assert kept.items() <= live.as_conf().items()


def test_the_machines_that_a_person_has_added_stay(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    deployed(aws, settings, two_versions[0])
    more = [{"VariantName": "champion", "DesiredInstanceCount": 2}]
    aws.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=pets,
        DesiredWeightsAndCapacities=more,  # type: ignore[arg-type]
    )

    live = found(aws, settings, pets).live

    assert live is not None
    assert live.as_conf()["instance_count"] == 2


def test_a_model_of_another_dataset_behind_the_endpoint_is_named(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    birds = registered(aws, settings, f"birds-{pets}")
    deployed(aws, settings, two_versions[0], **{"endpoint.name": pets})
    deployed(aws, settings, birds, **{"endpoint.name": pets})

    with pytest.raises(UnknownChampionError, match=rf"Endpoint {pets} serves {birds.group} version 1, and the last"):
        found(aws, settings, pets)
    assert found(aws, settings, birds.dataset).version == birds


def test_without_an_endpoint_it_is_the_version_that_was_deployed_last(
    aws: RunningLocalAws,
    sagemaker: Any,
    settings: Settings,
    pets: str,
    two_versions: tuple[RegisteredModel, RegisteredModel],
) -> None:
    deployment = deployed(aws, settings, two_versions[0])
    tear_down(Hosting.of(aws.client), pets, config=deployment.config_name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=pets, WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    champion = found(aws, settings, pets)

    assert (champion.version, champion.live) == (two_versions[0], None)
    assert "promoted last" in str(champion)


def test_a_deployment_for_a_moment_beside_the_endpoint_promotes_nothing(
    aws: RunningLocalAws, settings: Settings, pets: str, two_versions: tuple[RegisteredModel, RegisteredModel]
) -> None:
    deployed(aws, settings, two_versions[0])

    deployed(aws, settings, two_versions[1], **{"endpoint.name": f"{pets}-trial", "endpoint.keep": False})

    assert found(aws, settings, pets).version == two_versions[0]


def test_what_was_deployed_before_models_were_tagged_is_found_at_the_endpoint_called_as_the_dataset(
    aws: RunningLocalAws,
    sagemaker: Any,
    settings: Settings,
    pets: str,
    two_versions: tuple[RegisteredModel, RegisteredModel],
) -> None:
    deployment = deployed(aws, settings, two_versions[0])
    group = sagemaker.describe_model_package_group(ModelPackageGroupName=two_versions[0].group)
    model = sagemaker.describe_model(ModelName=deployment.model["ModelName"])
    sagemaker.delete_tags(ResourceArn=group["ModelPackageGroupArn"], TagKeys=["endpoint", "promoted"])
    sagemaker.delete_tags(ResourceArn=model["ModelArn"], TagKeys=["model-package"])

    assert found(aws, settings, pets).version == two_versions[0]


NETWORK = {"num_layers": "20", "image_shape": "3,28,28", "num_classes": "2", "epochs": "2"}


@pytest.fixture
def trained(aws: RunningLocalAws) -> str:
    """A training job that has ended; returns its name."""
    name = f"trained-{uuid4().hex[:8]}"
    aws.client("s3").put_object(Bucket=BUCKET, Key="data/train/train.rec", Body=b"records")
    aws.client("sagemaker").create_training_job(**training_request(name, HyperParameters=NETWORK))
    finished_job(aws.client("sagemaker"), name)
    return name


def start_of(aws: RunningLocalAws, settings: Settings, start: str, dataset: str = "pets", **changes: Any) -> BestModel:
    conf = RunConf.from_conf({"dataset.name": dataset, "training.mode": "none", "incremental.from": start, **changes})
    clients = (aws.client(name) for name in ("sagemaker", "logs", "s3"))
    return starting_model(*clients, conf, settings=settings, dataset=dataset_version(name=dataset))


def test_an_earlier_job_or_its_artifact_can_be_trained_further(
    aws: RunningLocalAws, settings: Settings, trained: str
) -> None:
    artifact = f"s3://{BUCKET}/jobs/{trained}/output/model.tar.gz"

    by_name, by_address = start_of(aws, settings, trained), start_of(aws, settings, artifact)

    assert by_name == by_address
    assert (by_name.job, by_name.artifact, by_name.hyperparameters) == (trained, artifact, NETWORK)
    assert by_name.value == pytest.approx(0.5), "of its second epoch"


def test_a_champion_and_a_registered_version_can_be_trained_further(
    aws: RunningLocalAws, settings: Settings, pets: str, trained: str
) -> None:
    described = aws.client("sagemaker").describe_training_job(TrainingJobName=trained)
    evaluation = Evaluation(
        job=trained, images=20, accuracy=0.9, classes={}, report_uri="s3://b/r", metrics_uri="s3://b/m"
    )
    register_model(
        aws.client("sagemaker"),
        job=JobResult.of_training_job(described),
        evaluation=evaluation,
        dataset=published(aws, pets),
        algorithm=algorithm_of(RunConf(), settings),
        run=RUN,
    )

    champion, numbered = start_of(aws, settings, "champion", pets), start_of(aws, settings, "1", pets)

    assert champion == numbered
    assert (champion.job, champion.hyperparameters) == (trained, NETWORK)
    assert champion.label_set is not None


def test_a_model_from_elsewhere_has_the_network_of_the_run_conf(aws: RunningLocalAws, settings: Settings) -> None:
    artifact = put_model(aws)

    found = start_of(aws, settings, artifact, **{"training.hyperparameters.num_layers": 34})

    assert (found.job, found.artifact) == (artifact, artifact)
    assert (found.hyperparameters["num_layers"], found.hyperparameters["num_classes"]) == (
        "34",
        str(dataset_version().num_classes),
    )


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ("champion", "has none yet"),
        ("4", "no version 4"),
        ("no-such-job", "no such training job"),
        (f"s3://{BUCKET}/nowhere/model.tar.gz", r"cannot be read \(404\)"),
    ],
)
def test_a_start_that_does_not_exist_is_named(
    aws: RunningLocalAws, settings: Settings, pets: str, start: str, why: str
) -> None:
    with pytest.raises(ProblemsError, match=rf"incremental\.from = .*{why}"):
        start_of(aws, settings, start, pets)
