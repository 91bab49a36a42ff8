"""An AWS on this machine: moto, with a SageMaker whose jobs and endpoints run for real as processes."""
