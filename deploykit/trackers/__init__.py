"""Experiment trackers. One file each."""
