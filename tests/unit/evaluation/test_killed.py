"""An evaluation that is killed after any of its calls and tried again writes the same report as one that is not."""

from __future__ import annotations

import itertools
from typing import Any

from include.evaluation.evaluate import ChampionAnswers, evaluate
from include.evaluation.held_out_answers import kept_at
from include.evaluation.metrics import Evaluation
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from tests.support.documents import described_training_job, settings
from tests.support.killed import KilledError, kill_after
from tests.unit.evaluation.test_evaluate import BEST, CHANNELS, answer_the_transform, logs_of, write_epochs


def test_whenever_it_is_killed_the_next_try_completes_it(world: Any) -> None:
    logs = logs_of(world)
    for job in ("killed-base", "killed-job"):
        write_epochs(logs, job, [0.5])
    answer_the_transform(world, "of-the-model", {0: 0.7})
    answer_the_transform(world, "of-the-champion", {1: 0.7})
    job = JobResult.of_training_job(described_training_job("killed-job", InputDataConfig=CHANNELS))

    def one_try(s3: Any, step: int) -> Evaluation:
        """The answers are kept under names of this step, so that each step begins with none."""
        champion = f"champion-{step}"
        return evaluate(
            s3,
            logs,
            job=job.model_copy(update={"artifact": f"s3://models-of-acme/{step}/model.tar.gz"}),
            best=BEST.model_copy(update={"job": "killed-base"}),
            transform_job="of-the-model",
            dataset=world.dataset,
            settings=settings(),
            run=Run("train_model", f"step-{step}"),
            champion=ChampionAnswers(
                kept_at(settings(), world.dataset, job=champion, artifact="s3://models-of-acme/champion.tar.gz"),
                model=champion,
                transform_job="of-the-champion",
            ),
        )

    whole = one_try(world.client("s3"), 0)
    for step in itertools.count(1):
        try:
            one_try(kill_after(step)(world.client("s3")), step)
        except KilledError:
            again = one_try(world.client("s3"), step)
            assert (again.verdict, again.accuracy) == (whole.verdict, whole.accuracy)
            for name in ("predictions_uri", "metrics_uri"):
                found = world.read(getattr(again, name)), world.read(getattr(whole, name))
                assert found[0].replace(f"/{step}/model".encode(), b"/0/model") == found[1]
        else:
            break
    assert step > 10, "answers, records, and the files of a report"
