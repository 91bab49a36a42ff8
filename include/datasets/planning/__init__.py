"""Which images a version takes, in which split, in which shard."""
