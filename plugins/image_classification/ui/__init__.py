"""The pages in Airflow's UI: what there is, read from AWS in the background, and buttons that start DAGs."""
