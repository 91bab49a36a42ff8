"""The run conf: one typed document that says what a run does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from include.problems import ProblemsError
from include.run_conf.reading import Reading
from include.run_conf.rules import contradictions
from include.run_conf.sections import RunSections


class RunConfError(ProblemsError):
    """What arrived is no run conf; `problems` names every field, its value and what to do."""

    title = "The run conf has problems"


class RunConf(RunSections):
    """What a run does; every default works in the demo."""

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any] | None) -> Self:
        """Read what a form, the API, the CLI or a schedule sent: nested keys, dotted keys, or both.

        Texts become numbers, switches and lists where the field wants them; an emptied form field falls back to its
        default, or to nothing where nothing is allowed. Raises RunConfError with all problems at once: unknown keys
        with the nearest known one, fields given twice, wrong types and values, contradictions between fields.
        """
        reading = Reading.of(cls, conf or {})
        run_conf = cls.model_validate(reading.document())
        problems = [*reading.problems, *contradictions(run_conf, wrong=reading.wrong_fields)]
        if problems:
            raise RunConfError(problems)
        return run_conf

    @property
    def endpoint_name(self) -> str:
        """The endpoint's name, the dataset's where none is given."""
        return self.endpoint.name or self.dataset.name
