"""SageMaker's image classification on MXNet, for the container contract: `train` and `serve`."""
