"""Training and tuning jobs: their names, their requests, their results, and which of them made the best model."""
