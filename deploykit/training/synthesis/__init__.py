"""Inputs made from a model alone, for calibration, reconstruction and distillation where there are no data."""
