"""Replacing what is served: whether a challenger may, decided with stated error rates, and the loop that does it."""
