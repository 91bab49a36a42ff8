from __future__ import annotations

import pytest

from include.algorithms.publish import PROJECT, PublishConf, PublishConfError


def test_a_repository_is_named_after_the_folder_unless_a_person_names_one() -> None:
    assert PublishConf.from_conf({"folder": "algorithms/pytorch/"}).repository == "image-classification/pytorch"
    asked = PublishConf.from_conf({"folder": "algorithms/pytorch", "name": "team/flowers"})
    assert (asked.repository, asked.path) == ("team/flowers", PROJECT / "algorithms/pytorch")


def test_only_a_folder_of_the_project_is_published() -> None:
    for folder in ("/etc", "../..", "algorithms/../../other"):
        with pytest.raises(PublishConfError, match="must lie in the project"):
            PublishConf.from_conf({"folder": folder})


def test_everything_that_is_wrong_comes_in_one_message() -> None:
    with pytest.raises(PublishConfError) as caught:
        PublishConf.from_conf({"severity": "awful", "name": "Team/Flowers", "fodler": "x"})

    assert {problem.field for problem in caught.value.problems} == {"folder", "severity", "name", "fodler"}
