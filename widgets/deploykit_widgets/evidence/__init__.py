"""What the browser shows of candidates, samples and layers, as JSON and pictures."""
