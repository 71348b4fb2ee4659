"""What techniques share that quantize ONNX files."""
