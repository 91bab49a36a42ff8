"""What stops a benchmark, for the person at the screen."""


class BenchmarkError(Exception):
    """A measurement that cannot be made here: says why, and what to do."""
