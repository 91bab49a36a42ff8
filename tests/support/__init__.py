"""What tests share: the local AWS, a live Airflow, toy containers, buckets, archives, pictures."""
