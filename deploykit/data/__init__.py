"""Data: where they come from, how they are prepared and split, and whether they fit a model."""
