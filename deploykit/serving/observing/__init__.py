"""``dk.monitor``: asks a server's monitor, wherever it is, and shows what it says."""
