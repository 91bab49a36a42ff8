"""What went wrong, in the words SageMaker's algorithms use for it."""

from __future__ import annotations

from collections.abc import Sequence


class CustomerError(Exception):
    """The job cannot run as it was asked to: one message that names every problem found.

    `problems` are sentences, each naming the field or file, its value and the remedy.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"Customer Error: {'; '.join(self.problems)}")


def refuse(problems: Sequence[str]) -> None:
    """Raise `CustomerError` with all `problems`, or do nothing when there are none."""
    if problems:
        raise CustomerError(problems)
