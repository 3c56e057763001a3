"""A user's device: a disk on which model files are kept."""
