"""The controls of the Space panel, and what they amount to."""
