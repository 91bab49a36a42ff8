"""`train` of AWS's PyTorch images: the toolkit's own command, in `.venv-pytorch`.

The toolkit has no handler of SIGTERM. In a container it is process 1, which such a signal does not end. Here it would
end before the script that it runs has saved what it has.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

import psutil
from sagemaker_training.cli.train import main

ENDED_BY_SIGTERM = 128 + signal.SIGTERM


def leave_it_to_the_script(_number: int, _frame: FrameType | None) -> None:
    """Wait for what the toolkit runs, which got the signal too; without any, end."""
    if not psutil.Process().children():
        os._exit(ENDED_BY_SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave_it_to_the_script)
    main()
