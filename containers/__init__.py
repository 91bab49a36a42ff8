"""Code that runs inside SageMaker containers, and on this machine as local processes."""
