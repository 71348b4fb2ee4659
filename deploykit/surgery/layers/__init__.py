"""Layers and blocks that a model can do without."""
