"""The leaderboard of a run in S3: JSON for machines, a page for people, and its part of the evaluation report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.evaluation.charts import accuracy_curves
from include.evaluation.leaderboard import Leaderboard, LeaderboardJob
from include.evaluation.scatter import Point, scatter
from include.pages.elements import Markup, joined, note, page, section, shown, table

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.sagemaker.naming import Run
    from include.settings import Settings

DOCUMENT = "leaderboard.json"
PAGE = "leaderboard.html"
MOST_LINES = 12
"""Curves that a page shows; more of them hide each other."""
NOT_TUNED = frozenset({"num_classes", "num_training_samples", "multi_label"})
"""Hyperparameters that follow from the dataset version."""


def write_leaderboard(s3: S3Client, leaderboard: Leaderboard, *, settings: Settings, run: Run) -> str:
    """Write leaderboard.json and leaderboard.html beside the run's report; returns the address of the JSON."""
    prefix = settings.report_prefix(run.name)
    files = {
        DOCUMENT: (leaderboard.model_dump_json(indent=2), "application/json"),
        PAGE: (leaderboard_page(leaderboard, run), "text/html; charset=utf-8"),
    }
    for name, (text, content_type) in files.items():
        s3.put_object(
            Bucket=settings.output_bucket, Key=f"{prefix}{name}", Body=text.encode(), ContentType=content_type
        )
    return f"s3://{settings.output_bucket}/{prefix}{DOCUMENT}"


def load_leaderboard(s3: S3Client, uri: str) -> Leaderboard:
    """The leaderboard that `write_leaderboard` wrote."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return Leaderboard.model_validate_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def leaderboard_page(leaderboard: Leaderboard, run: Run) -> str:
    """The leaderboard as one HTML page."""
    cost = "" if leaderboard.cost is None else f"{leaderboard.cost:.2f} USD"
    final = leaderboard.job(leaderboard.final) if leaderboard.final else None
    reached = "" if final is None or final.objective is None else f"{final.objective:.2%}"
    return page(
        title=f"{len(leaderboard.jobs)} training jobs, {_outcome(leaderboard, reached)}",
        lead=f"{run.dag_id}, {run.run_id}.",
        figures=[
            (reached, f"{leaderboard.objective} of the final model"),
            (f"{len(leaderboard.jobs)}", "jobs"),
            (f"{leaderboard.billable_seconds:,} s", "billed"),
            (cost, "cost"),
        ],
        sections=leaderboard_sections(leaderboard),
    )


def _outcome(leaderboard: Leaderboard, reached: str) -> str:
    if leaderboard.final:
        return f"the final model {reached or f'without a {leaderboard.objective}'}"
    return "no final model: the incremental training left none" if leaderboard.best else "no model was selected"


def leaderboard_sections(leaderboard: Leaderboard) -> tuple[Markup, ...]:
    """Table, learning curves and hyperparameters against the objective."""
    return (
        section("Leaderboard", _table(leaderboard), *_remarks(leaderboard)),
        section("Learning curves", _curves(leaderboard)),
        section(f"Hyperparameters against {leaderboard.objective}", _scatters(leaderboard)),
    )


def _table(leaderboard: Leaderboard) -> Markup:
    if not leaderboard.jobs:
        return Markup()
    varied = leaderboard.varied()
    head = ("job", "place", "part", leaderboard.objective, "epoch kept", "seconds", "billed", "USD", *varied, "remark")
    return table(head, (_row(job, varied) for job in leaderboard.jobs), best=leaderboard.final or "")


def _row(job: LeaderboardJob, varied: Sequence[str]) -> tuple[str, ...]:
    return (
        job.job,
        _whole(job.place),
        f"{job.part} {job.trial}".strip(),
        "" if job.objective is None else f"{job.objective:.4f}",
        _kept(job),
        _whole(job.seconds),
        _whole(job.billable_seconds),
        "" if job.cost is None else f"{job.cost:.4f}",
        *(_rounded(job.hyperparameters.get(name, "")) for name in varied),
        job.reason or _doubt(job),
    )


def _kept(job: LeaderboardJob) -> str:
    """The epoch whose weights the job kept, and how many it had."""
    epochs = len(job.epochs)
    if not epochs:
        return ""
    return f"{job.kept_epoch} of {epochs}" if job.kept_epoch else f"of {epochs}"


def _doubt(job: LeaderboardJob) -> str:
    """What is not certain about the objective of a job that can be used."""
    return "" if job.kept_epoch else "the last value that AWS reports: the log does not show the epoch that was kept"


def _remarks(leaderboard: Leaderboard) -> list[Markup]:
    remarks = []
    if leaderboard.best:
        remarks.append(note(f"{leaderboard.best} was selected: {leaderboard.reason or 'the model of an earlier run'}."))
    if leaderboard.final and leaderboard.final != leaderboard.best:
        remarks.append(note(f"{leaderboard.final} trained it further: its model is the final one."))
    shared = leaderboard.shared()
    if shared and len(leaderboard.jobs) > 1:
        told = ", ".join(f"{name} {value}" for name, value in sorted(shared.items()))
        remarks.append(note(f"All of them: {told}."))
    return remarks


def _curves(leaderboard: Leaderboard) -> Markup:
    """The curves of the jobs that count most: final and selected, what was not tuned, then the best of the others."""
    known = [job for job in leaderboard.jobs if any(epoch.validation_accuracy is not None for epoch in job.epochs)]
    chosen = (leaderboard.final, leaderboard.best)
    known.sort(key=lambda job: (job.job not in chosen, job.part == "tuning"))
    drawn = known[:MOST_LINES]
    curves = accuracy_curves([(f"{job.part} {job.trial or job.job}", job.epochs) for job in drawn])
    untold = len(leaderboard.jobs) - len(drawn)
    return joined((curves, note(f"{untold} more jobs are not drawn."))) if curves and untold else curves


def _scatters(leaderboard: Leaderboard) -> Markup:
    from_scratch = [job for job in leaderboard.jobs if job.part in ("base", "tuning", "tuned")]
    plots = []
    for name in leaderboard.varied():
        if name in NOT_TUNED:
            continue
        points = [
            Point(job.hyperparameters[name], job.objective, job.job, marked=job.job == leaderboard.best)
            for job in from_scratch
            if name in job.hyperparameters and job.objective is not None
        ]
        if len({point.x for point in points}) > 1:
            plots.append(scatter(name, points))
    return Markup(f'<div class="side">{joined(plots)}</div>') if plots else Markup()


def _whole(number: int | None) -> str:
    return "" if number is None else f"{number}"


def _rounded(value: str) -> str:
    """A hyperparameter in few digits, with all of them where the pointer rests."""
    try:
        short = f"{float(value):.4g}"
    except ValueError:
        return value
    return value if len(value) <= len(short) else Markup(f'<span title="{shown(value)}">{shown(short)}</span>')
