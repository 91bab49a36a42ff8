"""How all training jobs of a run compare: what they were sent, what each epoch reached, what they cost.

It lies in S3 as JSON for machines and as a page for people, and is a part of the evaluation's report.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.pages import Markup, joined, note, page, section, shown, table
from include.pages.charts import Curve, Point, coloured, curves, scatter
from include.run_conf.hyperparameters import DERIVED
from include.sagemaker.epochs import EpochMetrics, KeptWeights, first_epoch_accuracy
from include.sagemaker.job_results import JobResult, Objective, Part, RuleStatus
from include.training.best_model import better_of
from include.training.run_jobs import RunJob, rank, unusable, with_epochs

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

    from include.sagemaker.naming import Run
    from include.settings import Settings
    from include.training.best_model import BestModel


DOCUMENT = "leaderboard.json"
PAGE = "leaderboard.html"
MOST_LINES = 12
"""Curves that a page shows; more of them hide each other."""
MOST_COLUMNS = 6
"""Hyperparameters that have one column each; more of them would not fit a page, and stand in one."""


class LeaderboardJob(BaseModel):
    """One training job; `place` counts from 1 among those whose model can be used.

    `objective` is its value with the weights in the artifact, and `kept_epoch` the epoch they are of, counted from 1.
    `dataset` is NAME/VERSION, `metrics` holds the last value of each, as AWS reports it, `epochs` what the log shows if
    it was read. `seconds` and `billable_seconds` are those of one machine, `cost` is in USD for all of them; `reason`
    says why a job's model cannot be used, `rules` are those of SageMaker Debugger.
    """

    model_config = ConfigDict(frozen=True)

    place: int | None
    job: str
    part: Part
    trial: str = ""
    tuning_job: str | None = None
    dataset: str = ""
    status: str
    objective: float | None
    kept_epoch: int | None = None
    hyperparameters: dict[str, str]
    metrics: dict[str, float]
    epochs: tuple[EpochMetrics, ...] = ()
    instance_type: str | None = None
    instance_count: int = 1
    seconds: int | None = None
    billable_seconds: int | None = None
    cost: float | None = None
    reason: str = ""
    rules: tuple[RuleStatus, ...] = ()

    @property
    def first_epoch(self) -> float | None:
        """The validation accuracy after the first epoch."""
        return first_epoch_accuracy(self.epochs)


class Leaderboard(BaseModel):
    """All training jobs of a run, the best first, those that cannot be used last.

    `best` is the job whose model was selected and `reason` says why. `final` is the job whose model the run ends with:
    the incremental one if there is one and it is not worse; None if the run has no such model. `billable_seconds` and
    `cost` are sums over the run's own jobs, `cost` None if a price is not known.
    """

    model_config = ConfigDict(frozen=True)

    objective: Objective
    best: str | None
    final: str | None = None
    reason: str = ""
    billable_seconds: int
    cost: float | None
    jobs: tuple[LeaderboardJob, ...]

    def job(self, name: str) -> LeaderboardJob | None:
        """The job of this name."""
        return next((job for job in self.jobs if job.job == name), None)

    def varied(self) -> list[str]:
        """The hyperparameters in which the jobs differ."""
        sent = [job.hyperparameters for job in self.jobs]
        names = dict.fromkeys(name for parameters in sent for name in parameters)
        return sorted(name for name in names if len({parameters.get(name) for parameters in sent}) > 1)

    def shared(self) -> dict[str, str]:
        """The hyperparameters that all jobs were sent alike."""
        varied = set(self.varied())
        first = self.jobs[0].hyperparameters if self.jobs else {}
        return {name: value for name, value in first.items() if name not in varied}

    @property
    def kept_base(self) -> str:
        """What became of an incremental training that made the selected model worse; empty if none did."""
        base = self.job(self.final) if self.final and self.final == self.best else None
        done = [job for job in self.jobs if job.part == "incremental" and job.status == "Completed"]
        if base is None or base.objective is None or not done or done[0].objective is None:
            return ""
        return (
            f"{done[0].job} trained the selected model further and reached {done[0].objective:.4f}, which is worse "
            f"than {base.objective:.4f}: the selected model is the final one."
        )

    def first_epochs(self) -> Iterator[str]:
        """Each incremental job against the job whose model it trained further, both after their first epoch."""
        base = self.job(self.best) if self.best else None
        for job in self.jobs:
            if job.part == "incremental" and base is not None:
                yield (
                    f"Validation accuracy after the first epoch: incremental {job.job} {_told(job.first_epoch)}, "
                    f"{base.part} {base.job} {_told(base.first_epoch)}."
                )


def final_job(jobs: Sequence[RunJob], best: BestModel | None, *, trains_further: bool) -> str | None:
    """The job whose model a run ends with: if it `trains_further`, the better of both jobs, else the selected one."""
    if best is None or not trains_further:
        return best.job if best else None
    done = [job.result for job in jobs if job.part == "incremental" and not unusable(job.result)]
    return better_of(best, done[-1]).job if done else None


def read_leaderboard(
    logs: CloudWatchLogsClient,
    jobs: Sequence[RunJob],
    *,
    best: BestModel | None,
    final: str | None,
    prices: Mapping[str, float],
) -> Leaderboard:
    """Compare `jobs`; the logs of the best of them are read a few at a time.

    `best` is the model that was selected, `final` the job that `final_job` names, `prices` are USD an hour by instance
    type.
    """
    jobs = with_epochs(logs, jobs)
    usable = rank(job for job in jobs if not unusable(job.result))
    others = sorted((job for job in jobs if unusable(job.result)), key=lambda job: job.result.name)
    places = {job.result.name: place for place, job in enumerate(usable, start=1)}
    entries = [_entry(job, places.get(job.result.name), prices) for job in (*usable, *others)]
    own = [entry for entry in entries if entry.part != "parent"]
    costs = [entry.cost for entry in own]
    known = [cost for cost in costs if cost is not None]
    return Leaderboard(
        objective=own_objective(jobs),
        best=best.job if best else None,
        final=final,
        reason=best.reason if best else "",
        billable_seconds=sum((entry.billable_seconds or 0) * entry.instance_count for entry in own),
        cost=round(sum(known), 4) if own and len(known) == len(costs) else None,
        jobs=tuple(entries),
    )


def own_objective(jobs: Sequence[RunJob]) -> Objective:
    """The objective of the run's own jobs, which all have the same one."""
    own = [job.result.objective for job in jobs if job.part != "parent"]
    return (own or [job.result.objective for job in jobs] or [Objective.VALIDATION_ACCURACY])[0]


def cost_of(result: JobResult, prices: Mapping[str, float]) -> float | None:
    """USD that a job cost, its volume left out; None if its price or its seconds are not known."""
    price = prices.get(result.instance_type or "")
    if price is None or result.billable_seconds is None:
        return None
    return round(price * result.instance_count * result.billable_seconds / 3600, 4)


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
    cost = "" if leaderboard.cost is None else f"{_dollars(leaderboard.cost)} USD"
    final = leaderboard.job(leaderboard.final) if leaderboard.final else None
    reached = "" if final is None or final.objective is None else leaderboard.objective.shown(final.objective)
    return page(
        title=f"{len(leaderboard.jobs)} training jobs, {_outcome(leaderboard, reached)}",
        lead=f"{run.dag_id}, {run.run_id}.",
        figures=[
            (reached, f"{leaderboard.objective.metric} of the final model"),
            (f"{len(leaderboard.jobs)}", "jobs"),
            (f"{leaderboard.billable_seconds:,} s", "billed"),
            (cost, "cost"),
        ],
        sections=leaderboard_sections(leaderboard),
    )


def leaderboard_sections(leaderboard: Leaderboard) -> tuple[Markup, ...]:
    """Table, learning curves and hyperparameters against the objective."""
    return (
        section("Leaderboard", _table(leaderboard), *_remarks(leaderboard)),
        section("Learning curves", _curves(leaderboard)),
        section(f"Hyperparameters against {leaderboard.objective.metric}", _scatters(leaderboard)),
        section("Rules of SageMaker Debugger", _rules(leaderboard)),
    )


def _entry(job: RunJob, place: int | None, prices: Mapping[str, float]) -> LeaderboardJob:
    result = job.result
    return LeaderboardJob(
        place=place,
        job=result.name,
        part=job.part,
        trial=job.trial,
        tuning_job=job.tuning_job,
        dataset="/".join((result.dataset_uri or "").rstrip("/").split("/")[-2:]),
        status=result.status,
        objective=result.value,
        kept_epoch=result.kept_epoch,
        hyperparameters=result.readable_hyperparameters,
        metrics=result.metrics,
        epochs=job.epochs,
        instance_type=result.instance_type,
        instance_count=result.instance_count,
        seconds=result.training_seconds,
        billable_seconds=result.billable_seconds,
        cost=cost_of(result, prices),
        reason=unusable(result),
        rules=result.rules,
    )


def _told(value: float | None) -> str:
    return "not in its log" if value is None else f"{value:.4f}"


def _outcome(leaderboard: Leaderboard, reached: str) -> str:
    if leaderboard.final:
        return f"the final model {reached or f'without a {leaderboard.objective.metric}'}"
    return "no final model: the incremental training left none" if leaderboard.best else "no model was selected"


def accuracy_curves(runs: Sequence[tuple[str, Sequence[EpochMetrics]]], *, first_colour: int = 0) -> Markup:
    """Validation accuracy after every epoch, a line for each run; empty if no log has any."""
    metric = Objective.VALIDATION_ACCURACY.metric
    lines = [Curve(name, _points(epochs, metric), colour) for colour, (name, epochs) in enumerate(runs, first_colour)]
    return curves("Validation accuracy by epoch", lines)


def _points(epochs: Iterable[EpochMetrics], metric: str) -> list[tuple[int, float]]:
    """A metric by epoch, counted from 1."""
    known = ((epoch.epoch + 1, epoch.metrics.get(metric)) for epoch in epochs)
    return [(epoch, value) for epoch, value in known if value is not None and math.isfinite(value)]


def first_epochs_table(jobs: Iterable[tuple[str, Sequence[EpochMetrics], KeptWeights | None]]) -> Markup:
    """What each job reached after its first epoch and with the weights it kept."""
    rows = [(name, _percent(first_epoch_accuracy(epochs)), _reached(kept)) for name, epochs, kept in jobs]
    return table(("job", "validation accuracy after epoch 1", "of the model that was kept"), rows)


def _percent(value: float | None) -> str:
    return "not in the log" if value is None else f"{value:.2%}"


def _reached(kept: KeptWeights | None) -> str:
    if kept is None:
        return _percent(None)
    return f"{kept.value:.2%}" + (f", epoch {kept.epoch}" if kept.epoch else "")


def _table(leaderboard: Leaderboard) -> Markup:
    if not leaderboard.jobs:
        return Markup()
    varied = [name for name in leaderboard.varied() if name not in DERIVED]
    columns = [(leaderboard.objective.metric, [_value(job) for job in leaderboard.jobs])]
    columns.append(("epoch kept", [_kept(job) for job in leaderboard.jobs]))
    if len({job.dataset for job in leaderboard.jobs}) > 1:
        columns.append(("dataset", [job.dataset for job in leaderboard.jobs]))
    if len(varied) > MOST_COLUMNS:
        columns.append(("hyperparameters", [_differing(job, varied) for job in leaderboard.jobs]))
    else:
        columns += [
            (name, [_rounded(job.hyperparameters.get(name, "")) for job in leaderboard.jobs]) for name in varied
        ]
    seconds = [_whole(job.seconds) for job in leaderboard.jobs]
    billed = [_whole(job.billable_seconds) for job in leaderboard.jobs]
    columns += [("seconds", seconds), *([("billed", billed)] if billed != seconds else [])]
    columns.append(("USD", ["" if job.cost is None else _dollars(job.cost) for job in leaderboard.jobs]))
    columns = [(name, cells) for name, cells in columns if any(cells)]
    names = short_names(leaderboard.jobs)
    first = [_job_cell(leaderboard, job, names, colour) for colour, job in enumerate(leaderboard.jobs)]
    marked = [job.job == leaderboard.final for job in leaderboard.jobs]
    return table(
        ("job", *(_broken(name) for name, _ in columns)),
        zip(first, *(cells for _, cells in columns), strict=True),
        best=next((cell for cell, is_final in zip(first, marked, strict=True) if is_final), ""),
        kind="jobs",
    )


def short_names(jobs: Sequence[LeaderboardJob]) -> dict[str, str]:
    """What a page calls each job, by the job's name: its part and trial, numbered where there are several."""
    plain = {
        job.job: job.part if job.trial in ("", job.part) else f"{job.part} {job.trial}"
        for job in sorted(jobs, key=lambda job: job.job)
    }
    several = Counter(plain.values())
    met: Counter[str] = Counter()
    names = {}
    for job, name in plain.items():
        met[name] += 1
        names[job] = f"{name} {met[name]}" if several[name] > 1 else name
    return names


def _job_cell(leaderboard: Leaderboard, job: LeaderboardJob, names: Mapping[str, str], colour: int) -> Markup:
    """The job's short name in its colour, what it is to the run, its whole name, and what is to be said of it."""
    marks = {"final model": job.job == leaderboard.final, "selected": job.job == leaderboard.best}
    said = [", ".join(mark for mark, holds in marks.items() if holds), job.job, job.reason or _doubt(job)]
    lines = joined(Markup(f"<small>{shown(line)}</small>") for line in said if line)
    return Markup(f"<span {coloured(colour, 'key')}>{shown(names[job.job])}</span>{lines}")


def _differing(job: LeaderboardJob, varied: Sequence[str]) -> str:
    sent = {name: job.hyperparameters[name] for name in varied if name in job.hyperparameters}
    return Markup(", ".join(f"{shown(name)} {shown(_rounded(value))}" for name, value in sent.items()))


def _broken(name: str) -> Markup:
    """A name that may be broken at its underscores and colons."""
    return Markup(str(shown(name)).replace("_", "_<wbr>").replace(":", ":<wbr>"))


def _value(job: LeaderboardJob) -> str:
    return "" if job.objective is None else f"{job.objective:.4f}"


def _dollars(cost: float) -> str:
    """A sum in cents, or with two digits where it is less."""
    return f"{cost:.2f}" if cost >= 0.1 or not cost else f"{cost:.2g}"


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
    names = short_names(leaderboard.jobs)
    best, final = (names.get(job or "", job) for job in (leaderboard.best, leaderboard.final))
    if best:
        reason = _with_short_names(leaderboard.reason, names)
        remarks.append(note(f"{best} was selected: {reason or 'the model of an earlier run'}."))
    if final and final != best:
        remarks.append(note(f"{final} trained it further: its model is the final one."))
    if leaderboard.kept_base:
        remarks.append(note(_with_short_names(leaderboard.kept_base, names)))
    shared = leaderboard.shared()
    if shared and len(leaderboard.jobs) > 1:
        told = ", ".join(f"{name} {value}" for name, value in sorted(shared.items()))
        remarks.append(note(f"All of them: {told}."))
    return remarks


def _with_short_names(text: str, names: Mapping[str, str]) -> str:
    """A text in which jobs go by their short names; a name that begins with another is replaced first."""
    for job in sorted(names, key=len, reverse=True):
        text = text.replace(job, names[job])
    return text


def _rules(leaderboard: Leaderboard) -> Markup:
    """The rules of SageMaker Debugger as they stood when all jobs had ended; a rule may take longer than its job."""
    names = short_names(leaderboard.jobs)
    rows = [(names[job.job], rule.rule, rule.status, rule.details) for job in leaderboard.jobs for rule in job.rules]
    return table(("job", "rule", "status", "details"), rows) if rows else Markup()


def drawn_jobs(leaderboard: Leaderboard) -> frozenset[str]:
    """The jobs whose learning curves are drawn."""
    return frozenset(job.job for job, _ in _lines(leaderboard))


def _lines(leaderboard: Leaderboard) -> list[tuple[LeaderboardJob, Curve]]:
    """The curves of the jobs that count most: final and selected, what was not tuned, then the best of the others."""
    names = short_names(leaderboard.jobs)
    known = [
        (job, Curve(names[job.job], points, colour, marked=job.job == leaderboard.final))
        for colour, job in enumerate(leaderboard.jobs)
        if (points := _points(job.epochs, leaderboard.objective.metric))
    ]
    chosen = (leaderboard.final, leaderboard.best)
    known.sort(key=lambda drawn: (drawn[0].job not in chosen, drawn[0].part == "tuning"))
    return known[:MOST_LINES]


def _curves(leaderboard: Leaderboard) -> Markup:
    objective = leaderboard.objective
    lines = [curve for _, curve in _lines(leaderboard)]
    unit = None if objective.is_accuracy else objective.shown
    figure = curves(f"{objective.metric} by epoch", lines, unit=unit)
    untold = len(leaderboard.jobs) - len(lines)
    more = "1 more job is not drawn." if untold == 1 else f"{untold} more jobs are not drawn."
    return joined((figure, note(more))) if figure and untold else figure


def _scatters(leaderboard: Leaderboard) -> Markup:
    names, objective = short_names(leaderboard.jobs), leaderboard.objective
    unit = None if objective.is_accuracy else objective.shown
    from_scratch = [
        (colour, job)
        for colour, job in enumerate(leaderboard.jobs)
        if job.part in ("base", "tuning", "tuned") and job.objective is not None
    ]
    plots = []
    for name in leaderboard.varied():
        if name in DERIVED:
            continue
        points = [
            Point(sent[name], job.objective or 0.0, names[job.job], colour, marked=job.job == leaderboard.best)
            for colour, job in from_scratch
            if name in (sent := job.hyperparameters)
        ]
        if len({point.x for point in points}) > 1:
            plots.append(scatter(name, points, unit))
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
