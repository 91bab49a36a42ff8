"""PyTorch training and inference scripts. In a job this folder lies flat: its modules import each other by name."""
