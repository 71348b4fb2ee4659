"""Measuring candidates: quality, latency, size, memory, and the environment it was done in."""
