"""Task groups: each stage of the chain, defined once and used by every DAG that has it."""
