"""The command line: one file for each verb, over the public API."""
