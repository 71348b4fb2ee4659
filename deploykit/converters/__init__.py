"""Converters from one model format to another. One file each."""
