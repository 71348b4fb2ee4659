"""The store: what sweeps keep on disk, never half written."""
