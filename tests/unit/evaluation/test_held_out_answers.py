from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from include.evaluation.held_out_answers import HeldOutAnswers
from tests.unit.evaluation.answered import LABELS, VERSION, multi, single


def test_the_file_has_a_row_for_every_image() -> None:
    rows = pq.read_table(io.BytesIO(single("cd", "cc", ids=[7, 9]).to_parquet())).to_pylist()
    assert rows[0] == {
        "record_id": 7,
        "key": "7.jpg",
        "labels": ["cat"],
        "predicted": ["cat"],
        "probabilities": pytest.approx([0.8, 0.1, 0.1]),
        "correct": True,
    }
    assert (rows[1]["predicted"], rows[1]["correct"]) == (["dog"], False)


def test_a_multi_label_row_has_every_class_that_is_shown_or_said() -> None:
    answers = multi([[0.9, 0.5, 0.1], [0.1, 0.2, 0.3]], [(1, 0, 1), (0, 0, 0)])
    rows = pq.read_table(io.BytesIO(answers.to_parquet())).to_pylist()
    assert [row["labels"] for row in rows] == [["cat", "owl"], []]
    assert [row["predicted"] for row in rows] == [["cat", "dog"], []]
    assert [row["correct"] for row in rows] == [False, True]


@pytest.mark.parametrize(
    "answers", [single("cdo", "coo"), multi([[0.9, 0.5, 0.1], [0.1, 0.2, 0.3]], [(1, 0, 1), (0, 0, 0)])]
)
def test_what_was_written_is_read_again(answers: HeldOutAnswers) -> None:
    written = answers.to_parquet()
    read = HeldOutAnswers.from_parquet(written)
    assert (read.model, read.dataset, read.labels, read.multi_label) == (
        "job",
        VERSION,
        tuple(LABELS),
        answers.multi_label,
    )
    assert read.keys == answers.keys
    for name in ("record_ids", "truth", "probabilities", "right"):
        assert np.array_equal(getattr(read, name), getattr(answers, name)), name
    assert read.to_parquet() == written


def test_the_worst_mistake_is_the_one_the_model_was_surest_of() -> None:
    assert single("cd", "cc").mistakenness.tolist() == [-1.0, pytest.approx(0.8)]
    several = multi([[0.9, 0.2, 0.7], [0.45, 0.6, 0.1]], [(0, 0, 0), (1, 1, 0)])
    assert several.mistakenness.tolist() == pytest.approx([0.9, 0.55])


def test_answers_are_spelled_out() -> None:
    one = single("d", "c")
    assert (one.said(0), one.expected(0)) == ("dog 80.0%", "cat")
    several = multi([[0.6, 0.9, 0.1], [0.1, 0.2, 0.3]], [(1, 0, 1), (0, 0, 0)])
    assert (several.said(0), several.expected(0)) == ("dog 90.0%, cat 60.0%", "cat, owl")
    assert (several.said(1), several.expected(1)) == ("none", "none")


def test_of_many_classes_the_first_few_are_spelled_out() -> None:
    many = multi([[0.9] * 8], [(1,) * 8], labels=list("abcdefgh"))
    assert many.expected(0) == "a, b, c, d, e, 3 more"


def test_an_answer_that_is_no_number_is_a_mistake_of_no_certainty() -> None:
    lost = multi([[float("nan")] * 3], [(1, 0, 0)])
    assert (lost.right.tolist(), lost.mistakenness.tolist()) == ([False], [1.0])
