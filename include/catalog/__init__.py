"""What there is: models, endpoints and reports as they stand, read for pages and written by nobody here."""
