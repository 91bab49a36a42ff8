"""The commands behind `make demo`, `make demo-pytorch`, `make demo-retrain`, `make local` and `make down`.

They are `python -m demo run`, `pytorch`, `retrain`, `up` and `down`.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Do what the first argument says and return the exit code."""
    try:
        # Loaded here, so that Ctrl-C ends this second of loading without a traceback.
        if arguments == ["run"]:
            from demo.run import main as run  # noqa: PLC0415

            return run()
        if arguments == ["pytorch"]:
            from demo.run import demo_pytorch  # noqa: PLC0415
            from demo.run import main as show  # noqa: PLC0415

            return show(demo_pytorch)
        if arguments == ["retrain"]:
            from demo.retrain import retrain  # noqa: PLC0415
            from demo.run import main as show  # noqa: PLC0415

            return show(retrain)
        from demo.services import main as services  # noqa: PLC0415

        return services(arguments)
    except KeyboardInterrupt:
        print("Interrupted: nothing was started.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
