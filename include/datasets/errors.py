"""What is wrong with a dataset, in words for the person who started the run."""

from __future__ import annotations


class DatasetError(ValueError):
    """A dataset that cannot be built or read as asked; the message names field, value, origin and remedy."""
