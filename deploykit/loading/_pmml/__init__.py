"""Neural networks in PMML: read with bounds, run in double precision, written as ONNX."""
