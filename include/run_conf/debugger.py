"""The section `training.debugger` of a run conf: rules of SageMaker Debugger, its hook and its profiler.

Sources: developer guide, "List of Debugger built-in rules" (names, parameters and their types), "Considerations for
Amazon SageMaker Debugger"; API reference of ProfilerConfig (intervals). A test in the SDK's environment compares rules,
tensor collections and the parameters of the report with the SDK's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field, JsonValue

from include.problems import Problem, did_you_mean, nearest
from include.run_conf.fields import ENTRY_IS_SCALAR, Scalar, Section

if TYPE_CHECKING:
    from include.run_conf import RunConf

Parameters = dict[str, Scalar]
Type = Literal["text", "number", "whole number", "true or false"]

DEBUGGER = "training.debugger"
PROFILER_REPORT = "ProfilerReport"
ENTRY_IS_PARAMETERS: dict[str, JsonValue] = {"entry": "a JSON object of parameters and their values"}


@dataclass(frozen=True)
class TensorRule:
    """A rule that reads the tensors of a job: its parameters, and the collection that it needs saved."""

    parameters: Mapping[str, Type]
    collections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


SAVED = {"save_interval": "500"}
TENSOR_RULES: Mapping[str, TensorRule] = {
    "VanishingGradient": TensorRule({"threshold": "number"}, {"gradients": SAVED}),
    "ExplodingTensor": TensorRule({"collection_names": "text", "tensor_regex": "text", "only_nan": "true or false"}),
    "PoorWeightInitialization": TensorRule(
        {
            "activation_inputs_regex": "text",
            "threshold": "number",
            "distribution_range": "number",
            "patience": "whole number",
            "steps": "whole number",
        },
        {"relu_input": {"include_regex": ".*relu_input", **SAVED}},
    ),
    "DeadRelu": TensorRule(
        {"tensor_regex": "text", "threshold_inactivity": "number", "threshold_layer": "number"},
        {"relu_output": {"include_regex": ".*relu_output", **SAVED}},
    ),
    "LossNotDecreasing": TensorRule(
        {
            "collection_names": "text",
            "tensor_regex": "text",
            "use_losses_collection": "true or false",
            "num_steps": "whole number",
            "diff_percent": "number",
            "increase_threshold_percent": "number",
            "mode": "text",
        },
        {"losses": SAVED},
    ),
    "Overfit": TensorRule(
        {
            "tensor_regex": "text",
            "start_step": "whole number",
            "patience": "whole number",
            "ratio_threshold": "number",
        }
    ),
    "Overtraining": TensorRule(
        {"patience_train": "whole number", "patience_validation": "whole number", "delta": "number"}
    ),
    "ClassImbalance": TensorRule(
        {
            "threshold_imbalance": "number",
            "threshold_misprediction": "number",
            "samples": "whole number",
            "argmax": "true or false",
            "labels_regex": "text",
            "predictions_regex": "text",
        }
    ),
}
SCANNED: Mapping[str, Type] = {"scan_interval_us": "whole number"}
PROFILED: Mapping[str, Mapping[str, Type]] = {
    "BatchSize": {
        "cpu_threshold_p95": "number",
        "gpu_threshold_p95": "number",
        "gpu_memory_threshold_p95": "number",
        "patience": "whole number",
        "window": "whole number",
    },
    "CPUBottleneck": {
        "threshold": "number",
        "gpu_threshold": "number",
        "cpu_threshold": "number",
        "patience": "whole number",
    },
    "Dataloader": {"min_threshold": "number", "max_threshold": "number"},
    "GPUMemoryIncrease": {"increase": "number", "patience": "whole number", "window": "whole number"},
    "IOBottleneck": {
        "threshold": "number",
        "gpu_threshold": "number",
        "io_threshold": "number",
        "patience": "whole number",
    },
    "LoadBalancing": {"threshold": "number", "patience": "whole number"},
    "LowGPUUtilization": {
        "threshold_p95": "number",
        "threshold_p5": "number",
        "window": "whole number",
        "patience": "whole number",
    },
    "MaxInitializationTime": {"threshold": "number"},
    "OverallSystemUsage": {},
    "StepOutlier": {"stddev": "number", "mode": "text", "n_outliers": "whole number"},
}
"""The rules that ProfilerReport evaluates: `RULE_PARAMETER` is a parameter of the report."""
RULE_PARAMETERS: Mapping[str, Mapping[str, Type]] = {
    PROFILER_REPORT: {
        f"{rule}_{name}": kind for rule, own in PROFILED.items() for name, kind in {**own, **SCANNED}.items()
    },
    **{name: rule.parameters for name, rule in TENSOR_RULES.items()},
}


class ProfilerConf(Section):
    """What the profiler of Debugger collects."""

    model_config = ConfigDict(title="Training: Debugger")

    enabled: bool = Field(
        True,
        title="Profiler",
        description="Collect CPU, GPU, memory, disk and network of a job that has other settings of Debugger.",
    )
    interval_ms: Literal[100, 200, 500, 1000, 5000, 60_000] | None = Field(
        None, title="Profiled every (ms)", description="Time between two measurements of the machine. Empty: 500 ms."
    )
    start_step: int | None = Field(
        None,
        ge=0,
        examples=[5],
        title="First profiled step",
        description="First step of framework profiling, which PyTorch 2.0 and later do not allow. Empty: step 0, if "
        "the field below is given.",
    )
    num_steps: int | None = Field(
        None,
        ge=1,
        examples=[10],
        title="Profiled steps",
        description="Steps of framework profiling. Empty: one step, if the field above is given; else none.",
    )

    @property
    def is_asked_for(self) -> bool:
        """Whether a field says what to collect."""
        return any(value is not None for value in (self.interval_ms, self.start_step, self.num_steps))


class DebuggerConf(Section):
    """What SageMaker Debugger watches in a training job, for accounts that have it."""

    model_config = ConfigDict(title="Training: Debugger")

    rules: dict[str, Parameters] = Field(
        {},
        json_schema_extra=ENTRY_IS_PARAMETERS,
        title="Rules",
        description='Built-in rule -> its parameters: `{"VanishingGradient": {}, "ClassImbalance": {"samples": 300}}`. '
        "For accounts that used Debugger before AWS closed it to new customers on 2026-07-30.",
    )
    hook: Parameters = Field(
        {},
        json_schema_extra=ENTRY_IS_SCALAR,
        title="Hook",
        description='Parameters of the hook that saves tensors: `{"train.save_interval": 100}`.',
    )
    collections: dict[str, Parameters] = Field(
        {},
        json_schema_extra=ENTRY_IS_PARAMETERS,
        title="Tensor collections",
        description='Tensors to save beside those of the rules: `{"outputs": {"include_regex": ".*output"}}`. One '
        "with the name of a rule's replaces it.",
    )
    profiler: ProfilerConf = Field(ProfilerConf(), description="What the profiler collects.")

    @property
    def tensor_rules(self) -> dict[str, Parameters]:
        """The rules that read tensors."""
        return {name: parameters for name, parameters in self.rules.items() if name != PROFILER_REPORT}

    @property
    def saves_tensors(self) -> bool:
        """Whether jobs save tensors: for a rule, or because the hook names which."""
        return bool(self.tensor_rules or self.hook or self.collections)

    @property
    def is_used(self) -> bool:
        """Whether anything of Debugger is asked for."""
        return bool(self.rules or self.saves_tensors or self.profiler.is_asked_for)


def debugger_rules_are_known(conf: RunConf) -> Iterator[Problem]:
    """Rules and their parameters are those of Debugger, with values that it reads."""
    for rule, parameters in conf.training.debugger.rules.items():
        field = f"{DEBUGGER}.rules.{rule}"
        known = RULE_PARAMETERS.get(rule)
        if known is None:
            meant = did_you_mean(nearest(rule.replace("_", ""), RULE_PARAMETERS))
            yield Problem(field=field, remedy=f"no such rule; there are {', '.join(RULE_PARAMETERS)}{meant}")
            continue
        spelt = {name.casefold(): kind for name, kind in known.items()} if rule == PROFILER_REPORT else known
        for name, value in parameters.items():
            kind = spelt.get(name.casefold() if rule == PROFILER_REPORT else name)
            if kind is None:
                yield Problem(field=f"{field}.{name}", value=value, remedy=_unknown_parameter(rule, name, known))
            elif not _is_of(kind, value):
                yield Problem(field=f"{field}.{name}", value=value, remedy=f"must be {_article(kind)}")


def debugger_fits_the_jobs(conf: RunConf) -> Iterator[Problem]:
    """The profiler is on if it has something to do, and one machine trains where tensors are saved."""
    debugger = conf.training.debugger
    profiler, machines = debugger.profiler, conf.resources.instance_count
    if not profiler.enabled and PROFILER_REPORT in debugger.rules:
        remedy = f"is made by the profiler, and {DEBUGGER}.profiler.enabled is off: switch it on, or leave the rule out"
        yield Problem(field=f"{DEBUGGER}.rules.{PROFILER_REPORT}", remedy=remedy)
    if not profiler.enabled and profiler.is_asked_for:
        remedy = "the profiler is off, and its other fields are set: leave them empty, or switch it on"
        yield Problem(field=f"{DEBUGGER}.profiler.enabled", value=False, remedy=remedy)
    if machines > 1 and debugger.saves_tensors:
        remedy = (
            "Debugger saves no tensors of a job on several machines that keeps checkpoints, as every job here does: "
            f"use one machine, or only the rule {PROFILER_REPORT}"
        )
        yield Problem(field="resources.instance_count", value=machines, remedy=remedy)


def debugger_notes(conf: RunConf, *, emits_tensors: bool) -> Iterator[str]:
    """What is good to know before a run with Debugger; `emits_tensors`: whether its algorithm emits any."""
    debugger = conf.training.debugger
    if not debugger.is_used:
        return
    yield (
        f"{DEBUGGER} is for accounts that used Debugger before: AWS closed it to new customers on 2026-07-30, and "
        "refuses or ignores it for others. The run's report diagnoses the training without it"
    )
    if debugger.saves_tensors and not emits_tensors:
        yield (
            f"the built-in algorithm emits no tensors: of {DEBUGGER}, the rule {PROFILER_REPORT} and the "
            "profiler work, and all else finds nothing"
        )
    if conf.training.tunes:
        yield f"the jobs of a tuning job cannot have Debugger: {DEBUGGER} is for the full jobs of this run"
    if debugger.profiler.enabled:
        yield "AWS ends the profiler of Debugger on 2027-06-30"
    if debugger.profiler.start_step is not None or debugger.profiler.num_steps is not None:
        yield f"{DEBUGGER}.profiler.num_steps profiles the framework, which PyTorch 2.0 and later no longer allow"


def _unknown_parameter(rule: str, name: str, known: Mapping[str, Type]) -> str:
    meant = did_you_mean(nearest(name, known))
    if rule == PROFILER_REPORT:
        return f"no such parameter; those of {rule} are RULE_PARAMETER of {', '.join(PROFILED)}{meant}"
    return f"no such parameter; those of {rule} are {', '.join(known)}{meant}"


def _is_of(kind: Type, value: Scalar) -> bool:
    """Whether a rule can read a value: as a text it may be of any type, and a text may hold a number."""
    if kind == "text":
        return isinstance(value, str)
    if kind == "true or false":
        return str(value) in ("True", "False")
    if isinstance(value, bool):
        return False
    try:
        return float(value).is_integer() if kind == "whole number" else float(value) == float(value)
    except (ValueError, OverflowError):
        return False


def _article(kind: Type) -> str:
    return f"{kind}, without quotes" if kind == "true or false" else f"a {kind}"
