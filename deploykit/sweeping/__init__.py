"""Planning and running sweeps."""
