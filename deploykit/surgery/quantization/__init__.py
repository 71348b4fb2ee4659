"""What quantizers need before and after their work: plain graphs, calibration, counts of what became of them."""
