"""Models that are opened to be timed: loading them, running them, and what they take of their host."""
