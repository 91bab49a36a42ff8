"""From a model artifact to answers: the registry, the endpoint, a prediction."""
