"""Bounded readers of file formats: each stops at its limits, and none runs what it reads."""
