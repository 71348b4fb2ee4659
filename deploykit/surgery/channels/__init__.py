"""Which channels belong together, and removing them."""
