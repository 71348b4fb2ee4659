"""Caffe's networks: text and weights read without Caffe, layers written as ONNX."""
