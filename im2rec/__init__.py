"""The drop-in for MXNet's `im2rec.py`, and what reads its files: `python -m im2rec`, `python -m im2rec.inspect`."""
