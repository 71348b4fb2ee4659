"""Training ONNX files, whose graphs do not change."""
