"""What a measured endpoint is compared with, its report, and the task that fails if it has become worse."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from image_classification.context import AwsAccess
from image_classification.stages import deployment
from image_classification.tasks import endpoint_check
from include.evaluation.endpoint_accuracy import (
    EndpointEvaluation,
    RegisteredFigure,
    Report,
    difference_interval,
    drawn_places,
    endpoint_evaluation,
)
from include.evaluation.held_out_answers import HeldOutAnswers
from include.evaluation.metrics import Interval
from include.pages import WebPages
from include.run_conf import EvaluationConf, RunConf, SampleConf
from include.sagemaker.naming import Run
from tests.support.documents import VARIABLE, settings
from tests.support.running_task import run_as_task
from tests.unit.pages.reading import ReadPage

RUN = Run("evaluate_endpoint", "scheduled__2026-01-02")
FILES = {
    "metrics.json",
    "classification_report.json",
    "confusion_matrix.csv",
    "classes.csv",
    "predictions.parquet",
    "report.html",
    "results.tar.gz",
}


def figure(accuracy: float, low: float, high: float, images: int = 400) -> RegisteredFigure:
    """What a version of the dataset `shades` was registered with."""
    return RegisteredFigure(
        group="image-classification-shades",
        version=5,
        dataset_version="shades/20260101T000000Z-0a1b2c3d",
        accuracy=accuracy,
        images=images,
        interval=Interval(low=low, high=high),
        report="s3://models-of-acme/reports/run/report.html",
    )


@pytest.fixture(scope="module")
def measured(world: Any, runtime: Any) -> EndpointEvaluation:
    """A good endpoint beside a registered figure that it reaches."""
    return endpoint_evaluation(
        runtime,
        world.s3,
        endpoint="shades-live",
        dataset=world.dataset,
        registered=figure(0.975, 0.955, 0.986),
        report=Report(settings(), RUN, WebPages(stored=lambda uri: uri.replace("s3://", "https://console/"))),
    )


def read(world: Any, measured: EndpointEvaluation, name: str) -> Any:
    return world.read(f"{measured.report_uri.rpartition('/')[0]}/{name}")


def test_the_report_has_the_files_of_an_evaluation_and_a_folder_for_each_endpoint(
    world: Any, measured: EndpointEvaluation
) -> None:
    folder = f"reports/{RUN.name}/shades-live/"
    assert measured.report_uri == f"s3://models-of-acme/{folder}report.html"
    listed = world.s3.list_objects_v2(Bucket="models-of-acme", Prefix=folder)["Contents"]
    assert {entry["Key"].removeprefix(folder) for entry in listed} == FILES


def test_no_figure_stands_without_the_number_of_images_or_requests(world: Any, measured: EndpointEvaluation) -> None:
    images = world.dataset.counts.test
    assert measured.latency is not None
    assert (measured.images, measured.latency.requests, measured.sampled_from) == (images, images, None)
    assert 0 < measured.latency.p50 <= measured.latency.p90 <= measured.latency.p99
    assert str(measured.latency).endswith(f"images/s; {images} requests, 4 at a time")
    metrics = json.loads(read(world, measured, "metrics.json"))
    assert metrics["latency"] == measured.latency.model_dump()
    assert metrics["intervals"]["accuracy"] == measured.model_dump()["accuracy_interval"]
    assert (metrics["endpoint"], metrics["registered"]["version"], metrics["sent"]["unsent"]) == ("shades-live", 5, [])
    assert "job" not in metrics
    answers = HeldOutAnswers.from_parquet(read(world, measured, "predictions.parquet"))
    assert (answers.model, len(answers.keys)) == ("image-classification-shades version 5", images)


def test_the_page_leads_to_the_report_of_the_registered_version(world: Any, measured: EndpointEvaluation) -> None:
    addresses = ReadPage(read(world, measured, "report.html").decode()).addresses
    assert "https://console/models-of-acme/reports/run/report.html" in addresses


def test_the_page_begins_with_the_comparison_and_shows_latency(world: Any, measured: EndpointEvaluation) -> None:
    text = ReadPage(read(world, measured, "report.html").decode()).text
    said = (
        "image-classification-shades version 5 was registered with 97.50% (95 %: 95.50% to 98.60%, 400 images). "
        "No drop beyond chance"
    )
    assert text.index("Well") < text.index(said) < text.index("training + validation") < text.index("Latency")
    assert "endpoint shades-live, which serves image-classification-shades version 5." in text
    assert "Validation accuracy by epoch" not in text


class Mirrored:
    """An endpoint whose classes stand in the wrong order: dark and light change places, grey is right."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def invoke_endpoint(self, **asked: Any) -> dict[str, Any]:
        answer = json.loads(self._runtime.invoke_endpoint(**asked)["Body"].read())
        return {"Body": io.BytesIO(json.dumps(answer[::-1]).encode())}


def test_an_endpoint_that_is_worse_by_more_than_chance_has_dropped(world: Any, runtime: Any) -> None:
    def beside(known: RegisteredFigure) -> EndpointEvaluation:
        wrong: Any = Mirrored(runtime)
        return endpoint_evaluation(wrong, world.s3, endpoint="e", dataset=world.dataset, registered=known)

    worse = beside(figure(0.975, 0.955, 0.986))
    assert worse.accuracy < 0.4
    assert worse.has_dropped
    assert "The drop is more than chance: the difference is -" in worse.beside_the_registered()
    assert not beside(figure(0.4, 0.3, 0.5)).has_dropped
    of_sources = figure(0.975, 0.955, 0.986).model_copy(update={"sent": "source"})
    assert not beside(of_sources).has_dropped
    assert beside(of_sources).beside_the_registered().endswith("of source ones: the two are not compared.")
    without_report = figure(0.975, 0.9, 1.0).model_copy(update={"images": None, "interval": None})
    assert not beside(without_report).has_dropped
    assert "97.50% (of an unknown number of images); the report" in beside(without_report).beside_the_registered()


def test_an_endpoint_is_compared_with_its_own_answers_to_the_same_images_if_they_were_kept(
    world: Any, runtime: Any, measured: EndpointEvaluation
) -> None:
    kept = f"{measured.report_uri.rpartition('/')[0]}/predictions.parquet"
    known, images = figure(0.4, 0.3, 0.5).model_copy(update={"answers": kept}), world.dataset.counts.test

    def asked(runtime: Any, **options: Any) -> EndpointEvaluation:
        report = Report(settings(), Run("evaluate_endpoint", "manual__paired"))
        return endpoint_evaluation(
            runtime, world.s3, endpoint="e", dataset=world.dataset, registered=known, report=report, **options
        )

    same, wrong = asked(runtime), Mirrored(runtime)
    assert same.paired is not None
    assert (same.paired.images, same.paired.difference, same.has_dropped) == (images, 0.0, False)
    worse = asked(wrong)
    assert worse.has_dropped, "the two accuracies alone would not show it"
    said = worse.beside_the_registered()
    assert f"400 images), and reached 100.00% on the same {images} images. The drop is more than chance: the" in said
    assert "in its evaluation, on the same images" in ReadPage(read(world, worse, "report.html").decode()).text
    sampled = asked(wrong, evaluation=EvaluationConf(sample=SampleConf(images=2, seed=1)))
    assert sampled.paired is not None
    assert (sampled.paired.images, sampled.has_dropped) == (2, False), "two images prove nothing"


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """The published example: 56 of 70 against 48 of 80, Wilson intervals, gives 0.0524 to 0.3339."""
    low, high = Interval(low=0.691826, high=0.876960), Interval(low=0.490429, high=0.700414)
    found = difference_interval(56 / 70, low, 48 / 80, high)
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=2e-4), pytest.approx(0.3339, abs=2e-4))


def test_a_sample_is_the_same_for_the_same_seed_and_not_larger_than_the_split() -> None:
    drawn = drawn_places(100, SampleConf(images=30, seed=7))
    assert drawn == drawn_places(100, SampleConf(images=30, seed=7)) != drawn_places(100, SampleConf(images=30))
    assert drawn is not None
    assert (len(drawn), max(drawn) < 100) == (30, True)
    assert drawn_places(30, SampleConf(images=30)) is drawn_places(30, SampleConf()) is drawn_places(30, None) is None


def test_a_sample_says_of_how_many_images_it_is(world: Any, runtime: Any) -> None:
    found = endpoint_evaluation(
        runtime,
        world.s3,
        endpoint="e",
        dataset=world.dataset,
        evaluation=EvaluationConf(sample=SampleConf(images=5, seed=1)),
    )
    assert (found.images, found.sampled_from, found.accuracy) == (5, world.dataset.counts.test, 1.0)
    assert found.accuracy_interval is not None
    assert found.accuracy_interval.low < 0.6, "five right answers prove little"


def check(world: Any, registered: RegisteredFigure | None, **changes: Any) -> dict[str, Any]:
    """What `choose_endpoints` hands on for one endpoint."""
    return {
        "endpoint": "shades-live",
        "dataset": "shades",
        "version": world.dataset.model_dump(mode="json"),
        "registered": registered.model_dump(mode="json") if registered else None,
        "remark": "",
        "evaluation": EvaluationConf().model_dump(mode="json"),
        "minimum_accuracy": None,
        **changes,
    }


@pytest.fixture
def handed_on(world: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A task of `evaluate_endpoint` runs; what it hands on beside its result."""
    documents: dict[str, Any] = {}
    run_as_task(monkeypatch, dag_id=RUN.dag_id, run_id=RUN.run_id, handed_on=documents)
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(VARIABLE))
    answered_by(monkeypatch, world, runtime)
    return documents


def answered_by(monkeypatch: pytest.MonkeyPatch, world: Any, runtime: Any) -> None:
    clients = {"s3": world.s3, "sagemaker-runtime": runtime}
    monkeypatch.setattr(AwsAccess, "of", lambda _: SimpleNamespace(client=clients.__getitem__, endpoint=lambda _: ""))


def test_a_run_that_deploys_keeps_how_fast_its_endpoint_answers_beside_its_report(
    world: Any, runtime: Any, handed_on: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    version, conf = world.dataset.model_dump(mode="json"), RunConf().model_dump(mode="json")
    documents = deployment.predict.function(conf, version, {"name": "shades-live"})
    kept = json.loads(world.read(f"s3://models-of-acme/reports/{RUN.name}/serving.json"))
    assert kept["latency"] == documents["evaluation"]["latency"]
    assert 0 < kept["latency"]["p50"] <= kept["latency"]["p90"] <= kept["latency"]["p99"]
    assert kept["latency"]["images_per_second"] > 0
    assert kept["images"] == world.dataset.counts.test


def test_the_task_fails_if_the_endpoint_has_dropped_and_still_leads_to_the_report(
    world: Any, runtime: Any, handed_on: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered_by(monkeypatch, world, Mirrored(runtime))
    with pytest.raises(AirflowFailException, match=r"The drop is more than chance.*Report: http://.*report\.html"):
        endpoint_check.measure_endpoint.function(check(world, figure(0.975, 0.955, 0.986)))
    assert world.read(handed_on[endpoint_check.MEASURED]["report_uri"]).startswith(b"<!doctype html>")


def test_the_task_fails_below_the_minimum_accuracy_whatever_was_registered(
    world: Any, handed_on: dict[str, Any]
) -> None:
    assert endpoint_check.measure_endpoint.function(check(world, None, minimum_accuracy=1.0))["accuracy"] == 1.0
    with pytest.raises(AirflowFailException, match=r"It is below promotion\.minimum_accuracy 1\.1"):
        endpoint_check.measure_endpoint.function(check(world, None, minimum_accuracy=1.1))
    assert handed_on[endpoint_check.MEASURED]["registered"] is None
