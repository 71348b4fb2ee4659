"""Keras files: their configuration read without Keras, and opened in a child process."""
