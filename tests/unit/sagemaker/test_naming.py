from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from include.sagemaker.naming import LONGEST_TUNING_NAME, Run, content_name, job_name

RULE = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
TASK = {
    "dag_id": "image_classification",
    "run_id": "manual__2026-01-02T03:04:05.678+00:00",
    "task_id": "training.train_incremental",
}


def test_a_name_reads_as_dag_and_task() -> None:
    assert re.fullmatch(r"image-classification-train-incremental-[0-9a-f]{10}", job_name(**TASK))


def test_a_short_name_reads_as_the_task() -> None:
    name = job_name(**{**TASK, "task_id": "training.tune"}, longest=LONGEST_TUNING_NAME)
    assert re.fullmatch(r"tune-[0-9a-f]{10}", name)


def test_the_same_task_instance_gets_the_same_name() -> None:
    assert job_name(**TASK) == job_name(**TASK, map_index=-1, attempt=1)


def test_run_task_map_index_and_attempt_each_make_another_name() -> None:
    names = {
        job_name(**TASK),
        job_name(**{**TASK, "run_id": "manual__2026-01-02T03:04:06.678+00:00"}),
        job_name(**{**TASK, "dag_id": "image-classification"}),
        job_name(**{**TASK, "task_id": "other.train_incremental"}),
        job_name(**TASK, map_index=0),
        job_name(**TASK, attempt=2),
    }
    assert len(names) == 6


@given(
    task=st.fixed_dictionaries(
        {
            "dag_id": st.text(max_size=250),
            "run_id": st.text(max_size=250),
            "task_id": st.text(max_size=250),
            "map_index": st.integers(-1, 1000),
            "attempt": st.integers(1, 50),
        }
    ),
    longest=st.sampled_from([LONGEST_TUNING_NAME, 63]),
)
def test_whatever_airflow_calls_things_aws_takes_the_name(task: dict[str, Any], longest: int) -> None:
    name = job_name(**task, longest=longest)
    assert RULE.fullmatch(name)
    assert len(name) <= longest


def test_a_run_has_one_short_name() -> None:
    run = Run("image_classification", "manual__2026-01-02T03:04:05+00:00")
    assert re.fullmatch(r"manual-2026-01-02T03-04-05-00-00-[0-9a-f]{10}", run.name)
    assert run.name != Run("train_model", run.run_id).name


CONTENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)


@given(one=st.dictionaries(st.text(max_size=5), CONTENT), other=st.dictionaries(st.text(max_size=5), CONTENT))
def test_content_has_a_name_of_its_own(one: dict[str, Any], other: dict[str, Any]) -> None:
    turned = dict(reversed(one.items()))
    assert content_name("pets", one) == content_name("pets", turned)
    assert (content_name("pets", one) == content_name("pets", other)) == (canonical(one) == canonical(other))
    assert RULE.fullmatch(content_name("pets", one))
