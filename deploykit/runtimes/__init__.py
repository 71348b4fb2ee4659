"""Runtimes: each opens a model file and runs it. One file each."""
