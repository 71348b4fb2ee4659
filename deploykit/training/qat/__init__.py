"""Quantization-aware training by TensorFlow Model Optimization (TF-MOT)."""
