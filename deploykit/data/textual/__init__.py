"""Datasets of text: how they are read, and what a model of tokens makes of them."""
