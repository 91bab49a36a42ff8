"""Dataset versions in S3: planned, packed shard by shard, published, and grown."""
