"""Options of a sweep: how they are declared, and which there are."""
