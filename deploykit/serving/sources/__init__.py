"""What a server is asked to serve, and where it finds it."""
