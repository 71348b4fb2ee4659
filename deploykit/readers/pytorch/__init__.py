"""What files of PyTorch hold, read as bytes, JSON and text: nothing here imports PyTorch or unpickles."""
