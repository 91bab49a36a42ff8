"""From a measured model to an endpoint: the registry, the model behind an endpoint, the endpoint itself."""
