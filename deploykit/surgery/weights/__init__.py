"""Reading and changing the kernels of a model, whatever its format."""
