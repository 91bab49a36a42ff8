"""The page of a dataset version: its figures, its images, and where they came from."""
