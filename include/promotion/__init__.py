"""Which model of a dataset serves, what is kept for the runs after it, and whether another one may replace it."""
