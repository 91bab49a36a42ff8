"""Hidden and system files: what computers leave beside images, by one rule for every kind of source."""

from __future__ import annotations

SYSTEM = "system_file"
"""The status of such a file in manifests and in the lists of what archives leave out."""
SYSTEM_NAMES = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "$recycle.bin",
        "system volume information",
        "found.000",
        "__macosx",
        "icon\r",
        "network trash folder",
        "temporary items",
        "@eadir",
        "#recycle",
        "#snapshot",
        "lost+found",
    }
)
"""Files and folders of Windows, macOS, Synology and Linux in lower case; upper and lower case are the same."""
FOLDER_MARKER = "_$folder$"
"""The end of the empty objects that Hadoop writes for folders."""


def system_name(path: str) -> str | None:
    """The first part of a path that is hidden or a system's: a file of that path is not data. None for all other paths.

    Hidden is what begins with a dot. The path is the one below the source, parted by slashes: what the source's own
    address holds does not matter.
    """
    # Nearly no path holds any of these, and a source has millions of them.
    if SYSTEM_NAMES.isdisjoint(path.lower().split("/")) and FOLDER_MARKER not in path and not _begins_with_dot(path):
        return None
    return next((part for part in path.split("/") if _is_system(part)), None)


def system_reason(name: str) -> str:
    """Why a file is left out, in the words of manifests and lists."""
    return f"a hidden or system file: {name!r}"


def _begins_with_dot(path: str) -> bool:
    return path.startswith(".") or "/." in path


def _is_system(part: str) -> bool:
    if part.startswith("."):
        return part not in (".", "..")
    return part.lower() in SYSTEM_NAMES or part.endswith(FOLDER_MARKER)
