"""What no task waits for or uses any more: found, reported, and stopped or deleted."""
