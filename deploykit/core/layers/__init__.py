"""Layers of a model: their names and kinds."""
