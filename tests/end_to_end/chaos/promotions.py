"""The account of what serves: the endpoint of each dataset beside what its run has registered and promoted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from include.deployment.hosting import PROBATION_TAG, VERSION_TAG
from include.deployment.registry import RegisteredModel
from include.promotion.champion import PROMOTED_TAG
from include.sagemaker.naming import tags_of
from tests.support.local_aws import calls
from tests.support.world import World

DEPLOY = "deployment.deploy"


@dataclass(frozen=True)
class Promotion:
    """What became of the dataset of one run.

    `serves` is the version behind the endpoint, `promoted` the one that the registry notes as champion, both as ARNs.
    `announced` is how often the run's deployment was an event of the asset `image-endpoint`.
    """

    run_id: str
    state: str
    champion: str
    registered: Sequence[str]
    approved: bool
    status: str
    serves: str
    promoted: str
    on_probation: str
    dataset_versions: int
    announced: int

    @property
    def is_done(self) -> bool:
        """Whether the endpoint serves another version than before."""
        return self.serves != self.champion

    def faults(self) -> Iterator[str]:
        """What must not be: a half deployment, a version that nobody approved, anything that was done twice."""
        if self.status != "InService" or self.serves not in (self.champion, *self.registered):
            yield f"{self.run_id}: its endpoint is {self.status} and serves {self.serves}"
        if self.promoted != self.serves or self.on_probation:
            noted = f"{self.promoted} is noted as promoted, {self.on_probation or 'nothing'} is on probation"
            yield f"{self.run_id}: its endpoint serves {self.serves}, and {noted}"
        if self.is_done and not self.approved:
            yield f"{self.run_id}: {self.serves} serves and is not approved"
        has_succeeded = self.state == "success"
        if has_succeeded and not self.is_done:
            yield f"{self.run_id} has succeeded and its endpoint serves the champion of before"
        for count, what in ((self.dataset_versions, "dataset versions"), (self.announced, "events of its endpoint")):
            if count != 1 if has_succeeded else count > 1:
                yield f"{self.run_id} is {self.state} with {count} {what}"


def promotion_of(
    world: World, champion: RegisteredModel, *, run_id: str, state: str, registered: Sequence[str], announced: int
) -> Promotion:
    """Read what serves, and what is noted of it; the endpoint is called as its dataset."""
    sagemaker, dataset = world.sagemaker, champion.dataset
    endpoint = sagemaker.describe_endpoint(EndpointName=dataset)
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    serves = tags_of(sagemaker, model["ModelArn"]).get(VERSION_TAG, "")
    package = sagemaker.describe_model_package(ModelPackageName=serves) if serves else {}
    group = sagemaker.describe_model_package_group(ModelPackageGroupName=champion.group)
    versions = world.keys(world.settings.data_bucket, f"datasets/{dataset}/")
    return Promotion(
        run_id=run_id,
        state=state,
        champion=champion.arn,
        registered=registered,
        approved=package.get("ModelApprovalStatus") == "Approved",
        status=endpoint["EndpointStatus"],
        serves=serves,
        promoted=tags_of(sagemaker, group["ModelPackageGroupArn"]).get(PROMOTED_TAG, ""),
        on_probation=tags_of(sagemaker, endpoint["EndpointArn"]).get(PROBATION_TAG, ""),
        dataset_versions=sum(key.endswith("/dataset.json") for key in versions) - 1,
        announced=announced,
    )


def updates(world: World) -> int:
    """How often the local AWS was asked to update an endpoint."""
    return calls(world.aws.url).get("sagemaker:UpdateEndpoint", 0)
