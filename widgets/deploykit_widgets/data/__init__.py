"""Data of the notebook and of files, and whether they fit the model."""
