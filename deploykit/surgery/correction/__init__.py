"""Correcting what has been quantized, beside the model it was made from."""
