"""What reading models of PyTorch needs."""
