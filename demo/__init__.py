"""The sample images, and the commands behind `make demo`, `make local` and `make down`."""
