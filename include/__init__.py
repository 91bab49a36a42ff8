"""Task logic: plain typed Python that knows nothing of Airflow."""
