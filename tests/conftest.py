from __future__ import annotations

import signal

# A shell ignores interrupts in what it starts in the background, and what is started there inherits this. Some tests
# interrupt themselves or their processes.
signal.signal(signal.SIGINT, signal.default_int_handler)
