"""Changing the weights of a model one kernel at a time."""
