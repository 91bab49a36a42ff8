"""What the resources of SageMaker share: tables, tags, search, containers and their files."""
