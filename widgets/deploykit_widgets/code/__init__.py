"""What was clicked, as a script, a notebook or a client."""
