from __future__ import annotations

from typing import Any

import pytest

from include.run_conf import RunConf, RunConfError
from include.run_conf.debugger import PROFILED

RULES = "training.debugger.rules"
PROFILER = "training.debugger.profiler"


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({f"{RULES}.vanishing_gradient": {}}, "did you mean VanishingGradient?"),
        ({f"{RULES}.TreeDepth": {}}, f"{RULES}.TreeDepth = nothing: no such rule; there are ProfilerReport, Vanishing"),
        (
            {RULES: {"Overfit": {"patiense": 3}}},
            "Overfit.patiense = 3: no such parameter; those of Overfit are tensor_regex, start_step, patience, "
            "ratio_threshold; did you mean patience?",
        ),
        ({RULES: {"Overfit": {"patience": 1.5}}}, f"{RULES}.Overfit.patience = 1.5: must be a whole number"),
        ({RULES: {"Overfit": {"ratio_threshold": True}}}, "ratio_threshold = True: must be a number"),
        ({RULES: {"Overfit": {"ratio_threshold": "nan"}}}, "ratio_threshold = nan: must be a number"),
        ({RULES: {"ClassImbalance": {"argmax": 1}}}, "argmax = 1: must be true or false, without quotes"),
        ({RULES: {"ClassImbalance": {"labels_regex": 1}}}, "labels_regex = 1: must be a text"),
        (
            {RULES: {"ProfilerReport": {"CPUBottleneck_treshold": 60}}},
            "no such parameter; those of ProfilerReport are RULE_PARAMETER of BatchSize, CPUBottleneck",
        ),
        ({RULES: {"Overfit": [1]}}, f"{RULES}.Overfit = [1]: must be a JSON object of parameters and their values"),
        ({"training.debugger.hook": {"save_interval": [1]}}, "save_interval = [1]: must be a text, a number, or true"),
        (
            {f"{PROFILER}.interval_ms": 300},
            f"{PROFILER}.interval_ms = 300: must be one of 100, 200, 500, 1000, 5000, 60000, or empty",
        ),
        (
            {f"{PROFILER}.enabled": False, f"{RULES}.ProfilerReport": {}},
            f"{RULES}.ProfilerReport = nothing: is made by the profiler, and {PROFILER}.enabled is off",
        ),
        (
            {f"{PROFILER}.enabled": False, f"{PROFILER}.num_steps": 3},
            f"{PROFILER}.enabled = False: the profiler is off",
        ),
        (
            {
                "resources.instance_count": 2,
                "training.hyperparameters.kv_store": "dist_sync",
                f"{RULES}.Overfit": {},
            },
            "resources.instance_count = 2: Debugger saves no tensors of a job on several machines",
        ),
    ],
)
def test_what_debugger_cannot_do_is_refused(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(RunConfError) as refused:
        RunConf.from_conf(conf)

    (problem,) = refused.value.problems
    assert message in str(problem)


def test_rules_and_their_parameters_are_taken_nested_dotted_and_as_a_form_sends_them() -> None:
    rules = {"ClassImbalance": {"samples": 300, "argmax": True, "threshold_imbalance": "5"}, "ProfilerReport": {}}
    hook = {"train.save_interval": 100, "include_regex": ".*relu, .*conv"}

    nested = RunConf.from_conf({"training": {"debugger": {"rules": rules, "hook": hook}}})
    dotted = RunConf.from_conf(
        {
            f"{RULES}.ClassImbalance": rules["ClassImbalance"],
            f"{RULES}.ProfilerReport": "{}",
            **{f"training.debugger.hook.{name}": value for name, value in hook.items()},
        }
    )

    assert nested.training.debugger.rules == rules
    assert nested.training.debugger.hook == hook
    assert dotted.training == nested.training


@pytest.mark.parametrize("rule", PROFILED)
def test_the_report_takes_a_parameter_in_any_spelling(rule: str) -> None:
    parameters = {f"{rule.lower()}_scan_interval_us": 60_000_000}
    conf = RunConf.from_conf({RULES: {"ProfilerReport": parameters}})

    assert conf.training.debugger.rules == {"ProfilerReport": parameters}


def test_the_profiler_alone_is_a_use_of_debugger_and_nothing_is_none() -> None:
    assert not RunConf.from_conf({}).training.debugger.is_used
    assert RunConf.from_conf({f"{PROFILER}.interval_ms": 500}).training.debugger.is_used
