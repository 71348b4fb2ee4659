"""What the browser is told about candidates, samples and layers, as JSON and pictures."""
