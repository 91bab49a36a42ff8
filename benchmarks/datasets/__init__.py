"""How fast, small and steady datasets are built, beside im2rec and other writers, in one run on one machine."""
