"""AWS's PyTorch images on this machine: what starts them, trains and serves runs in `.venv-pytorch`, not here."""
