"""Which candidate wins, and how surely."""
