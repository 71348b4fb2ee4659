"""Protocols of the server. One file each."""
