"""An ONNX graph as a TensorFlow function: one rule for each operator."""
