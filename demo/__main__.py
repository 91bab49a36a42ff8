"""The commands behind `make demo`, `make local` and `make down`: `python -m demo run`, `up` and `down`."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Do what the first argument says and return the exit code."""
    try:
        # Loaded here, so that Ctrl-C ends this second of loading without a traceback.
        if arguments == ["run"]:
            from demo.run import main as run  # noqa: PLC0415

            return run()
        from demo.services import main as services  # noqa: PLC0415

        return services(arguments)
    except KeyboardInterrupt:
        print("Interrupted: nothing was started.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
