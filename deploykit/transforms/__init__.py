"""Techniques that make a model cheaper. One file each."""
