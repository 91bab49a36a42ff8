from __future__ import annotations

import pytest

from include.datasets.unpacking.archive import ForwardReader


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes the readers of archives took and gave back, each time."""
    lengths: list[int] = []
    give_back = ForwardReader.give_back

    def counted(reader: ForwardReader, data: bytes) -> None:
        lengths.append(len(data))
        give_back(reader, data)

    monkeypatch.setattr(ForwardReader, "give_back", counted)
    return lengths
