"""How good a model is on held-out images: batch transform, metrics, the report, the endpoint's own accuracy."""
