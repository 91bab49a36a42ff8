"""`train` of AWS's PyTorch images: the toolkit's own command, in `.venv-pytorch`.

The toolkit has no handler of SIGTERM and would end before the script that it runs has saved what it has. So the script
gets the signal, and nothing that the script has started, such as the workers that read its data.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

import psutil
from sagemaker_training.cli.train import main

ENDED_BY_SIGTERM = 128 + signal.SIGTERM


def hand_on(number: int, _frame: FrameType | None) -> None:
    """Send the signal to what the toolkit runs, and wait for its end; without any, end."""
    started = psutil.Process().children()
    if not started:
        os._exit(ENDED_BY_SIGTERM)
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, hand_on)
    main()
