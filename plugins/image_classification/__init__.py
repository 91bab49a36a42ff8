"""Building blocks of the image classification DAGs: operators, triggers, task groups."""

from image_classification.task_log import keep_readable

keep_readable()
