"""How a worker fares: what it runs now, and which requests workers died of."""
