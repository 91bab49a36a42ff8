from __future__ import annotations

import itertools

import pytest
from hypothesis import given

from tests.fuzz.bounds import damaged, fuzz, within


def test_memory_beyond_the_bound_is_noticed() -> None:
    with pytest.raises(AssertionError, match="MB of memory"), within(seconds=60, megabytes=20):
        bytearray(b"x" * 60_000_000)


def test_time_beyond_the_bound_is_noticed() -> None:
    with pytest.raises(AssertionError, match="s of CPU"), within(seconds=0.001, megabytes=1000):
        sum(itertools.islice(itertools.count(), 500_000))


def test_what_stays_within_its_bounds_passes() -> None:
    with within(seconds=60, megabytes=100):
        bytearray(1_000_000)


@fuzz
@given(body=damaged(b"a valid document"))
def test_damaged_documents_are_bytes(body: bytes) -> None:
    assert isinstance(body, bytes)
