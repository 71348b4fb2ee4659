"""Formats: each tells its files by content and reads their summary. One file each."""
