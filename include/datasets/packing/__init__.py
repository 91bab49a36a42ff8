"""Images to records: read from S3, packed, and written as shards."""
