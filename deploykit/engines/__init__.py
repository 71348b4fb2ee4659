"""Where tasks run: in child processes of this machine, or on the workers of a cluster."""
