"""Stages of channel pruning."""
