"""SageMaker's control plane: one class per area of the API."""
