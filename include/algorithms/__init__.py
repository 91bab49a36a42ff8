"""What differs between the algorithms that train and serve: AWS's own, and those of the project."""
