"""`python -m containers.image_classification train` or `serve`."""

from __future__ import annotations

import sys

from .threads import configure_threads


def main(arguments: list[str]) -> int:
    """Run one of the two commands of the container contract and return its exit code."""
    command = arguments[0] if len(arguments) == 1 else ""
    threads = configure_threads()
    # MXNet reads its environment when it is imported, so each command is imported after that is set.
    if command == "train":
        from .train import train  # noqa: PLC0415

        return train(threads)
    if command == "serve":
        from .serve import serve  # noqa: PLC0415

        return serve()
    sys.stderr.write("usage: python -m image_classification train | serve\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
