"""Two graphs as one diff: which nodes belong together, and how far their outputs are apart."""
