from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from include.datasets.sources.listing import Folder
from include.datasets.sources.object_lookup import ListedObject
from include.datasets.sources.object_table import ObjectTable

KEYS = st.sets(st.text(alphabet="ab/ü\U0001f600\x7f", min_size=1, max_size=8), max_size=30)


@given(keys=KEYS, filled=st.booleans(), prefix=st.sampled_from(["", "a/", "a/b/", "ü/", "\U0001f600/"]))
def test_a_prefix_gives_its_folders_and_its_objects_in_the_order_of_their_bytes(
    keys: set[str], filled: bool, prefix: str
) -> None:
    """Only empty objects whose keys end with a slash are folders."""
    size = 7 if filled else 0
    table = ObjectTable.of(ListedObject(key, f"e{key}", size) for key in sorted(keys))
    under = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    rest = {key: key[len(prefix) :] for key in under}
    objects = [key for key in under if filled or not key.endswith("/")]
    beside = [key for key in objects if "/" not in rest[key]]
    beside = beside if filled else [key for key in beside if rest[key]]
    nameless = [key for key in objects if rest[key].startswith("/")]

    assert [each.key for each in table.objects(prefix)] == objects
    assert table.folder(prefix) == Folder(
        tuple(sorted({part.partition("/")[0] for part in rest.values() if "/" in part} - {""})),
        tuple(ListedObject(key, f"e{key}", size) for key in sorted(beside + nameless, key=str.encode)),
    )
