"""Which candidate wins, and with what confidence."""
