"""Log lines as SageMaker's algorithms print them."""

from __future__ import annotations

import logging
import sys

LOGGER_NAME = "image_classification"
LINE_FORMAT = "[%(asctime)s %(levelname)s %(thread)d] %(message)s"
TIME_FORMAT = "%m/%d/%Y %H:%M:%S"


def algorithm_log() -> logging.Logger:
    """The logger whose lines end up in CloudWatch Logs."""
    return logging.getLogger(LOGGER_NAME)


def start_logging() -> logging.Logger:
    """Send log lines to standard output, each flushed as it is written."""
    logger = algorithm_log()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(LINE_FORMAT, TIME_FORMAT))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger
