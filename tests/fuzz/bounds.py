"""What every fuzz target shares: how many examples it tries, how its inputs are damaged, and what it may use.

A target is a file `test_READER.py` here, or `tests/containers/test_fuzz_*.py` for the algorithm's environment. It feeds
one reader with foreign bytes and asserts that only the reader's own error comes out:

    @fuzz
    @given(body=damaged(a_valid_table, another_valid_table))
    def test_only_a_table_error_comes_out(body: bytes) -> None:
        with within(seconds=2, megabytes=100), contextlib.suppress(TableError):
            read_table(body)

`make test` tries the same few examples each time; `make fuzz EXAMPLES=5000 SEED=7` tries many more, drawn from the
seed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""How many inputs a target tries; 0 is the short pass, the same inputs each time."""

fuzz = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

WIDE = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
"""Numbers that overflow something."""


@st.composite
def damaged(draw: st.DrawFn, *valid: bytes) -> bytes:
    """Valid documents with up to four injuries: cut off, changed, wide numbers put in, parts repeated or removed."""
    body = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(body) - 1)))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(("cut", "change", "number", "repeat", "remove", "insert"))):
            case "cut":
                del body[place:]
            case "change":
                body[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                size = draw(st.sampled_from((1, 2, 4, 8)))
                order = draw(st.sampled_from(("little", "big")))
                number = draw(st.sampled_from(WIDE)) & (1 << 8 * size) - 1
                body[place : place + size] = number.to_bytes(size, order)
            case "repeat":
                body[place:place] = body[place : place + length] * draw(st.integers(1, 8))
            case "remove":
                del body[place : place + length]
            case "insert":
                body[place:place] = draw(st.binary(max_size=16))
    return bytes(body)


@contextmanager
def within(*, seconds: float, megabytes: float) -> Iterator[None]:
    """Fail if the block takes more CPU time of this process than `seconds`, or more memory on top than `megabytes`.

    CPU time and peak memory are read from the kernel, so other processes do not matter and native code counts.
    """
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    held, started = _memory("VmRSS"), time.process_time()
    try:
        yield
    finally:
        used, grown = time.process_time() - started, _memory("VmHWM") - held
        assert used <= seconds, f"took {used:.1f} s of CPU, allowed are {seconds}"
        assert grown <= megabytes, f"took {grown:.0f} MB of memory, allowed are {megabytes}"


def _memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))
