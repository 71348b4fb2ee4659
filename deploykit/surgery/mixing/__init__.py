"""Mixed precision: which operators get how many bits, so that a budget is met at the least damage."""
