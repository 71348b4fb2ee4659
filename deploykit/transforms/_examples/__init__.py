"""Calibration inputs as work on graphs takes them."""
