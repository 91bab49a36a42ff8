"""What nobody waits for or uses any more: found, told, and stopped or deleted."""
