"""Solving weights again so that a smaller model answers as the original does."""
