"""Whether the original model does its job on the data: what was measured, and what may have been misread."""
