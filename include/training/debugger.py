"""The settings of SageMaker Debugger in a training job's request, in the form in which the SageMaker SDK sends them.

Sources: SageMaker SDK, `sagemaker.debugger` and `Estimator`; API reference of DebugHookConfig, DebugRuleConfiguration,
ProfilerConfig and ProfilerRuleConfiguration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.run_conf.debugger import PROFILER_REPORT, TENSOR_RULES, DebuggerConf, Parameters, ProfilerConf
from include.sagemaker.image_uris import rule_evaluator_image

if TYPE_CHECKING:
    from include.settings import Settings

TRACE_FILES: Mapping[str, str] = {
    "LocalPath": "/opt/ml/output/profiler",
    "RotateMaxFileSizeInBytes": "10485760",
    "RotateFileCloseIntervalInSeconds": "60",
    "FileOpenFailThreshold": "50",
}
"""How framework profiling writes its files."""
FRAMEWORK_PROFILES: Mapping[str, Mapping[str, str]] = {
    "DetailedProfilingConfig": {},
    "DataloaderProfilingConfig": {"MetricsRegex": ".*"},
    "PythonProfilingConfig": {"ProfilerName": "cprofile", "cProfileTimer": "total_time"},
    "HorovodProfilingConfig": {},
    "SMDataParallelProfilingConfig": {},
}
"""What framework profiling records of the chosen steps, each with its own settings."""


def debugger_fields(debugger: DebuggerConf, settings: Settings) -> dict[str, Any]:
    """The fields of a CreateTrainingJob request; none if the conf asks for nothing of Debugger.

    Tensors and measurements lie beside the job's model: AWS adds the job's name to the address. Raises
    UnknownRegionError for rules in a region that evaluates none.
    """
    if not debugger.is_used:
        return {}
    place = {"S3OutputPath": settings.jobs_uri}
    tensor_rules = [_rule(name, given, settings) for name, given in debugger.tensor_rules.items()]
    report = debugger.rules.get(PROFILER_REPORT)
    fields = {
        "DebugHookConfig": {
            **place,
            **({"HookParameters": _texts(debugger.hook)} if debugger.hook else {}),
            "CollectionConfigurations": _collections(debugger),
        },
        "DebugRuleConfigurations": tensor_rules,
        "ProfilerConfig": _profiler(debugger.profiler, place),
        "ProfilerRuleConfigurations": [] if report is None else [_rule(PROFILER_REPORT, report, settings)],
    }
    return {name: value for name, value in fields.items() if value}


def _rule(name: str, parameters: Parameters, settings: Settings) -> dict[str, Any]:
    return {
        "RuleConfigurationName": name,
        "RuleEvaluatorImage": rule_evaluator_image(settings.region),
        "RuleParameters": {"rule_to_invoke": name, **_texts(parameters)},
    }


def _collections(debugger: DebuggerConf) -> list[dict[str, Any]]:
    """Each collection once: those that the rules read, and those of the conf in their place or beside them."""
    rules = [TENSOR_RULES[name] for name in debugger.tensor_rules if name in TENSOR_RULES]
    of_rules = {name: parameters for rule in rules for name, parameters in rule.collections.items()}
    own = {name: _texts(parameters) for name, parameters in debugger.collections.items()}
    return [
        {"CollectionName": name, "CollectionParameters": dict(parameters)}
        for name, parameters in {**of_rules, **own}.items()
    ]


def _profiler(profiler: ProfilerConf, place: Mapping[str, str]) -> dict[str, Any]:
    if not profiler.enabled:
        return {"DisableProfiler": True}
    interval, start, steps = profiler.interval_ms, profiler.start_step, profiler.num_steps
    framework = {} if start is None and steps is None else _framework(start or 0, steps or 1)
    return {
        **place,
        "DisableProfiler": False,
        **({} if interval is None else {"ProfilingIntervalInMilliseconds": interval}),
        **({"ProfilingParameters": framework} if framework else {}),
    }


def _framework(start: int, steps: int) -> dict[str, str]:
    """Every profile of the framework, of the same steps; the values are written as Python dictionaries."""
    return {
        **TRACE_FILES,
        **{
            name: _as_dictionary({"StartStep": start, "NumSteps": steps, **own})
            for name, own in FRAMEWORK_PROFILES.items()
        },
    }


def _as_dictionary(values: Mapping[str, str | int]) -> str:
    """A dictionary as the SDK writes it, which smdebug evaluates: a comma and a space follow every entry."""
    shown = (f'"{name}": ' + (f'"{value}"' if isinstance(value, str) else str(value)) for name, value in values.items())
    return "{" + "".join(f"{entry}, " for entry in shown) + "}"


def _texts(parameters: Parameters) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items()}
