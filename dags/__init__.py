"""One short file per DAG: prose, then what runs after what."""
