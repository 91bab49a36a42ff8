"""Building blocks of the image classification DAGs: operators, triggers, task groups."""
