"""Many runs at once while parts of Airflow are killed at random moments, and the account of what became of them."""
