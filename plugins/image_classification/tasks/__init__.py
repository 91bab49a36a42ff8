"""Single tasks that DAGs use."""
